"""Where webhooks may go, and that one request stays within its bounds. Real sockets, real TLS."""

import ipaddress
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from apps.core.management.commands import serve
from apps.webhooks import addresses, sending
from apps.webhooks.addresses import Refused
from apps.webhooks.sending import Limits, Result
from tests import hooks
from tests.service import ROOT

LOCAL = (ipaddress.ip_network("127.0.0.0/8"),)
REFUSED = {
    "0.0.0.0": "this network",
    "0.1.2.3": "this network",
    "10.0.0.1": "private",
    "10.255.255.255": "private",
    "100.64.0.1": "a carrier's network",
    "100.127.255.254": "a carrier's network",
    "127.0.0.1": "loopback",
    "127.8.9.10": "loopback",
    "168.63.129.16": "a cloud's own",
    "169.254.169.254": "link-local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.170": "reserved",
    "192.0.2.1": "for documents",
    "192.88.99.1": "6to4",
    "192.168.1.1": "private",
    "198.18.0.1": "for benchmarks",
    "198.51.100.7": "for documents",
    "203.0.113.7": "for documents",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "no address",
    "::1": "loopback",
    "::7f00:1": "IPv4 in IPv6",
    "::ffff:127.0.0.1": "IPv4 in IPv6",
    "::ffff:8.8.8.8": "IPv4 in IPv6",
    "64:ff9b::10.0.0.1": "NAT64",
    "64:ff9b::8.8.8.8": "NAT64",
    "64:ff9b:1::1": "NAT64",
    "100::1": "reserved",
    "2001::1": "Teredo",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe": "Teredo",
    "2001:2::1": "reserved",
    "2001:10::1": "reserved",
    "2001:db8::1": "for documents",
    "2002:7f00:1::1": "6to4",
    "2002:808:808::1": "6to4",
    "3fff::1": "for documents",
    "4000::1": "reserved",
    "fc00::1": "private",
    "fd12:3456::1": "private",
    "fe80::1": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
}
PUBLIC = (
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
    *("172.15.255.255", "172.32.0.0", "192.0.1.1", "198.17.255.255", "223.255.255.255"),
    *("2001:4860:4860::8888", "2606:4700::1111", "2a00:1450::1", "2003::1"),
)
BAD_URLS = (
    *("", "hooks.example.org", "ftp://hooks.example.org/", "//hooks.example.org/", "https://"),
    *("https:///path", "https://user:word@hooks.example.org/", "https://@hooks.example.org/"),
    *("https://hooks.example.org:99999/", "https://hooks.example.org:x/", "https://[::1/"),
    *("https://hooks.example.org/#top", "https://hooks.example.org/a b", "https://."),
    *("https://hooks.example.org/\r\nX: 1", "https://hooks.exämple.org/", "file:///etc/passwd"),
    *("https://hooks.example.org\\@127.0.0.1/", f"https://hooks.example.org/{'x' * 2_048}"),
)


def refusal(text: str, *allowed: str) -> str:
    networks = [ipaddress.ip_network(one) for one in allowed]
    return addresses.refusal(ipaddress.ip_address(text), networks)


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused(address: str):
    assert refusal(address) == REFUSED[address]


def test_public_addresses_are_called():
    assert {address: refusal(address) for address in PUBLIC} == dict.fromkeys(PUBLIC, "")


def test_what_the_operator_allows_is_called_and_nothing_beside_it():
    assert refusal("10.1.2.3", "10.1.0.0/16") == ""
    assert refusal("10.2.0.1", "10.1.0.0/16") == "private"
    assert refusal("fd00::1", "10.0.0.0/8", "fd00::/8") == ""


def test_a_network_that_carries_ipv4_does_not_let_private_addresses_through():
    assert refusal("64:ff9b::8.8.8.8", "64:ff9b::/96") == ""
    assert refusal("64:ff9b::10.0.0.1", "64:ff9b::/96") == "private"
    assert refusal("2002:a00:1::1", "2002::/16") == "private"
    assert refusal("::ffff:10.0.0.1", "::ffff:0:0/96", "10.0.0.0/8") == ""


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_cannot_be_called_is_refused(url: str):
    with pytest.raises(Refused) as caught:
        addresses.read(url, https_only=False)
    assert caught.value.code == "bad_url"


def test_in_production_only_https_is_called():
    assert addresses.read("http://hooks.example.org/", https_only=False).port == 80
    with pytest.raises(Refused, match="https://"):
        addresses.read("http://hooks.example.org/", https_only=True)


