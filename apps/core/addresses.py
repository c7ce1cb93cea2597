"""The address that a request comes from, where proxies stand before the service.

A header says what its sender likes. So X-Forwarded-For and Forwarded are read only where the
connection itself comes from a network of HEADRACE_TRUSTED_PROXIES, from their end, and only as far
as every further hop is such a proxy, too: the first address that is none is the caller's.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MOST_HOPS = 32
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("[^"]*"|[^;\s]*)', re.IGNORECASE)


def networks(text: str) -> tuple[Network, ...]:
    """The networks of a list with commas. Raises ValueError."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def of(request: HttpRequest) -> str:
    """The caller's address as text, "" where the server tells none (a socket of the machine)."""
    peer = str(request.META.get("REMOTE_ADDR", ""))
    trusted: tuple[Network, ...] = settings.HEADRACE_TRUSTED_PROXIES
    if not trusted or not _is_in(peer, trusted):
        return peer
    listed = request.META.get("HTTP_X_FORWARDED_FOR")
    forwarded = request.META.get("HTTP_FORWARDED")
    if listed and forwarded:
        # A proxy writes one of them and hands the other on as its caller sent it: which, nobody
        # can tell. They count as none unless they say the same.
        said = {_caller(peer, _listed(listed), trusted), _caller(peer, _named(forwarded), trusted)}
        return said.pop() if len(said) == 1 else peer
    hops = _listed(listed) if listed else _named(forwarded or "")
    return _caller(peer, hops, trusted)


def prefix(address: str) -> str:
    """What is counted as one caller: an IPv4 address, or the /64 of an IPv6 address."""
    return _prefix(address)


@lru_cache(maxsize=4_096)
def _prefix(address: str) -> str:
    found = _parsed(address)
    if found is None or found.version == 4:
        return address if found is None else str(found)
    return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))


def _caller(peer: str, hops: Sequence[str], trusted: tuple[Network, ...]) -> str:
    """The last hop that is no proxy of ours; the last that could be read where one is unreadable.

    `hops` are in the order of the header, the nearest last.
    """
    known = peer
    for text in reversed(hops[-MOST_HOPS:]):
        found = _parsed(text)
        if found is None:
            return known
        known = str(found)
        if not _is_in(known, trusted):
            return known
    return known


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _named(text: str) -> list[str]:
    """The `for` of each element of Forwarded (RFC 7239)."""
    return [found[1].strip('"') if (found := _FOR.search(part)) else "" for part in _cut(text)]


def _cut(text: str) -> Iterator[str]:
    """At commas that are not quoted."""
    yield from re.findall(r'(?:"[^"]*"|[^,"])+', text)


def _parsed(text: str) -> Address | None:
    """An address, with or without a port or brackets; one of IPv4 in IPv6 is that of IPv4."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


@lru_cache(maxsize=4_096)
def _is_in(text: str, trusted: tuple[Network, ...]) -> bool:
    found = _parsed(text)
    return found is not None and any(found in network for network in trusted)
