"""Requests that are wrong or odd, stored files that are damaged, texts that are awkward.

Which tests answer which kind of bad input is listed in test_bad_input.ANSWERS.
"""

import gzip
import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx2
import pytest

from tests import tables
from tests import test_bad_input as bad_input
from tests import test_ingestion_http as ingestion
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import customer, form, post_form, product, stored_objects

MIB = 1 << 20


@pytest.fixture(scope="module")
def shop(running_service: Service) -> Merchant:
    """One merchant for all tests here that bring their own ids and never list uploads."""
    return running_service.add_tenant()


def answered(connection: socket.socket) -> bytes:
    """All that the server says before it closes, or is silent."""
    connection.settimeout(3)
    found = b""
    try:
        while part := connection.recv(65_536):
            found += part
    except (TimeoutError, ConnectionError):
        pass
    connection.close()
    return found


LENGTHS = {
    "none": [],
    "not a number": ["Content-Length: ten"],
    "negative": ["Content-Length: -5"],
    "two that differ": ["Content-Length: 5", "Content-Length: 500"],
    "both ways": ["Content-Length: 5", "Transfer-Encoding: chunked"],
    "an unknown coding": ["Transfer-Encoding: gzip, chunked, rot13"],
    "chunks of rubbish": ["Transfer-Encoding: chunked"],
}


def test_a_request_whose_length_cannot_be_told_keeps_nothing(merchant):
    for name, headers in LENGTHS.items():
        connection = ingestion.begin(merchant, *headers)
        connection.sendall(b"zz\r\n" + ndjson(customer()))
        status_line = answered(connection).split(b"\r\n")[0]
        assert re.match(rb"HTTP/1.1 (400|411|501) ", status_line), (name, status_line)
    ingestion.assert_nothing_was_kept(merchant)


def test_what_follows_the_announced_length_is_not_taken(merchant):
    data = ndjson(customer())
    connection = ingestion.begin(merchant, f"Content-Length: {len(data)}", "Connection: close")
    connection.sendall(data + ndjson(customer()) * 10)
    answer = answered(connection)
    assert answer.startswith(b"HTTP/1.1 201 ")
    accepted = json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])
    assert accepted["bytes"] == len(data)
    assert merchant.wait(accepted["upload_token"])["lines_received"] == 1


def raw_form(merchant: Merchant, content: bytes, boundary: str = "b0undary"):
    kind = f"multipart/form-data; boundary={boundary}"
    headers = {"Content-Type": kind.encode(), "Idempotency-Key": uuid4().hex}
    return merchant.request("POST", "/ingest/comprehensive/", content=content, headers=headers)


FILE_PART = b'--b0undary\r\nContent-Disposition: form-data; name="file"; filename="customers"\r\n'
END = b"\r\n--b0undary--\r\n"
MALFORMED = {
    "nothing": b"",
    "only its end": b"--b0undary--\r\n",
    "another boundary": form(("file", "customers", b"{}"), boundary="other")["content"],
    "no end": FILE_PART + b"\r\n{}\n",
    "an end without dashes": FILE_PART + b"\r\n{}\n\r\n--b0undary\r\n",
    "headers that never end": FILE_PART + b"X: " + b"x" * MIB,
    "very many headers": FILE_PART + b"X: x\r\n" * 10_000 + b"\r\n{}" + END,
    "a header without a colon": FILE_PART + b"rubbish\r\n\r\n{}" + END,
    "a part without headers": b"--b0undary\r\n\r\n{}" + END,
    "very many fields": form(*[(f"f{at}", None, b"") for at in range(100)])["content"],
    "a name as RFC 7578 forbids it": FILE_PART.replace(
        b'filename="customers"', b"filename*=UTF-8''customers"
    )
    + b"\r\n{}"
    + END,
    "a coding of its own": FILE_PART + b"Content-Transfer-Encoding: base64\r\n\r\ne30K" + END,
}


def test_a_malformed_form_is_refused_and_keeps_nothing(merchant):
    found = {
        name: ingestion.problem(raw_form(merchant, content)) for name, content in MALFORMED.items()
    }
    expected = dict.fromkeys(MALFORMED, (400, "invalid_request"))
    assert found == {**expected, "a coding of its own": (415, "unsupported_format")}
    for boundary in ("", '""', "x" * 257, "x" * 10_000, "é", "a b"):
        answer = raw_form(merchant, MALFORMED["no end"], boundary)
        assert answer.status_code in (400, 431), boundary
    ingestion.assert_nothing_was_kept(merchant)


def test_an_empty_file_in_a_form_is_refused(merchant):
    empty = post_form(merchant, ("file", "customers.ndjson", b""))
    assert ingestion.problem(empty) == (400, "empty_file")
    ingestion.assert_nothing_was_kept(merchant)


