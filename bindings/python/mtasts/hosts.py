"""Where a mail goes: the MX hosts of a domain, and the addresses of a host."""

from __future__ import annotations

import ipaddress
import itertools
import logging
import random
from typing import Any, Protocol, TypeVar

import dns.exception
import dns.name
import dns.nameserver
import dns.resolver

from .answer import Answer
from .errors import AddressRefused
from .outcome import HostFailed, PermanentError, PolicyError, TemporaryError, one_line
from .resolver import Resolver
from .words import NoHost

logger = logging.getLogger("mtasts")

MOST_ADDRESSES = 4
"""How many addresses of a host are tried."""

MOST_MX = 100
"""How many MX hosts of a domain are looked at: a stranger may list thousands, and each of them that the policy does not
list is a line in the log."""


R = TypeVar("R", bound=dns.resolver.BaseResolver)


def configured(kind: type[R], resolver: Resolver) -> R:
    """The resolver of dnspython that asks the name servers of ours: those of `/etc/resolv.conf` are read anew, and
    where there are none it is the one on this host (resolv.conf(5))."""
    servers = resolver.nameservers
    if servers is None:
        try:
            return kind()
        except dns.resolver.NoResolverConfiguration:
            servers = [("127.0.0.1", 53)]
    made = kind(configure=False)
    made.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in servers]
    return made


class Dns(Protocol):
    """What of `mtasts.delivery.Door` is needed here."""

    async def records(self, name: str, kind: str) -> Any:
        """The answer of dnspython, or its exception."""

    def check_address(self, address: str) -> None:
        """As `mtasts.Resolver.check_address`."""


def address_in(domain: str) -> list[str]:
    """The address in an address literal (RFC 5321 4.1.3); nothing if it is none."""
    literal = domain[1:-1] if domain.startswith("[") and domain.endswith("]") else ""
    try:
        return [str(ipaddress.ip_address(literal.removeprefix("ipv6:")))]
    except ValueError:
        return []


async def mx_hosts(door: Dns, mail_domain: str, answer: Answer) -> list[str]:
    """The MX hosts in order of preference, those of equal preference shuffled; the domain itself if it has no MX record
    (RFC 5321 5.1). If DNS denies what an enforced policy lists, the mail waits."""
    literal = address_in(mail_domain)
    if literal:
        return literal
    domain = answer.domain or mail_domain
    try:
        records = [(r.preference, str(r.exchange).rstrip(".")) for r in await door.records(domain, "MX")]
        hosts = [(preference, random.random(), host) for preference, host in records if host]
        if hosts:
            return [host for _, _, host in sorted(hosts)[:MOST_MX]]
        why = NoHost.NULL_MX
    except dns.resolver.NoAnswer:
        why = NoHost.NODATA
    except dns.resolver.NXDOMAIN:
        why = NoHost.NXDOMAIN
    # DNS cannot be asked for such a name; that has nothing to do with a policy.
    except (dns.exception.SyntaxError, dns.name.NameTooLong, dns.name.IDNAException, UnicodeError) as error:
        raise PermanentError(501, one_line(f"5.1.3 {domain} is not a domain name: {error}")) from None
    except (dns.exception.DNSException, OSError) as error:
        raise TemporaryError(451, one_line(f"4.4.3 the MX records of {domain}: {error}")) from error
    _waits(answer, why)
    if why is NoHost.NULL_MX:
        raise PermanentError(556, one_line(f"5.1.10 {domain} takes no mail (RFC 7505)"))
    if why is NoHost.NXDOMAIN:
        raise PermanentError(550, one_line(f"5.1.2 there is no domain {domain}"))
    try:
        if not await _addresses(door, domain):
            _waits(answer, NoHost.NOT_LISTED)
            raise PermanentError(550, one_line(f"5.1.2 {domain} has no MX record and no address"))
    except HostFailed as failure:
        raise TemporaryError(failure.code, failure.text) from None
    return [domain]


def _waits(answer: Answer, why: NoHost) -> None:
    """Raises if the mail has to wait because DNS denies the hosts of the policy."""
    verdict = answer.verdict_without_host(why)
    if verdict.action.defers:
        raise PolicyError(answer, verdict, {})


async def addresses_of_host(door: Dns, host: str) -> list[str]:
    """Where a host may be asked. Whoever owns the domain chooses its addresses, and could point us at this machine and
    its network, as an address literal could. It is our own rule, so mail waits where no address is left."""
    good, refusals = [], []
    for address in await _addresses(door, host):
        try:
            door.check_address(address)
            good.append(address)
        except AddressRefused as refusal:
            refusals.append(refusal.reason)
            logger.info("%s: %s", host, refusal.reason)
    if not good:
        raise HostFailed(451, f"4.4.4 {host}: {refusals[0] if refusals else 'no address'}")
    return good[:MOST_ADDRESSES]


async def _addresses(door: Dns, host: str) -> list[str]:
    """The addresses of a host, IPv6 and IPv4 in turn: a machine may have no way to one of them. DNS alone is asked, and
    for the name as it is: `/etc/hosts` and the search domains of this machine say nothing of a stranger's host."""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    found: list[list[str]] = []
    trouble: Exception | None = None
    for kind in ("AAAA", "A"):
        try:
            found.append([record.address for record in await door.records(host, kind)])
        except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
            pass
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            trouble = error
    if not found and trouble:
        raise HostFailed(451, f"4.4.1 the addresses of {host}: {trouble}")
    turns = itertools.chain.from_iterable(itertools.zip_longest(*found))
    return list(dict.fromkeys(address for address in turns if address))
