"""Lookups that wait: the policy of a domain, from the cache of the host or from the network."""

from __future__ import annotations

import functools
import logging
import os
import queue
import select
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Union

from ._library import COMPLETION_SIZE, Octets, check, ffi, lib, milliseconds, new_error, octets_of, text
from .answer import Answer, Check, answer_of, check_of
from .errors import Unavailable, error_of

StrPath = Union[str, "os.PathLike[str]"]
Time = Union[int, float, str]
Log = Callable[[str], None]

logger = logging.getLogger("mtasts")


class Hosts:
    """What DANE says of the MX hosts of a domain, for the attempts of one delivery. It never changes; for any number of
    threads."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Any) -> None:
        self._handle = ffi.gc(handle, lib.mtasts_hosts_free)


class Resolver:
    """The settings of a host, its cache of policies, and the way to the network.

    A program needs one. It may be used by any number of threads at once, and in every child that is forked from the
    process that made it, at any time: Celery, gunicorn with `preload_app` and `multiprocessing` need no care.
    Making one opens and starts nothing.

    Without arguments it has the settings of this host, `/etc/mtasts/mtasts.toml`; each argument replaces one,
    written as in that file (see mtasts.toml(5)).

    Args:
        cache_dir: Where the policies are kept; empty for memory alone.
        user: Whom a process of root becomes to use the cache and the network; the owner of `cache_dir` by default.
        ca_file: Roots to trust in place of the system's, as PEM.
        nameservers: Name servers in place of those of `/etc/resolv.conf`.
        timeout: The longest time for one lookup, such as `30s`, or in seconds; as all times here.
        allow_addresses: Networks in which policy hosts, and MX hosts, may be although they are not public.
        nat64_prefixes: The prefixes of this network's NAT64: an address below one is judged by the IPv4 address that
            it carries.
        first_contact_defer: How long mail waits where nothing can be learnt of a domain, such as `1h`.
        silence_budget: How long this process waits in all for silent name servers and policy hosts.
        txt_life_min: A TXT record is not looked up again before this time.
        txt_life_max: A TXT record is looked up again after this time.
        cache_max: How many domains the cache may hold.
        cache_max_per_parent: How many domains the cache may hold below one registered domain.
        tlsrpt_journal: Whether results for TLS reports are kept in `cache_dir`: `on` or `off`.
        tlsrpt_socket: The datagram socket of a collector for TLS reports.
        tlsrpt_sender: The mail address from which TLS reports are sent.
        fleet: The Valkey or Redis server by which several hosts share what they fetch, such as
            `rediss://mtasts@cache.example:6380`, and a replica to read from.
        fleet_prefix: How the names of all keys there begin.
        fleet_key_file: The file of the secrets that these hosts have in common.
        fleet_insecure: Whether that server may be asked without TLS beyond this host: `on` or `off`.
        exceptions: A file of domains for which nothing is enforced.
        dane: Whether TLSA records decide about MX hosts (DANE, RFC 7672): `off`, `auto` or `trust`, the last two also
            with ` strict-both`.
        dane_resolver: The one name server whose word on DNSSEC is believed, such as `127.0.0.1:53`.
        dane_bogus_name: A name whose signatures are broken on purpose, by which `auto` tests that name server.
        settings_file: A settings file in place of the host's.
        log: Who is told, a line at a time, what the administrator should know; `logging.getLogger("mtasts")` by
        default.

    Raises:
        SettingsError: A setting is wrong.
        TypeError: An argument is of the wrong kind.
    """

    def __init__(
        self,
        *,
        cache_dir: StrPath | None = None,
        user: str | None = None,
        ca_file: StrPath | None = None,
        nameservers: str | Iterable[str] | None = None,
        timeout: Time | None = None,
        allow_addresses: str | Iterable[str] | None = None,
        nat64_prefixes: str | Iterable[str] | None = None,
        first_contact_defer: Time | None = None,
        silence_budget: Time | None = None,
        txt_life_min: Time | None = None,
        txt_life_max: Time | None = None,
        cache_max: int | None = None,
        cache_max_per_parent: int | None = None,
        tlsrpt_journal: str | None = None,
        tlsrpt_socket: StrPath | None = None,
        tlsrpt_sender: str | None = None,
        fleet: str | Iterable[str] | None = None,
        fleet_prefix: str | None = None,
        fleet_key_file: StrPath | None = None,
        fleet_insecure: str | None = None,
        exceptions: StrPath | None = None,
        dane: str | None = None,
        dane_resolver: str | None = None,
        dane_bogus_name: str | None = None,
        settings_file: StrPath | None = None,
        log: Log | None = None,
    ) -> None:
        values = {
            "cache_dir": _path("cache_dir", cache_dir),
            "user": _text("user", user),
            "ca_file": _path("ca_file", ca_file),
            "nameservers": _list("nameservers", nameservers),
            "timeout": _time("timeout", timeout),
            "allow_addresses": _list("allow_addresses", allow_addresses),
            "nat64_prefixes": _list("nat64_prefixes", nat64_prefixes),
            "first_contact_defer": _time("first_contact_defer", first_contact_defer),
            "silence_budget": _time("silence_budget", silence_budget),
            "txt_life_min": _time("txt_life_min", txt_life_min),
            "txt_life_max": _time("txt_life_max", txt_life_max),
            "cache_max": _count("cache_max", cache_max),
            "cache_max_per_parent": _count("cache_max_per_parent", cache_max_per_parent),
            "tlsrpt_journal": _text("tlsrpt_journal", tlsrpt_journal),
            "tlsrpt_socket": _path("tlsrpt_socket", tlsrpt_socket),
            "tlsrpt_sender": _text("tlsrpt_sender", tlsrpt_sender),
            "fleet": _list("fleet", fleet),
            "fleet_prefix": _text("fleet_prefix", fleet_prefix),
            "fleet_key_file": _path("fleet_key_file", fleet_key_file),
            "fleet_insecure": _text("fleet_insecure", fleet_insecure),
            "exceptions": _path("exceptions", exceptions),
            "dane": _text("dane", dane),
            "dane_resolver": _text("dane_resolver", dane_resolver),
            "dane_bogus_name": _text("dane_bogus_name", dane_bogus_name),
        }
        settings_file = _path("settings_file", settings_file)
        if log is not None and not callable(log):
            raise TypeError(f"log: must be a function that takes a line, not {log!r}")
        error, place = new_error(), ffi.new("mtasts_settings **")
        if settings_file is None:
            check(lib.mtasts_settings_of_host(place, error), error)
        else:
            check(lib.mtasts_settings_new(place), error)
        settings = ffi.gc(place[0], lib.mtasts_settings_free)
        if settings_file is not None:
            check(lib.mtasts_settings_read_file(settings, os.fsencode(settings_file), error), error)
        for key, value in values.items():
            if value is not None:
                check(lib.mtasts_settings_set(settings, key.encode(), octets_of(value), error), error)
        # The library calls it inside of our own calls, on the thread that asks. It lives as long as the context.
        self._log = _callback(logger.warning if log is None else log)
        check(lib.mtasts_settings_set_log(settings, self._log, ffi.NULL), error)
        place = ffi.new("mtasts_context **")
        check(lib.mtasts_context_new(settings, place, error), error)
        self._context = ffi.gc(place[0], lib.mtasts_context_free)
        self._queue: tuple[int, Any] | None = None

    def __repr__(self) -> str:
        return f"<mtasts.Resolver: ca_file {self.ca_file!r}>"

    @property
    def ca_file(self) -> str | None:
        """The roots that count, a PEM file by its path; `None` for those of the system."""
        path = lib.mtasts_context_ca_file(self._context)
        return None if path == ffi.NULL else os.fsdecode(ffi.string(path))

    @property
    def nameservers(self) -> list[tuple[str, int]] | None:
        """The name servers that are asked, each an address and a port; `None` for those of `/etc/resolv.conf`."""
        servers = lib.mtasts_context_nameservers(self._context)
        if servers == ffi.NULL:
            return None
        pairs = [server.rpartition(":") for server in text(servers).split()]
        return [(address.strip("[]"), int(port)) for address, _, port in pairs]

    def lookup(self, domain: str, *, timeout: Time | None = None) -> Answer:
        """Looks the policy of a domain up, as a delivery needs it: in the cache, and if necessary in DNS and over HTTPS
        (RFC 8461 3, 5.1). A hit in the cache touches no network. That there is no policy, or that it could not be
        determined, or that there can be none (an address literal, a text that is not a domain name), is an answer and
        not an error.

        Args:
            domain: The recipient's domain, or the smart host's where there is one (RFC 8461 3.4).
            timeout: The longest time, in seconds or such as `5s`; never longer than the setting `timeout`.

        Raises:
            Unavailable: No answer is possible: defer the mail of this domain.
        """
        return self._wait(lib.mtasts_lookup, lib.mtasts_queue_submit, domain, milliseconds(timeout))

    def lookup_cached(self, domain: str) -> Answer:
        """Answers from the cache alone. If the cache has no policy in force, the source of the answer is
        `Source.COULD_NOT_LEARN`.

        Raises:
            Unavailable: No answer is possible.
        """
        return self._ask(lib.mtasts_lookup_cached, domain)

    def recheck(self, domain: str, *, timeout: Time | None = None) -> Answer:
        """Asks whether there is a newer policy now, whatever the cache says: before mail is given up because of a
        policy (RFC 8461 5). Compare with `Answer.is_same_policy`.

        Raises:
            Unavailable: No answer is possible: defer the mail of this domain.
        """
        return self._wait(lib.mtasts_recheck, lib.mtasts_queue_recheck, domain, milliseconds(timeout))

    def hosts(self, domain: str, hosts: Iterable[str] = (), *, timeout: Time | None = None) -> Hosts:
        """What DANE says of the MX hosts of a domain (RFC 7672), if the setting `dane` is on. If it is off, nothing is
        asked. A host that cannot be looked up is no error here: its attempt skips it.

        Args:
            domain: The policy domain, `mtasts.Answer.domain`.
            hosts: The names in the MX records, the first to be tried first; without MX records it is the domain. None:
                those of the MX records.
            timeout: The longest time, in seconds or such as `5s`; never longer than the setting `timeout`.

        Raises:
            InvalidName: `domain` is not a domain name.
            Unavailable: No answer is possible: defer the mail of this domain.
        """
        asked = HostsAsked(self, domain, hosts, timeout)
        at_hand = asked.at_hand()
        if at_hand is not None:
            return at_hand
        if threading.current_thread() is not threading.main_thread():
            return asked.ask()
        # As in `_wait`: a signal handler has its turn meanwhile.
        told: queue.Queue[Callable[[], Hosts]] = queue.Queue()
        asked.ask_on_own_thread(told.put)
        return told.get()()

    def verify_certificate(self, host: str, chain: Sequence[bytes], *, at: int | None = None) -> Check:
        """Checks the certificate chain of an MX host (RFC 8461 4.2): a path to a trusted root, and the host's name
        among the DNS names of the subjectAltName; never the common name, never an IP address.

        Args:
            host: The name in the MX record, before any CNAME.
            chain: The certificates in DER, the host's own first.
            at: The time in Unix seconds; now by default.

        Raises:
            InvalidName: `host` is not a host name.
            Unavailable: The roots cannot be read.
        """
        name, error = octets_of(host), new_error()
        octets = Octets(chain)

        def fill(out: Any) -> None:
            status = lib.mtasts_verify_certificate(
                self._context, name, len(name), octets.array, len(chain), at or 0, out, error
            )
            check(status, error)

        return check_of(fill)

    def check_address(self, address: str) -> None:
        """Says whether a host may be contacted at an address: at those of the public Internet, and at those that
        `allow_addresses` and `nat64_prefixes` allow. A domain's owner chooses the addresses of its MX hosts, and could
        otherwise point us at this machine and its network. Connect to the address, not to the name again.

        Args:
            address: An IPv4 or IPv6 address.

        Raises:
            AddressRefused: It may not; the reason says why.
            ArgumentError: It is no address.
        """
        octets, error = octets_of(address), new_error()
        check(lib.mtasts_check_address(self._context, octets, len(octets), error), error)

    def cached_domains(self) -> list[str]:
        """The domains of which the cache has an entry, in alphabetical order; a policy may have expired. Other files of
        the directory are not listed.

        Raises:
            Unavailable: The cache directory cannot be used.
        """
        error, place = new_error(), ffi.new("mtasts_listing **")
        check(lib.mtasts_listing_new(self._context, place, error), error)
        listing = ffi.gc(place[0], lib.mtasts_listing_free)
        domains = []
        while (name := lib.mtasts_listing_next(listing)) != ffi.NULL:
            domains.append(text(name))
        return domains

    def purge(self, domain: str) -> bool:
        """Forgets a domain; says whether there was anything. Until it is looked up again, mail for it has no protection
        but a record in DNS that an attacker may forge: purge what is wrong, not what is old.

        Raises:
            InvalidName: Not a domain name.
            Unavailable: Its file cannot be removed.
        """
        name, error = octets_of(domain), new_error()
        return bool(check(lib.mtasts_purge(self._context, name, len(name), error), error))

    def _ask(self, function: Any, domain: str, *limit: int) -> Answer:
        name, error, place = octets_of(domain), new_error(), ffi.new("mtasts_answer **")
        check(function(self._context, name, len(name), *limit, place, error), error)
        return answer_of(place[0])

    def _wait(self, function: Any, submit: Any, domain: str, limit: int) -> Answer:
        # Python runs signal handlers between two of its own steps, and in the main thread alone: there it must not be
        # inside the library for as long as a lookup takes.
        if threading.current_thread() is not threading.main_thread():
            return self._ask(function, domain, limit)
        # Taken, so that a signal handler that looks up has one of its own.
        kept, self._queue = self._queue, None
        if kept is not None and kept[0] == os.getpid():
            queue = kept[1]
        else:
            error, place = new_error(), ffi.new("mtasts_queue **")
            check(lib.mtasts_queue_new(self._context, place, error), error)
            queue = ffi.gc(place[0], lib.mtasts_queue_free)
        name, error, number = octets_of(domain), new_error(), ffi.new("uint64_t *")
        check(submit(queue, name, len(name), limit, ffi.NULL, number, error), error)
        done = ffi.new("mtasts_completion *")
        done.size = COMPLETION_SIZE
        if lib.mtasts_queue_next(queue, done) == 1:
            # A hit in the cache is complete already. A queue that asked the network is dropped with its threads: a
            # program that looked up once is not one of many threads when it forks.
            self._queue = os.getpid(), queue
        else:
            poll = select.poll()
            poll.register(lib.mtasts_queue_fd(queue), select.POLLIN)
            while lib.mtasts_queue_next(queue, done) != 1:
                poll.poll()
        if done.status != lib.MTASTS_OK:
            raise error_of(done.status, text(done.message))
        return answer_of(done.answer)


class HostsAsked:
    """A question for the MX hosts of a domain."""

    def __init__(self, resolver: Resolver, domain: str, hosts: Iterable[str], timeout: Time | None) -> None:
        self._resolver, self._domain, self._limit = resolver, octets_of(domain), milliseconds(timeout)
        # A NUL would end the name; it is a stranger's, and no host has it.
        self._names = [ffi.new("char[]", octets_of(host).replace(b"\0", b" ")) for host in hosts]

    def at_hand(self) -> Hosts | None:
        """The hosts, if DNS need not be asked."""
        return self._call(lib.mtasts_hosts_lookup_cached)

    def ask(self) -> Hosts:
        """The hosts, from DNS."""
        hosts = self._call(lib.mtasts_hosts_lookup, self._limit)
        assert hosts is not None
        return hosts

    def ask_on_own_thread(self, done: Callable[[Callable[[], Hosts]], object]) -> None:
        """The same on another thread, which calls `done` with what then gives the hosts or raises."""

        def work() -> None:
            try:
                hosts = self.ask()
            except BaseException as error:
                done(functools.partial(_raise, error))
            else:
                done(lambda: hosts)

        try:
            # At the end of the program nobody waits for it.
            threading.Thread(target=work, name="mtasts-hosts", daemon=True).start()
        except RuntimeError as error:
            raise Unavailable(lib.MTASTS_E_UNAVAILABLE, f"cannot start a thread: {error}") from error

    def _call(self, function: Any, *limit: int) -> Hosts | None:
        error, place = new_error(), ffi.new("mtasts_hosts **")
        names = ffi.new("char *[]", self._names)
        domain = self._domain
        context = self._resolver._context
        check(function(context, domain, len(domain), names, len(self._names), *limit, place, error), error)
        return None if place[0] == ffi.NULL else Hosts(place[0])


def _raise(error: BaseException) -> Any:
    raise error


def _text(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name}: must be a text, not {value!r}")
    return value


def _path(name: str, value: object) -> str | None:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bytes):
        value = os.fsdecode(value)
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name}: must be a path, not {value!r}")
    return value


def _list(name: str, value: object) -> str | None:
    # One text holds the items as mtasts.toml has them, apart by spaces or commas.
    if value is None or isinstance(value, str):
        return value
    items: list[Any] = list(value) if isinstance(value, Iterable) else [None]
    if not all(isinstance(item, str) for item in items):
        raise TypeError(f"{name}: must be a text or a list of texts, not {value!r}")
    return " ".join(items)


def _time(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not float(value).is_integer():
        raise TypeError(f"{name}: must be a whole number of seconds, or a text such as '30s', not {value!r}")
    return f"{int(value)}s"


def _count(name: str, value: object) -> str | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{name}: must be a whole number, not {value!r}")
    return None if value is None else str(value)


def _callback(log: Log) -> Any:
    def tell(line: Any, _user: Any) -> None:
        log(text(line))

    return ffi.callback("mtasts_log", tell)


def from_openssl(code: int) -> Check:
    """Translates the result of OpenSSL's certificate check: the `verify_code` of an `ssl.SSLCertVerificationError`, or
    0 for success, with `check_hostname` on."""

    def fill(out: Any) -> None:
        lib.mtasts_from_openssl(code, out)

    return check_of(fill)
