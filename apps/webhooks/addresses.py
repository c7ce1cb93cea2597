"""Which addresses may be called: those of the public internet, and what the operator allows.

A name is looked up once, every address that it has is looked at, and the connection goes to one of
these: what the name means a moment later is never asked.
"""

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Lookup = Callable[..., Sequence[Any]]  #: as socket.getaddrinfo
LOOK_UP_SECONDS = 5.0
MOST_CHARACTERS = 2_048
_PORTS = {"https": 443, "http": 80}

# RFC 6890 and the registries that follow it: what is not reached over the public internet, or
# hides who is reached.
_REFUSED = tuple(
    (ipaddress.ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "a carrier's network"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's own"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documents"),
        ("192.88.99.0/24", "6to4"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documents"),
        ("203.0.113.0/24", "for documents"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "for documents"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "for documents"),
    )
)
_PUBLIC_6 = ipaddress.ip_network("2000::/3")
_NAMED_6 = tuple(
    (ipaddress.ip_network(network), why)
    for network, why in (
        ("::1/128", "loopback"),
        ("::/128", "no address"),
        ("::ffff:0:0/96", "IPv4 in IPv6"),
        ("::/96", "IPv4 in IPv6"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
# Those that end with an IPv4 address.
_CARRIERS = tuple(map(ipaddress.ip_network, ("::ffff:0:0/96", "::/96", "64:ff9b::/96")))


class Refused(Exception):
    """An address that is not called: a short `code`, and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Target(NamedTuple):
    """A URL in the parts that a request needs. `authority` is its Host header."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str


def read(url: str, *, https_only: bool) -> Target:
    """The parts of a URL. Raises Refused for one that cannot be called."""
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > MOST_CHARACTERS:
        raise Refused(
            "bad_url", f"Send a URL of at most {MOST_CHARACTERS:,} ASCII characters, no blanks."
        )
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise Refused("bad_url", "Send a URL with a valid host and port.") from None
    _check_parts(parts, https_only)
    host = (parts.hostname or "").rstrip(".")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, _authority(host, port, parts.scheme), path)


def _authority(host: str, port: int, scheme: str) -> str:
    """From what was read, not as it was spelled: `[::1]x` is read as `::1`."""
    name = f"[{host}]" if ":" in host else host
    return name if port == _PORTS[scheme] else f"{name}:{port}"


def _check_parts(parts: SplitResult, https_only: bool) -> None:
    if parts.scheme not in _PORTS or (https_only and parts.scheme != "https"):
        wanted = "https://" if https_only else "https:// or http://"
        raise Refused("bad_url", f"Send a URL that begins with {wanted}.")
    if not parts.hostname or not parts.hostname.strip(".") or "\\" in parts.netloc:
        raise Refused("bad_url", "Send a URL with a host.")
    if "@" in parts.netloc:
        raise Refused("bad_url", "Leave user and password out: signatures say who sends.")
    if parts.fragment:
        raise Refused("bad_url", "Leave the fragment out.")


def resolve(
    target: Target, allowed: Iterable[Network], lookup: Lookup = socket.getaddrinfo
) -> list[str]:
    """The addresses that the target's name has now, each of which may be called.

    One that may not refuses them all. Raises Refused.
    """
    found = _looked_up(target, lookup)
    for text in found:
        if why := refusal(ipaddress.ip_address(text), allowed):
            raise Refused(
                "address_refused",
                f"The host has an address that is not called ({why}). Send a public one, or let"
                " the operator allow it by HEADRACE_WEBHOOK_ALLOW.",
            )
    return found


def _looked_up(target: Target, lookup: Lookup) -> list[str]:
    """In a thread, which is left to itself where the name's servers do not answer."""
    answers: SimpleQueue[Sequence[Any]] = SimpleQueue()

    def look() -> None:
        try:
            answers.put(lookup(target.host, target.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            answers.put(())

    threading.Thread(target=look, name="webhook-lookup", daemon=True).start()
    try:
        found = answers.get(timeout=LOOK_UP_SECONDS)
    except Empty:
        raise Refused("dns_timeout", "The host's name was not resolved in time.") from None
    # The zone of a link-local address goes: it is refused anyway.
    addresses = [str(answer[4][0]).partition("%")[0] for answer in found]
    if not addresses:
        raise Refused("dns_failed", "The host's name has no address.")
    return list(dict.fromkeys(addresses))


def refusal(address: Address, allowed: Iterable[Network]) -> str:
    """Why an address is not called; empty if it may be.

    What carries an IPv4 address is called only if that one may be called, too.
    """
    why = _refused_because(address)
    if why and any(address in network for network in allowed):
        why = ""
    inner = embedded(address)
    return why or (refusal(inner, allowed) if inner else "")


def _refused_because(address: Address) -> str:
    for network, why in (*_REFUSED, *_NAMED_6):
        if address in network:
            return why
    return "" if address.version == 4 or address in _PUBLIC_6 else "reserved"


def embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address in an IPv6 one: mapped, compatible, NAT64, 6to4, Teredo."""
    if isinstance(address, IPv4Address):
        return None
    if any(address in network for network in _CARRIERS) and int(address) > 1:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour or (address.teredo[1] if address.teredo else None)
