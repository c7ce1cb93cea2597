"""A service of production, met by strangers: bad keys, headers of answers, cookies.

Each process counts for itself. A client that sends one request after the other keeps its
connection, and with it its process.
"""

import re
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx2
import pytest

from tests import service
from tests.conftest import HTTP_DIALECTS, server_of
from tests.inside import Inside
from tests.service import Merchant, Service
from tests.test_tenants_http import OPERATIONS, PAGES, call, needing

BAD_KEYS = 5  # a minute and process
USER, PASSWORD = "gatekeeper", uuid4().hex


@pytest.fixture(scope="module", params=HTTP_DIALECTS)
def production(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[Service]:
    """As it is run for real, behind a proxy on this machine that tells where calls come from."""
    settings = {
        "HEADRACE_ENV": "production",
        "DJANGO_SECRET_KEY": uuid4().hex * 2,
        "ALLOWED_HOSTS": "127.0.0.1",
        "HEADRACE_TRUSTED_PROXIES": "127.0.0.1",
        "HEADRACE_BAD_KEYS_PER_MINUTE": str(BAD_KEYS),
        "HEADRACE_METRICS_TOKEN": "a token",
    }
    home = tmp_path_factory.mktemp("hardened")
    server = server_of(request, request.param)
    with service.running(home, server, workers=0, **settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def shop(production: Service) -> Merchant:
    """A merchant with a real key."""
    merchant = production.add_tenant()
    minted = production.manage("keys", "mint", "--tenant", merchant.tenant)
    return Merchant(production, merchant.tenant, minted.stdout.strip())


def whoami(running: Service, key: str, address: str, **headers: str) -> httpx2.Response:
    told = {"X-API-Key": key, "X-Forwarded-For": address, **headers}
    return running.request("GET", "/api/v1/whoami/", headers=told)


def bad_key() -> str:
    return f"hr_{uuid4().hex[:12]}_{'a' * 40}_00000000"


def blocked(running: Service, address: str) -> httpx2.Response:
    """The first answer that says that too many bad keys came from there."""
    for _ in range(BAD_KEYS + 2):
        answer = whoami(running, bad_key(), address)
        if answer.status_code != 401:
            return answer
    raise AssertionError("bad keys pass without end")


def test_after_some_bad_keys_an_address_is_told_when_to_come_back(production, shop):
    answer = blocked(production, "203.0.113.1")
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_bad_keys")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60 // BAD_KEYS + 1
    assert whoami(production, bad_key(), "203.0.113.2").status_code == 401
    assert whoami(production, shop.key, "203.0.113.2").status_code == 200


def test_a_key_that_was_good_a_moment_ago_passes_beside_a_neighbour_who_is_blocked(
    production, shop
):
    blocked(production, "203.0.113.3")
    assert whoami(production, shop.key, "203.0.113.3").status_code == 200
    assert whoami(production, bad_key(), "203.0.113.3").status_code == 429


def test_a_key_that_was_good_and_has_ended_is_counted_like_any_other(production, shop):
    minted = production.manage("keys", "mint", "--tenant", shop.tenant).stdout.strip()
    assert whoami(production, minted, "203.0.113.6").status_code == 200
    production.manage("keys", "revoke", minted.split("_")[1])
    time.sleep(1)
    codes = [whoami(production, minted, "203.0.113.6").status_code for _ in range(BAD_KEYS + 1)]
    assert codes == [401] * BAD_KEYS + [429]


def test_addresses_of_ipv6_are_counted_by_their_network(production):
    blocked(production, "2001:db8:1:2::1")
    assert whoami(production, bad_key(), "2001:db8:1:2:ffff::9").status_code == 429
    assert whoami(production, bad_key(), "2001:db8:1:3::1").status_code == 401


def test_no_header_of_a_caller_gives_it_another_address(production):
    """What a caller sends stands before what the proxy adds."""
    blocked(production, "203.0.113.4")
    for told in ("198.51.100.7, 203.0.113.4", "198.51.100.7, 203.0.113.4, 127.0.0.1"):
        assert whoami(production, bad_key(), told).status_code == 429
    for told in ('for="198.51.100.7"', "for=203.0.113.4;proto=https, for=198.51.100.8"):
        # Both headers, and they differ: neither is believed, and the proxy's own address counts.
        answer = whoami(production, bad_key(), "203.0.113.4", Forwarded=told)
        assert answer.status_code == 401, told
    same = whoami(production, bad_key(), "203.0.113.4", Forwarded='for="203.0.113.4:80"')
    assert same.status_code == 429


def test_logins_that_fail_are_counted_like_bad_keys(production):
    told = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "https"}
    codes = []
    with httpx2.Client(base_url=production.url) as person:
        for _ in range(BAD_KEYS + 1):
            page = person.get("/admin/login/", headers=told)
            token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
            fields = {"username": USER, "password": "x", "csrfmiddlewaretoken": token}
            cookies = {"Cookie": f"csrftoken={page.cookies['csrftoken']}"}
            sent = {**told, **cookies, "Referer": f"https://127.0.0.1:{production.port}/admin/"}
            codes.append(person.post("/admin/login/", data=fields, headers=sent).status_code)
    assert codes[-1] == 429
    assert set(codes[:-1]) == {200}, codes


SCRIPT = re.compile(r"<script([^>]*)>(.*?)</script>", re.DOTALL)


def every_page(running: Service) -> dict[str, httpx2.Response]:
    pages = {path: running.request("GET", path) for path in sorted(PAGES)}
    pages["/admin/login/"] = running.request("GET", "/admin/login/")
    return pages


def test_every_answer_says_what_a_browser_must_not_do(production, shop):
    answers = [*every_page(production).values(), production.request("GET", "/nowhere")]
    answers += [call(production, one, str(shop.tenant)) for one in OPERATIONS]
    answers += [
        call(production, one, str(shop.tenant), **{"X-API-Key": shop.key})
        for one in needing("key", "tenant", "row")
    ]
    answers.append(production.request("GET", "/static/admin/css/base.css"))
    for answer in answers:
        headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff", answer.url
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "script-src" not in headers["Content-Security-Policy"]
        assert "Strict-Transport-Security" not in headers
        if answer.request.url.path.startswith("/api/v1/"):
            assert "no-store" in headers["Cache-Control"], answer.url
            assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_over_tls_production_asks_for_tls_from_then_on(production):
    told = {"X-Forwarded-Proto": "https"}
    answer = production.request("GET", "/health/live", headers=told)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_pages_need_no_more_than_their_policies_allow(production):
    """No script in a page's text, none of another host; a page without a style-src has no style."""
    for path, page in every_page(production).items():
        policy = page.headers["Content-Security-Policy"]
        if not page.headers["Content-Type"].startswith("text/html"):
            continue
        for attributes, text in SCRIPT.findall(page.text):
            [source] = re.findall(r'src="([^"]+)"', attributes)
            assert (text.strip(), source.startswith("/")) == ("", True), path
            script = production.request("GET", source)
            assert script.status_code == 200
            assert "javascript" in script.headers["Content-Type"]
        assert re.findall(r"<[^>]+\son\w+=", page.text) == [], path
        if "<style" in page.text or " style=" in page.text:
            assert "style-src" in policy, path
    assert "sha256-" in production.request("GET", "/").headers["Content-Security-Policy"]


def test_cookies_open_nothing_of_the_api_and_forms_need_their_token(production):
    snippet = (
        "from django.contrib.auth import get_user_model as m;"
        f" m().objects.create_superuser('{USER}', password='{PASSWORD}')"
    )
    production.manage("shell", "-v", "0", "-c", snippet)
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    told["Referer"] = f"https://127.0.0.1:{production.port}/admin/"
    with httpx2.Client(base_url=production.url, headers=told) as person:
        page = person.get("/admin/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
        fields = {"username": USER, "password": PASSWORD, "csrfmiddlewaretoken": token}
        fields["next"] = "/admin/"
        cookie = f"csrftoken={page.cookies['csrftoken']}"
        logged_in = person.post("/admin/login/", data=fields, headers={"Cookie": cookie})
        assert logged_in.status_code == 302, logged_in.text
        session = {"Cookie": f"{cookie}; sessionid={logged_in.cookies['sessionid']}"}
        assert person.get("/admin/", headers=session).status_code == 200
        for path in ("/admin/logout/", "/admin/password_change/", "/admin/tenants/tenant/"):
            assert person.post(path, headers=session).status_code == 403, path
        for method, path in needing("key", "tenant", "row"):
            answer = call(production, (method, path), str(uuid4()), **session)
            assert answer.status_code == 401, path
        for name in ("sessionid", "csrftoken"):
            [given] = [one for one in logged_in.headers.get_list("set-cookie") if name in one]
            assert {"Secure", "HttpOnly", "Path=/admin", "SameSite=Lax"} <= {
                part.strip() for part in given.split(";")
            }


def test_forwarding_headers_are_read_from_their_end_and_from_proxies_of_ours_only(production):
    inside = Inside(production, "addresses_inside")
    assert inside.do("told") == {
        "203.0.113.1 | 198.51.100.1 | ": "203.0.113.1",
        "203.0.113.1 |  | for=198.51.100.1": "203.0.113.1",
        "10.0.0.1 |  | ": "10.0.0.1",
        "10.0.0.1 | 198.51.100.1, 198.51.100.2 | ": "198.51.100.2",
        "10.0.0.1 | 198.51.100.1, 198.51.100.2, 10.9.9.9 | ": "198.51.100.2",
        "10.0.0.1 | 198.51.100.1, nonsense | ": "10.0.0.1",
        "10.0.0.1 | 10.0.0.3, 10.0.0.2 | ": "10.0.0.3",
        "10.0.0.1 | 198.51.100.1:443 | ": "198.51.100.1",
        "10.0.0.1 |  | for=198.51.100.1, for=198.51.100.2;proto=https": "198.51.100.2",
        '10.0.0.1 |  | by=10.0.0.2;FOR="[2001:db8::1]:4711"': "2001:db8::1",
        '10.0.0.1 |  | for="_hidden"': "10.0.0.1",
        "10.0.0.1 | 198.51.100.1 | for=198.51.100.1": "198.51.100.1",
        "10.0.0.1 | 198.51.100.1 | for=198.51.100.2": "10.0.0.1",
        "::1 | ::ffff:198.51.100.1 | ": "198.51.100.1",
        "::ffff:10.0.0.1 | 198.51.100.1 | ": "198.51.100.1",
        " | 198.51.100.1 | ": "",
    }
    assert inside.do("untrusting") == "127.0.0.1"