@pytest.mark.parametrize(
    "host", ["localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "[::1]", "localhost."]
)
def test_a_name_is_judged_by_the_addresses_that_it_has(host: str):
    """The machine's own resolver says what they are, in every spelling that it knows."""
    target = addresses.read(f"http://{host}/", https_only=False)
    with pytest.raises(Refused, match="loopback"):
        addresses.resolve(target, ())


def test_a_name_without_an_address_is_refused():
    result = post("http://nothing.invalid/")
    assert (result.status, result.error) == (None, "dns_failed")


def test_one_private_address_among_public_ones_refuses_the_name():
    target = addresses.read("http://hooks.example.org/", https_only=False)
    with pytest.raises(Refused, match="private"):
        addresses.resolve(target, (), answering(["8.8.8.8", "10.0.0.1"]))


def answering(*rounds: list[str]) -> Callable:
    """A resolver whose answers to the same name differ from time to time, as its owner likes."""
    left = list(rounds)

    def lookup(host: str, port: int, **_: object) -> list:
        found = left.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    return lookup


@pytest.fixture
def receiver() -> Iterator[hooks.Receiver]:
    with hooks.receiving() as opened:
        yield opened


def post(url: str, **more) -> Result:
    given = {"https_only": False, "allowed": LOCAL, "limits": Limits(1, 1), **more}
    return sending.post(url, {"webhook-id": "msg_1"}, b"{}", **given)


def test_the_connection_goes_to_the_address_that_was_looked_at(receiver):
    """A name that is rebound after the look is not looked up again: a second time would raise."""
    lookup = answering(["127.0.0.1"])
    url = f"http://hooks.example.org:{receiver.port}/in?a=1"
    assert post(url, lookup=lookup)[::2] == (200, "")
    [received] = receiver.received
    assert (received.path, received.body) == ("/in?a=1", b"{}")
    assert received.headers["host"] == f"hooks.example.org:{receiver.port}"


def test_a_name_that_is_rebound_to_a_private_address_is_refused_when_it_is_sent(receiver):
    url, lookup = f"http://hooks.example.org:{receiver.port}/", answering(["127.0.0.1"], ["::1"])
    assert post(url, lookup=lookup).error == ""
    assert post(url, lookup=lookup).error == "address_refused"
    assert len(receiver.received) == 1


def test_a_redirect_is_not_followed(receiver):
    receiver.answer = lambda received: (302, {"Location": f"{receiver.url}/elsewhere"}, b"")
    assert post(receiver.url)[::2] == (302, "redirect")
    assert [one.path for one in receiver.received] == ["/hooks"]


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, ""), (204, ""), (304, "redirect"), (400, "status"), (410, "gone"), (503, "status")],
)
def test_the_status_says_what_came_of_it(receiver, status: int, error: str):
    receiver.answer = lambda received: (status, {}, b"")
    result = post(receiver.url)
    assert (result.status, result.error) == (status, error)


def test_no_proxy_of_the_environment_is_asked(receiver, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    assert post(receiver.url).error == ""


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that does this with its first connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(60)
                connection.recv(4_096)
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(60)


def sent_to(serve: Callable[[socket.socket], None]) -> tuple[Result, float]:
    with listening(serve) as port:
        began = time.monotonic()
        result = post(f"http://127.0.0.1:{port}/")
        return result, time.monotonic() - began


def drip(connection: socket.socket, data: bytes) -> None:
    for at in range(1_000):
        try:
            connection.sendall(data[at : at + 1] or b"x")
        except OSError:
            return
        time.sleep(0.03)


def test_a_receiver_that_says_nothing_is_left_in_time():
    result, seconds = sent_to(lambda connection: connection.recv(1))
    assert (result.status, result.error) == (None, "timeout")
    assert seconds < 15


def test_a_receiver_that_drips_its_answer_is_left_in_time():
    result, seconds = sent_to(lambda connection: drip(connection, b"HTTP/1.1 200 OK\r\nX-A: "))
    assert (result.status, result.error) == (None, "timeout")
    assert seconds < 15


def test_an_answer_without_end_is_read_no_further_than_is_kept():
    head = b"HTTP/1.1 200 OK\r\n\r\n"

    def serve(connection: socket.socket) -> None:
        try:
            connection.sendall(head)
            while True:
                connection.sendall(b"y" * 65_536)
        except OSError:
            return

    result, seconds = sent_to(serve)
    assert (result.status, result.error, len(result.answer)) == (200, "", sending.ANSWER_BYTES)
    assert seconds < 15


def test_headers_that_are_too_long_are_no_answer():
    def serve(connection: socket.socket) -> None:
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            for at in range(50):
                connection.sendall(f"X-{at}: {'z' * 60_000}\r\n".encode())
            connection.sendall(b"\r\n")
        except OSError:
            return

    result, _ = sent_to(serve)
    assert (result.status, result.error) == (None, "bad_answer")


def test_what_is_no_http_is_a_bad_answer():
    result, _ = sent_to(lambda connection: connection.sendall(b"220 smtp ready\r\n"))
    assert (result.status, result.error) == (None, "bad_answer")


def test_a_chunk_of_a_negative_size_is_no_error_of_ours():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n"
    result, _ = sent_to(lambda connection: connection.sendall(head))
    assert (result.status, result.error, result.answer) == (200, "", "")


def test_interim_answers_are_skipped():
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    last = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    result, _ = sent_to(lambda connection: connection.sendall(early * 2 + last))
    assert (result.status, result.error, result.answer) == (200, "", "ok")


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://[::1]:81/", "[::1]:81"),
        ("https://[2001:db8::1]/", "[2001:db8::1]"),
        ("https://Hooks.example.org.:443/", "hooks.example.org"),
        ("http://hooks.example.org:8080/a", "hooks.example.org:8080"),
    ],
)
def test_the_host_header_is_made_of_what_was_read(url: str, authority: str):
    assert addresses.read(url, https_only=False).authority == authority