UNUSUAL = {
    "capitals": (FILE_PART.replace(b"Content-Disposition", b"CONTENT-DISPOSITION"), "b0undary"),
    "a type of its own": (FILE_PART + b"Content-Type: text/plain\r\n", "b0undary"),
    "binary": (FILE_PART + b"Content-Transfer-Encoding: BINARY\r\n", "b0undary"),
    "a quoted boundary": (FILE_PART, '"b0undary"'),
    "a charset": (FILE_PART, "b0undary; charset=utf-8"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_form_may_be_spelled_in_unusual_ways(shop, name):
    head, boundary = UNUSUAL[name]
    line = ndjson(customer(name="--b0undary\r\n--b0undary--"))
    answer = raw_form(shop, head + b"\r\n" + line + END, boundary)
    assert ingestion.landed(shop, answer)["outcomes"] == ingestion.outcomes(inserted=1)


@contextmanager
def workers_paused(running: Service) -> Iterator[None]:
    workers = running.worker_pids()
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)


def overwrite(place: Path, data: bytes) -> None:
    """Other bytes where the store keeps an object, whatever its mode is."""
    place.unlink()
    place.write_bytes(data)


LOST = {
    "gone": Path.unlink,
    "empty": lambda place: overwrite(place, b""),
    "another line": lambda place: overwrite(place, ndjson(customer())),
    "one byte altered": lambda place: overwrite(place, flipped(place.read_bytes())),
    "cut short": lambda place: overwrite(place, place.read_bytes()[:-1]),
    "grown": lambda place: overwrite(place, place.read_bytes() + b"\n"),
}


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("ending", ["ndjson", "ndjson.gz"])
def test_a_stored_file_that_is_gone_or_altered_fails_as_lost_and_lands_nothing(merchant, ending):
    tokens = {}
    with workers_paused(merchant.service):
        for name, damage in LOST.items():
            data = ndjson(*(customer() for _ in range(100)))
            data = gzip.compress(data) if "gz" in ending else data
            answer = merchant.send(f"customers.{ending}", data).json()
            (place,) = [
                path for path in stored_objects(merchant) if path.name == answer["chunk_id"]
            ]
            damage(place)
            tokens[name] = answer["upload_token"]
    statuses = {name: merchant.wait(token) for name, token in tokens.items()}
    found = {name: status["chunks"][0]["code"] for name, status in statuses.items()}
    assert found == dict.fromkeys(LOST, "source_lost")
    for status in statuses.values():
        assert status["status"] == "failed"
        bad_input.assert_accounted(status, status["outcomes"]["unprocessed"])
    assert tables.rows(merchant.service, merchant.tenant, "customers") == []


# Awkward texts.


@pytest.fixture
def awkward(shared_data: Path) -> list[str]:
    return json.loads((shared_data / "text" / "blns.json").read_text("utf-8"))


def is_header(text: str) -> bool:
    """Whether clients send the text as the value of a header."""
    return text.isprintable() and text == text.strip() != ""


def test_awkward_texts_come_back_from_the_database_as_they_were_sent(merchant, awkward):
    rows = [customer(name=text, metadata={"text": text, text: [text]}) for text in awkward]
    status = merchant.load("customers.ndjson", ndjson(*rows))
    long = [line for line, text in enumerate(awkward, 1) if len(text) > 255]
    assert bad_input.refused(merchant, status) == [(line, "too_long", "name") for line in long]
    wanted = {UUID(row["customer_id"]): row for row in rows if len(row["name"]) <= 255}
    stored = {
        UUID(str(key)): (name, metadata if isinstance(metadata, dict) else json.loads(metadata))
        for key, name, _, metadata, _ in tables.rows(merchant.service, merchant.tenant, "customers")
    }
    assert stored == {key: (row["name"], row["metadata"]) for key, row in wanted.items()}
    assert status["outcomes"]["inserted"] == len(wanted) > 400


def test_awkward_texts_as_file_names_are_labels(merchant, awkward):
    token = merchant.open_upload()
    places = set()
    for text in awkward[::12]:
        name = f"customers_{text}.ndjson"
        answers = [merchant.send(quote(name), ndjson(customer()), token=token)]
        if is_header(name):
            answers.append(merchant.send(name.encode(), ndjson(customer()), token=token))
        for answer in answers:
            if answer.status_code == 201:
                shown = re.sub(r"[\x00-\x1f\x7f]", "", name).replace("\\", "/").split("/")[-1]
                assert answer.json()["filename"] == shown[:255]
                places.add(answer.json()["chunk_id"])
            else:
                assert answer.json()["code"] in ("unknown_entity", "unsupported_format"), name
    assert {path.name for path in stored_objects(merchant)} == places
    assert len(places) > 30
    assert merchant.wait(token)["outcomes"] == ingestion.outcomes(inserted=len(places))


def test_awkward_texts_as_upload_tokens_name_no_upload(shop, awkward):
    for text in awkward[::8]:
        header = text.encode() if is_header(text) else quote(text)
        joined = shop.send("customers", ndjson(customer()), token=header or "up_")
        assert ingestion.problem(joined) == (404, "not_found"), text
        for address in (quote(text, safe=""), quote(text)):
            asked = shop.request("GET", f"/ingest/sessions/{address}/status/")
            assert asked.status_code in (404, 405), text
            listed = shop.request("GET", "/ingest/sessions/", params={"cursor": text})
            assert listed.status_code == (400 if text else 200), text


def test_every_printable_character_is_its_own_idempotency_key(shop):
    data = ndjson(customer())
    keys = [chr(code) for code in range(33, 127)]
    answers = {key: shop.send("customers", data, key=f"{key} {key}") for key in keys}
    assert {answer.status_code for answer in answers.values()} == {201}
    assert len({answer.json()["chunk_id"] for answer in answers.values()}) == len(keys)


def test_awkward_texts_as_headers_cause_no_error_of_ours(shop, awkward):
    for text in awkward[::10]:
        if not is_header(text):
            continue
        for header in ("Content-Encoding", "Content-Type", "Idempotency-Key", "X-Request-Id"):
            answer = shop.request(
                "POST",
                "/ingest/comprehensive/?entity=suppliers",
                content=b"{}\n",
                headers={"Idempotency-Key": uuid4().hex, header: text.encode()},
            )
            assert 400 <= answer.status_code < 500, (header, text)
            assert answer.json()["code"]


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"\xfd7zXZ\x00", b"BZh91AY"])
def test_other_compressions_are_refused_by_their_first_bytes(merchant, magic):
    response = merchant.send("customers.ndjson", magic + b"x" * 50)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_format")
    assert stored_objects(merchant) == []


