"""Answers, certificate checks and verdicts, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ._library import CHECK_SIZE, DECISION_SIZE, SEEN_SIZE, check, ffi, lib, new_error, octets_of, text
from .words import Action, Mode, NoHost, ResultType, Seen, Source


@dataclass(frozen=True)
class Check:
    """The result of a certificate check (RFC 8461 4.2)."""

    __slots__ = ("reason", "result")

    result: ResultType | None
    """What is wrong as a report calls it (RFC 8460 4.3); `None` for a good certificate."""
    reason: str
    """What is wrong in plain words; empty for a good certificate."""

    def __bool__(self) -> bool:
        """Whether the certificate is good."""
        return self.result is None

    def __reduce__(self) -> tuple[Any, ...]:
        return Check, (self.result, self.reason)


@dataclass(frozen=True)
class Verdict:
    """What to do with an MX host, and why."""

    __slots__ = ("action", "reason_code", "result", "sentence")

    action: Action
    """What to do."""
    result: ResultType | None
    """What a report calls the failure (RFC 8460 4.3); `None` where there is none to report."""
    reason_code: str
    """The failure-reason-code for the report (RFC 8460 4.4); empty if there is none. Up to its first colon it is a
    token for log watchers (docs/log.md of libmtasts)."""
    sentence: str
    """One line for the log: what is wrong and what to do about it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Verdict, (self.action, self.result, self.reason_code, self.sentence)


class _Owner:
    """What owns an answer of the library; it is no value, and no field of the dataclass below."""

    __slots__ = ("_handle",)
    _handle: Any


@dataclass(frozen=True, repr=False)
class Answer(_Owner):
    """The policy of a domain, or its absence, and how that is known.

    It never changes; each field is read from the library when it is first asked for. It can be pickled; a copy that
    comes out of a pickle can be read and compared, but gives no verdicts. A pickle that another version of this package
    made may not have all fields: loading it raises TypeError.
    """

    __slots__ = (
        "defer_until",
        "detail",
        "domain",
        "expires",
        "explanation",
        "fetched",
        "id",
        "mode",
        "mx",
        "policy_key",
        "policy_text",
        "result",
        "source",
        "warning",
    )

    domain: str
    """The policy domain, in A-labels and lower case; empty if the mail domain is not a domain name, so that it cannot
    have a policy."""
    mode: Mode
    """What the domain asks for, after the operator's exceptions."""
    source: Source
    """Where the answer came from."""
    id: str
    """The id of the policy (RFC 8461 3.1); empty where there is none."""
    mx: tuple[str, ...]
    """The MX patterns of the policy (RFC 8461 3.2)."""
    fetched: int | None
    """When the policy was fetched, in Unix seconds."""
    expires: int | None
    """The last second at which the policy counts, in Unix seconds."""
    defer_until: int | None
    """Until when mail must wait because nothing could be learnt and `first_contact_defer` asks for patience."""
    result: ResultType | None
    """What stood in the way of a current policy, as a report calls it (RFC 8460 4.3)."""
    detail: str
    """What stood in the way of a current policy, or why there is none, in plain words."""
    warning: str
    """What is wrong with the cache on this host, in plain words."""
    explanation: str
    """The whole answer in one sentence for a log."""
    policy_text: bytes | None
    """The policy as the policy host sent it, for the policy-string of a report (RFC 8460 4.5). A stranger's text."""
    policy_key: str
    """What the library compares in `is_same_policy`, for a queue that keeps refused mail: equal if and only if the
    policy is the same."""

    @property
    def enforces(self) -> bool:
        """Whether a host that fails the policy gets no mail."""
        return bool(lib.mtasts_answer_enforces(self._asked()))

    @property
    def applies(self) -> bool:
        """Whether a policy asks anything of the MX hosts, in mode enforce or testing."""
        return bool(lib.mtasts_answer_applies(self._asked()))

    def allows_mx(self, host: str) -> bool:
        """Whether a pattern of the policy allows this MX host (RFC 8461 4.1). None allows what is not a host name.

        Args:
            host: The name in the MX record, before any CNAME; the domain itself if it has no MX record.

        Raises:
            TypeError: The answer comes out of a pickle.
        """
        name = octets_of(host)
        return bool(lib.mtasts_answer_allows_mx(self._asked(), name, len(name)) == 1)

    def verdict_without_host(
        self, why: NoHost = NoHost.LEFT, hosts: Mapping[str, Verdict | None] = MappingProxyType({})
    ) -> Verdict:
        """What to do with a mail for which there is no MX host. If every host was passed over and the policy is
        enforced, or DANE refused one of them, the mail waits. It waits too if DNS denies the MX hosts that an enforced
        policy lists: the answer of DNS is the one that can be forged. In all other cases the action delivers: do what
        you do without MTA-STS, such as to bounce mail to a domain that does not exist.

        Args:
            why: Why there is none.
            hosts: The MX hosts that DNS gave, each with the verdict that refused it. The sentence names them.

        Raises:
            TypeError: The answer comes out of a pickle.
        """
        handle = self._asked()
        # A NUL would end the name; it is a stranger's, and no host has it.
        names = [ffi.new("char[]", octets_of(host).replace(b"\0", b" ")) for host in hosts]
        reasons = [ffi.new("char[]", (verdict.reason_code if verdict else "").encode()) for verdict in hosts.values()]
        places = ffi.new("char *[]", names), ffi.new("char *[]", reasons)
        return decide(
            lambda out, error: lib.mtasts_verdict_without_host_of(handle, why, *places, len(names), out, error)
        )

    def is_same_policy(self, other: Answer) -> bool:
        """Whether another answer, such as that of a recheck, says the same: mode, id and MX patterns. If it does not,
        mail that was refused because of this one deserves another attempt (RFC 8461 5). Either may come out of a
        pickle."""
        return self.policy_key == other.policy_key

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # A slot that was not filled yet. What has no handle has all its slots filled.
            if name not in _READERS:
                raise AttributeError(name)
            value = _READERS[name](self._handle)
            object.__setattr__(self, name, value)
            return value

    def to_dict(self) -> dict[str, Any]:
        """All fields as `json.dumps` takes them: words for the enums, text for the policy."""
        values = {member.name: getattr(self, member.name) for member in fields(self)}
        for name in ("mode", "source", "result"):
            values[name] = None if values[name] is None else str(values[name])
        policy = self.policy_text
        return {
            **values,
            "mx": list(self.mx),
            "policy_text": None if policy is None else policy.decode("utf-8", "replace"),
        }

    def __copy__(self) -> Answer:
        # It never changes.
        return self

    def __deepcopy__(self, _memo: Any) -> Answer:
        return self

    def __repr__(self) -> str:
        return f"<mtasts.Answer {self.domain or '-'}: {self.mode}, {self.source}>"

    def _asked(self) -> Any:
        try:
            return self._handle
        except AttributeError:
            raise TypeError(
                "this answer comes out of a pickle and gives no verdicts: look the domain up here"
            ) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return Answer, tuple([getattr(self, member.name) for member in fields(self)])


