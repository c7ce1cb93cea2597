"""What test_hardening.py has told of addresses inside of a process that has Django set up."""

from typing import Any

from django.conf import settings
from django.test import RequestFactory

from apps.core import addresses

PROXY, OTHER = "10.0.0.1", "203.0.113.1"  # a proxy of ours, and somebody else


def told() -> Any:
    """The address of each request: its peer, X-Forwarded-For and Forwarded."""
    settings.HEADRACE_TRUSTED_PROXIES = addresses.networks("10.0.0.0/8, ::1")
    return {
        " | ".join((peer, listed, named)): _of(peer, listed, named)
        for peer, listed, named in (
            (OTHER, "198.51.100.1", ""),
            (OTHER, "", "for=198.51.100.1"),
            (PROXY, "", ""),
            (PROXY, "198.51.100.1, 198.51.100.2", ""),
            (PROXY, "198.51.100.1, 198.51.100.2, 10.9.9.9", ""),
            (PROXY, "198.51.100.1, nonsense", ""),
            (PROXY, "10.0.0.3, 10.0.0.2", ""),
            (PROXY, "198.51.100.1:443", ""),
            (PROXY, "", "for=198.51.100.1, for=198.51.100.2;proto=https"),
            (PROXY, "", 'by=10.0.0.2;FOR="[2001:db8::1]:4711"'),
            (PROXY, "", 'for="_hidden"'),
            (PROXY, "198.51.100.1", "for=198.51.100.1"),
            (PROXY, "198.51.100.1", "for=198.51.100.2"),
            ("::1", "::ffff:198.51.100.1", ""),
            ("::ffff:10.0.0.1", "198.51.100.1", ""),
            ("", "198.51.100.1", ""),
        )
    }


def _of(peer: str, listed: str, named: str) -> str:
    request = RequestFactory().get("/", REMOTE_ADDR=peer)
    if listed:
        request.META["HTTP_X_FORWARDED_FOR"] = listed
    if named:
        request.META["HTTP_FORWARDED"] = named
    return addresses.of(request)


def untrusting() -> Any:
    """Without a trusted network no header is looked at."""
    settings.HEADRACE_TRUSTED_PROXIES = ()
    return _of("127.0.0.1", "198.51.100.1", "for=198.51.100.1")