FLOODS = {
    "parts of one name": [b'name="x"\r\n\r\ny'] * 21,
    "a long field": [b'name="x"\r\n\r\n' + b"y" * 1_001],
    "a long header": [b'name="x"\r\nX-Long: ' + b"y" * 100_000 + b"\r\n\r\ny"],
    "many headers": [b'name="x"\r\n' + b"X: y\r\n" * 1_000 + b"\r\ny"],
    "an endless header": [b'name="x"\r\nX-Long: ' + b"y" * MIB],
}


@pytest.mark.parametrize("parts", FLOODS.values(), ids=FLOODS)
def test_a_form_of_too_much_beside_the_file_is_refused_and_keeps_nothing(shop, parts):
    before = stored_objects(shop)
    fields = b"".join(b"--b\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts)
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="customers"\r\n\r\n'
    answer = shop.request(
        "POST",
        "/ingest/comprehensive/",
        content=fields + file + ndjson(customer()) + b"\r\n--b--\r\n",
        headers={
            "Content-Type": "multipart/form-data; boundary=b",
            "Idempotency-Key": uuid4().hex,
        },
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert stored_objects(shop) == before


def test_more_parameters_than_anybody_needs_are_refused(shop):
    for path in ("/ingest/sessions/", f"/tenants/{shop.tenant}/customers/"):
        answer = shop.request("GET", f"{path}?{'&' * 1_500}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), path


def test_json_that_is_large_or_nested_without_end_is_refused_where_it_is_small(shop):
    tenant = f"/tenants/{shop.tenant}"
    small = {
        "/ingest/sessions/": 400,
        f"{tenant}/keys/": 400,
        f"{tenant}/reports/export": 400,
        f"{tenant}/products/{uuid4()}/price-event/": 400,
    }
    for path, code in small.items():
        for body in (b"[" * 60_000, b'{"a":' * 10_000):
            headers = {"Content-Type": "application/json"}
            answer = shop.request("POST", path, content=body, headers=headers)
            assert answer.status_code == code, (path, answer.text)
        long = b'{"a":"' + b"x" * (3 * MIB) + b'"}'
        answer = shop.request("POST", path, content=long, headers=headers)
        assert answer.status_code in (400, 413), (path, answer.text)


@pytest.mark.parametrize(
    "path",
    [
        "/ingest/sessions/",
        "/tenants/{tenant}/reports/export",
        "/tenants/{tenant}/price-anomalies/",
        "/tenants/{tenant}/products/{tenant}/price-anomalies/",
        "/tenants/{tenant}/metrics/sales",
        "/tenants/{tenant}/orders/",
        "/tenants/{tenant}/stock/levels",
    ],
)
def test_a_parameter_that_a_list_does_not_have_or_that_is_there_twice_is_refused(shop, path):
    path = path.format(tenant=shop.tenant)
    once = "hours" if "products" in path else "after" if "anomalies" in path else "cursor"
    for query, told in (("colour=red", "known are "), (f"{once}=1&{once}=2", f"{once} once")):
        answer = shop.request("GET", f"{path}?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert told in answer.json()["detail"]


def test_the_bounds_of_a_limit_are_told_as_they_are(shop):
    answer = shop.request("GET", f"/tenants/{shop.tenant}/orders/?limit=abc")
    assert "limit as a whole number from 1 to 1,000." in answer.json()["detail"]


#: A sound body by the place that takes it.
OF_JSON = {
    "/ingest/sessions/": {"max_errors": 5},
    "/tenants/{tenant}/keys/": {"scopes": ["read"]},
    "/tenants/{tenant}/webhooks/": {
        "url": "https://127.0.0.1/hook",
        "events": ["upload.completed"],
    },
    "/tenants/{tenant}/reports/export": {"entity": "products"},
    "/tenants/{tenant}/reports/takeouts": {"format": "csv"},
    "/tenants/{tenant}/products/{product}/price-event/": {"new_price": 7},
}


@pytest.fixture(scope="module")
def send_json(shop) -> Callable[..., httpx2.Response]:
    """Sends a body to a place of OF_JSON."""
    sold = product()
    shop.load("products.ndjson", ndjson(sold))
    names = {"tenant": shop.tenant, "product": sold["product_id"]}

    def send(place: str, content: object, kind: str = "application/json") -> httpx2.Response:
        headers = {"Content-Type": kind, "Idempotency-Key": uuid4().hex}
        return shop.request("POST", place.format(**names), content=content, headers=headers)

    return send


@pytest.mark.parametrize("place", OF_JSON)
def test_json_is_read_by_one_rule_wherever_it_is_sent(send_json, place):
    text = json.dumps(OF_JSON[place])
    sound = {
        "with a byte order mark": (text.encode("utf-8-sig"), "application/json"),
        "chunked": (iter([text[:5].encode(), text[5:].encode()]), "application/json"),
        "as curl sends it": (text.encode(), "application/x-www-form-urlencoded"),
    }
    for name, (content, kind) in sound.items():
        answer = send_json(place, content, kind)
        # 429: takeouts are at work already, which is looked at when the body has been understood.
        assert answer.status_code in (201, 202, 429), (name, answer.text)
    assert ingestion.problem(send_json(place, text.encode("utf-16"))) == (400, "invalid_request")
    foreign = send_json(place, text.encode(), "text/plain")
    assert ingestion.problem(foreign) == (415, "unsupported_format")


@pytest.mark.parametrize("place", OF_JSON)
def test_a_member_that_is_there_twice_is_refused_by_its_name(send_json, place):
    name, value = next(iter(OF_JSON[place].items()))
    member = f'"{name}": {json.dumps(value)}'
    answer = send_json(place, f"{{{member}, {member}}}")
    assert answer.status_code == 400
    assert f"{name}: expected every key once" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("place", "body", "told"),
    [
        ("keys/", '{"scopes": ["read"],\n "label" "x"}', "at line 2, column 10"),
        ("keys/", '{"scopes": }', "at column 12"),
        ("keys/", '{"scope": ["read"]}', "There is no option scope; known are scopes, label,"),
        ("keys/", '{"scopes": ["write"]}', "scopes: Send one of ingest, read,"),
        ("webhooks/", '{"url": "https://127.0.0.1", "events": ["sale"]}', "events: Send one of "),
        ("reports/takeouts", '{"format": "xml"}', "format: Send one of csv,"),
    ],
)
def test_options_that_are_wrong_are_told_where_and_what_is_known(shop, place, body, told):
    answer = shop.request("POST", f"/tenants/{shop.tenant}/{place}", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert told in answer.json()["detail"]


HALVES = {
    "the name of an option": ("keys/", {"\ud800": 1}),
    "a choice": ("keys/", {"scopes": ["\ud800"]}),
    "the name of an option of an export": ("reports/export", {"\udc00": 1}),
    "the type of an export": ("reports/export", {"entity": "\ud800"}),
    "a column of an export": ("reports/export", {"columns": ["\ud800"]}),
    "an endpoint's option": ("webhooks/", {"\ud800": 1}),
}


@pytest.mark.parametrize("place", HALVES)
def test_half_a_surrogate_pair_in_options_is_refused_and_no_error_of_ours(shop, place):
    address, options = HALVES[place]
    body, kind = json.dumps(options).encode(), {"Content-Type": "application/json"}
    path = f"/tenants/{shop.tenant}/{address}"
    answer = shop.request("POST", path, content=body, headers=kind)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text