def test_what_is_spelled_behind_an_address_reaches_no_header():
    with suppress(Refused):
        assert addresses.read("http://[::1]x/", https_only=False).authority == "[::1]"


def test_serve_waits_for_the_longest_turn_of_a_worker_that_is_told_to_stop():
    assert sending.USUAL.total + 10 <= serve.GRACE_SECONDS


def test_an_answer_is_kept_without_what_a_terminal_or_a_database_would_act_on(receiver):
    receiver.answer = lambda received: (500, {}, b"a\0b\x1b[31m\xff\n")
    assert post(receiver.url).answer == "a�b�[31m�\n"


def test_nobody_there_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/").error == "connect_failed"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A key and a certificate of its own for the name hooks.example.org."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += ["-nodes", "-days", "2", "-subj", "/CN=hooks.example.org", "-keyout", path, "-out"]
    made += [path.with_suffix(".crt"), "-addext", "subjectAltName=DNS:hooks.example.org"]
    subprocess.run(made, check=True, capture_output=True)
    return path


@contextmanager
def tls_server(certificate: Path) -> Iterator[tuple[int, list[str | None]]]:
    """Its port, and the names that it was asked for by SNI."""
    names: list[str | None] = []
    with hooks.receiving() as receiver:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.with_suffix(".crt"), certificate)
        context.sni_callback = lambda connection, name, _: names.append(name)
        receiver.secure(context)
        yield receiver.port, names


# In a process of its own: whom we trust is read from the environment once.
OVER_TLS = """
import ipaddress, socket, sys
from apps.webhooks import sending
def lookup(host, port, **_):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
for host in sys.argv[2:]:
    url = f"https://{host}:{sys.argv[1]}/"
    allowed = [ipaddress.ip_network("127.0.0.0/8")]
    result = sending.post(url, {}, b"{}", https_only=True, allowed=allowed, lookup=lookup)
    print(host, result.status, result.error)
"""


def over_tls(port: int, *hosts: str, **environment: str) -> list[str]:
    command = [sys.executable, "-c", OVER_TLS, str(port), *hosts]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_certificates_are_checked_by_the_name_and_not_by_the_address(certificate):
    with tls_server(certificate) as (port, names):
        trusted = {"SSL_CERT_FILE": str(certificate.with_suffix(".crt"))}
        hosts = ("hooks.example.org", "other.example.org")
        assert over_tls(port, *hosts, **trusted) == [
            "hooks.example.org 200 ",
            "other.example.org None tls_failed",
        ]
        assert over_tls(port, hosts[0]) == ["hooks.example.org None tls_failed"]
    assert names == [*hosts, hosts[0]]


def test_every_error_is_declared_and_documented():
    source = Path(sending.__file__).read_text() + Path(addresses.__file__).read_text()
    codes = set(re.findall(r'_Broken\("(\w+)"\)|Refused\(\s*"(\w+)"', source))
    raised = {one or other for one, other in codes} | {"gone", "redirect", "status", "internal"}
    assert raised == set(sending.ERRORS)
    lines = (ROOT / "docs" / "webhooks.md").read_text().splitlines()
    assert {f"| `{code}` | {about} |" for code, about in sending.ERRORS.items()} <= set(lines)