def answer_of(pointer: Any) -> Answer:
    """Owns an answer of the library from now on."""
    answer = object.__new__(Answer)
    object.__setattr__(answer, "_handle", ffi.gc(pointer, lib.mtasts_answer_free))
    return answer


def _policy_text(handle: Any) -> bytes | None:
    length = ffi.new("size_t *")
    pointer = lib.mtasts_answer_policy_text(handle, length)
    return None if pointer == ffi.NULL else bytes(ffi.buffer(pointer, length[0]))


def _result(handle: Any) -> ResultType | None:
    result = lib.mtasts_answer_result(handle)
    return ResultType(result) if result else None


def _mx(handle: Any) -> tuple[str, ...]:
    return tuple([text(lib.mtasts_answer_mx(handle, n)) for n in range(lib.mtasts_answer_mx_count(handle))])


_READERS: dict[str, Callable[[Any], Any]] = {
    "domain": lambda handle: text(lib.mtasts_answer_domain(handle)),
    "mode": lambda handle: Mode(lib.mtasts_answer_mode(handle)),
    "source": lambda handle: Source(lib.mtasts_answer_source(handle)),
    "id": lambda handle: text(lib.mtasts_answer_id(handle)),
    "mx": _mx,
    "fetched": lambda handle: lib.mtasts_answer_fetched(handle) or None,
    "expires": lambda handle: lib.mtasts_answer_expires(handle) or None,
    "defer_until": lambda handle: lib.mtasts_answer_defer_until(handle) or None,
    "result": _result,
    "detail": lambda handle: text(lib.mtasts_answer_detail(handle)),
    "warning": lambda handle: text(lib.mtasts_answer_warning(handle)),
    "explanation": lambda handle: text(lib.mtasts_answer_explanation(handle)),
    "policy_text": _policy_text,
    "policy_key": lambda handle: text(lib.mtasts_answer_policy_key(handle)),
}


def sight_of(seen: Seen, of: Check | None, reason: str) -> tuple[Any, Any]:
    """What was seen as the library takes it, and the text that must live as long."""
    sight = ffi.new("mtasts_seen *")
    sight.size, sight.kind = SEEN_SIZE, seen
    if seen is Seen.CERTIFICATE:
        # Without a check nothing is known of the certificate; the library refuses the number.
        sight.result = -1 if of is None else int(of.result or 0)
        reason = "" if of is None else of.reason
    # A NUL would end the text; it is a stranger's, and the library cleans the rest.
    sight.reason = words = ffi.new("char[]", reason.replace("\0", " ").encode("utf-8", "replace"))
    return sight, words


def decide(ask: Callable[[Any, Any], int]) -> Verdict:
    """The verdict that `ask` writes into a struct of the library."""
    decision, error = ffi.new("mtasts_decision *"), new_error()
    decision.size = DECISION_SIZE
    check(ask(decision, error), error)
    return Verdict(
        Action(decision.action),
        ResultType(decision.result) if decision.result else None,
        text(decision.reason_code),
        text(decision.sentence),
    )


def check_of(fill: Any) -> Check:
    """The check that `fill` writes into a struct of the library; it raises what it has to."""
    out = ffi.new("mtasts_check *")
    out.size = CHECK_SIZE
    fill(out)
    return Check(ResultType(out.result) if out.result else None, text(out.reason))
