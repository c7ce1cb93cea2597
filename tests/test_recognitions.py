"""Loading recognitions: photos and rows together, once, and every one accounted for."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from headrace import databases
from headrace.recognitions import (
    assembly,
    batches,
    database,
    layout,
    loading,
    measures,
    photos,
    settings,
    transforms,
)
from headrace.storage.local import LocalStore
from tests import documents, recognition_sets, recognitions
from tests.recognition_sets import FIRST_ID, annotation, make, photo_path
from tests.recognitions import SHAPES, SPELLINGS, outcomes


@pytest.fixture(params=SPELLINGS)
def world(request, tmp_path):
    """A database of each kind, photos in a local folder."""
    server = None if request.param == "sqlite" else request.getfixturevalue("postgresql_server")
    with recognitions.world(tmp_path, request.param, server) as made:
        yield made


in_every_shape = pytest.mark.parametrize("world", SHAPES, indirect=True)


@pytest.fixture
def embedded(tmp_path):
    """SQLite, for what no database spells its own way."""
    with recognitions.world(tmp_path, "sqlite", None) as made:
        yield made


@pytest.fixture
def dataset(tmp_path):
    return make(tmp_path / "dataset", 5)


def sample_lines(sample: recognition_sets.Dataset) -> int:
    """Lines of all checks, counted in the files."""
    files = sample.path.rglob("*_correct_dishes.json")
    return sum(len(json.loads(path.read_text())) for path in files)


@in_every_shape
def test_the_sample_is_loaded_once_and_mended_where_an_object_is_gone(world, shared_data):
    sample = recognition_sets.Dataset(shared_data / "recognitions")
    assert outcomes(world.load(sample)) == {"loaded": 8}
    first = world.state()
    assert world.counts() == {
        "raw_recognition_files": 16,
        "raw_correct_dishes": 8,
        "raw_dish_catalog": 8,
        "recognitions": 8,
        "recognition_photos": 16,
        "recognition_menu_items": 104,
        "recognition_checks": 8,
        "recognition_check_lines": sample_lines(sample),
    }
    assert len(first[1]) == 16
    assert outcomes(world.load(sample)) == {"skipped": 8}
    assert world.state() == first
    gone = world.home / "objects" / sorted(first[1])[0]
    gone.unlink()
    assert outcomes(world.load(sample)) == {"mended": 1, "skipped": 7}
    assert world.state() == first


def test_rows_say_what_the_files_say(world, dataset):
    assert outcomes(world.load(dataset)) == {"loaded": 5}
    number = FIRST_ID
    menu = json.loads(dataset.menu(number).read_text())
    check = json.loads(dataset.check(number).read_text())
    where = f"WHERE recognition_id = {number} ORDER BY"
    assert world.ask(
        f"SELECT position, external_id, name FROM {{recognition_menu_items}} {where} position"
    ) == [(place, dish["ExternalId"], dish["Name"]) for place, dish in enumerate(menu)]
    assert world.ask(
        "SELECT line, choice, quantity, external_id, name FROM {recognition_check_lines}"
        f" {where} line"
    ) == [
        (place, 0, line["Count"], line["Dishes"][0]["ExternalId"], line["Dishes"][0]["Name"])
        for place, line in enumerate(check)
    ]
    dishes = sum(line["Count"] for line in check)
    assert world.ask(f"SELECT line_count, dish_count FROM {{recognition_checks}} {where} 1") == [
        (len(check), dishes)
    ]
    assert world.ask(
        f"SELECT role, bytes, width, height, media_type FROM {{recognition_photos}} {where} role"
    ) == [
        (role.lower(), dataset.photo(number, role).stat().st_size, 320, 240, "image/jpeg")
        for role in ("Main", "Qualifying")
    ]
    assert [(str(day),) for (day,) in world.ask("SELECT recognized_on FROM {recognitions}")] == [
        ("2025-10-11",)
    ] * 5
    assert world.ask(f"SELECT payload FROM {{raw_dish_catalog}} {where} 1") == [
        (dataset.menu(number).read_text(),)
    ]


def test_the_samples_annotations_are_56_detections_and_the_batches_can_be_taken_back(
    world, shared_data
):
    sample = recognition_sets.Dataset(shared_data / "recognitions")
    world.load(sample, "--batch-id", "trays")
    file = sample.path / "qwen_annotations.json"
    told = world.tell("load-qwen", "--file", file, "--batch-id", "model")
    assert (outcomes(told), told["detections"], told["exit_code"]) == (
        {"loaded": 16},
        {"loaded": 56, "skipped": 0, "rejected": 0},
        0,
    )
    first = world.state()
    told = world.tell("load-qwen", "--file", file, "--batch-id", "again")
    assert (outcomes(told), told["detections"]) == (
        {"skipped": 16},
        {"loaded": 0, "skipped": 56, "rejected": 0},
    )
    assert world.state() == first
    world.tell("reset", "--batch-id", "trays", "--confirm")
    assert (world.counts(), world.objects()) == ({"raw_qwen_annotations": 16}, {})
    world.load(sample)
    assert world.state() == first  # the detections too, from what their own batch has kept
    world.tell("reset", "--batch-id", "model", "--confirm")
    assert world.counts().keys().isdisjoint({"raw_qwen_annotations", "recognition_detections"})


def test_a_reset_leaves_another_batch_and_the_photos_that_it_has_too(world, tmp_path):
    first, second = make(tmp_path / "one", 3, seed=1), make(tmp_path / "two", 4, seed=2)
    moved = second.folder(FIRST_ID + 3)
    shared = first.photo(FIRST_ID, "Main").read_bytes()
    second.photo(FIRST_ID + 3, "Main").write_bytes(shared)
    for path in second.path.rglob("recognition_10000[123]"):
        if path != moved:
            shutil.rmtree(path)
    world.load(second, "--batch-id", "second")
    alone = world.state()
    world.load(first, "--batch-id", "first")
    assert len(world.objects()) == 3 * 2 + 1
    told = world.tell("reset", "--batch-id", "first", "--confirm")
    assert (told["rows"]["recognitions"], told["objects"]) == (3, 5)
    assert world.state() == alone


def test_a_reset_tells_what_it_asked_about_and_what_has_gone(world, dataset):
    """Also what goes with a row that it belongs to, whichever batch brought that."""
    world.load(dataset, "--batch-id", "trays")
    world.tell("load-qwen", "--file", dataset.annotations, "--batch-id", "model")
    before = world.counts()
    done = world.invoke("reset", "--batch-id", "trays", "--confirm", "--json")
    listed = ", ".join(
        f"{table} {rows:,}" for table, rows in json.loads(done.stdout)["rows"].items()
    )
    assert [
        line.partition("): ")[2] for line in done.stderr.splitlines() if "Deleting" in line
    ] == [listed]
    assert f"Batch trays deleted: {listed}; objects 10" in done.stderr
    gone = {table: rows for table, rows in before.items() if table != "raw_qwen_annotations"}
    assert json.loads(done.stdout)["rows"] == gone
    assert world.counts().keys() == {"raw_qwen_annotations"}


def test_a_batch_is_not_deleted_without_a_yes(embedded, dataset):
    embedded.load(dataset, "--batch-id", "mine")
    before = embedded.state()
    assert embedded.tell("reset", "--batch-id", "mine")["error"]["code"] == "not_confirmed"
    unknown = embedded.tell("reset", "--batch-id", "other", "--confirm")
    assert (unknown["error"]["code"], unknown["exit_code"]) == ("batch_unknown", 2)
    assert embedded.state() == before


def test_a_forced_load_brings_what_has_changed_and_its_old_photo_goes(world, dataset):
    world.load(dataset)
    before = world.objects()
    photo = dataset.photo(FIRST_ID, "Main")
    photo.write_bytes(recognition_sets.jpeg("another"))
    dataset.check(FIRST_ID).write_text("[]")
    assert outcomes(world.load(dataset)) == {"skipped": 5}
    assert outcomes(world.load(dataset, "--force")) == {"loaded": 5}
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    after = world.objects()
    assert (len(after), digest in after.values()) == (10, True)
    assert len(set(before.values()) - set(after.values())) == 1
    assert world.ask(
        f"SELECT count(*) FROM {{recognition_check_lines}} WHERE recognition_id = {FIRST_ID}"
    ) == [(0,)]


def test_detections_of_a_photo_of_another_size_are_told_and_come_again(world, dataset):
    first, second = (photo_path(FIRST_ID, role) for role in ("Main", "Qualifying"))
    boxes = [0, 0, 10, 10], [0, 0, 320, 240], [0, 0, 999, 9]  # the last is refused
    dataset.annotate({first: annotation(*boxes), second: annotation([0, 0, 10, 10])})
    world.load(dataset)
    world.tell("load-qwen", "--file", dataset.annotations)
    dataset.photo(FIRST_ID, "Main").write_bytes(recognition_sets.jpeg("smaller", 160, 120))
    told = world.load(dataset, "--force")
    assert outcomes(told) == {"loaded": 5}
    assert [(one["path"], one["code"], one["message"]) for one in told["remarks"]] == [
        (f"RRS/export_1/recognition_{FIRST_ID}", "size_changed", GONE)
    ]
    assert world.counts()["recognition_detections"] == 1
    told = world.tell("load-qwen", "--file", dataset.annotations)
    assert told["detections"] == {"loaded": 1, "skipped": 1, "rejected": 2}
    assert world.load(dataset, "--force")["remarks"] == []


GONE = "2 detections were of a photo of another size"


@in_every_shape
def test_what_is_loaded_twice_at_once_is_there_once(world, dataset):
    """Two loaders of the same set, side by side: neither removes what the other has stored."""
    told = list(
        ThreadPoolExecutor(2).map(
            lambda name: world.start(
                *("load", "--source", dataset.path, "--force", "--batch-id", name)
            ).wait(120),
            ("one", "two"),
        )
    )
    assert told == [0, 0]
    both = world.state()
    assert len(both[1]) == 10
    assert world.counts()["recognitions"] == 5
    assert outcomes(world.load(dataset)) == {"skipped": 5}
    assert world.state() == both


def test_what_another_load_has_brought_meanwhile_is_skipped(world, tmp_path, monkeypatch):
    """It has other photos; those of the slower load do not stay."""
    mine, others = make(tmp_path / "mine", 3, seed=1), make(tmp_path / "others", 2, seed=2)
    put, told = LocalStore.put, []

    def others_first(store, key, blocks):
        if not told and not key.endswith("/owner"):
            told.append(None)
            told[0] = world.load(others, "--batch-id", "others")
        return put(store, key, blocks)

    monkeypatch.setattr(LocalStore, "put", others_first)
    slower = world.load(mine, "--batch-id", "mine", HEADRACE_RECOGNITIONS_THREADS="1")
    assert (outcomes(told[0]), outcomes(slower)) == ({"loaded": 2}, {"loaded": 1, "skipped": 2})
    assert slower["metrics"]["throughput"]["images_processed"]["total"] == 2
    assert world.ask("SELECT batch_id FROM {recognitions} ORDER BY recognition_id") == [
        *(("others",), ("others",), ("mine",))
    ]
    named = {key for (key,) in world.ask("SELECT object_key FROM {recognition_photos}")}
    assert (world.objects().keys(), len(named)) == (named, 6)
    assert "recognition_intents" not in world.counts()


def test_loads_of_the_same_second_have_names_of_their_own(world, dataset, monkeypatch):
    """Whether one is at work, or has ended."""
    monkeypatch.setattr(batches, "_of_now", lambda: "batch_20251118_120000")
    assert world.load(dataset, "--limit", 1)["batch_id"] == "batch_20251118_120000"
    found = settings.read(world.environment, world.home, production=False)
    with assembly.assembled(found) as parts, batches.named(parts, None) as name:
        assert name == "batch_20251118_120000_2"
        assert world.load(dataset)["batch_id"] == "batch_20251118_120000_3"
    assert "recognition_intents" not in world.counts()


def test_a_limit_takes_the_first_so_many(embedded, dataset):
    assert outcomes(embedded.load(dataset, "--limit", 2)) == {"loaded": 2}
    assert embedded.ask("SELECT recognition_id FROM recognitions ORDER BY 1") == [
        (FIRST_ID,),
        (FIRST_ID + 1,),
    ]
    assert outcomes(embedded.load(dataset)) == {"loaded": 3, "skipped": 2}


def test_every_fault_is_a_reject_with_its_place_and_stops_nothing(world, tmp_path):
    dataset = make(tmp_path / "dataset", len(FAULTS) + 1)
    expected = {}
    for number, (break_, code, place) in enumerate(FAULTS, FIRST_ID):
        name = break_(dataset, number)
        expected[f"RRS/export_1/recognition_{number}{name and '/'}{name}"] = (code, place)
    told = world.load(dataset)
    assert told["exit_code"] == 1
    assert outcomes(told) == {"loaded": 1, "rejected": len(FAULTS)}
    found = {one["path"]: (one["code"], one["place"]) for one in told["rejects"]}
    assert found == expected
    assert world.counts()["recognitions"] == 1
    assert len(world.objects()) == 2


def _photo(data: bytes):
    def break_(dataset, number):
        path = dataset.photo(number, "Qualifying")
        path.write_bytes(data)
        return f"photos/{path.name}"

    return break_


def _check(text: str):
    def break_(dataset, number):
        path = dataset.check(number)
        path.write_text(text)
        return path.name

    return break_


def _menu_bytes(data: bytes):
    def break_(dataset, number):
        path = dataset.menu(number)
        path.write_bytes(data)
        return path.name

    return break_


def _lose(kind: str):
    def break_(dataset, number):
        getattr(dataset, kind)(number).unlink()
        return ""

    return break_


def _twice(dataset, number):
    path = dataset.photo(number, "Main")
    shutil.copy(path, path.with_suffix(".jpeg"))
    return ""


def _anothers(dataset, number):
    path = dataset.photo(number, "Main")
    path.rename(path.with_name("recognition_7_2025-10-11_Main.jpg"))
    return "photos/recognition_7_2025-10-11_Main.jpg"


def _two_days(dataset, number):
    path = dataset.photo(number, "Main")
    path.rename(path.with_name(path.name.replace("10-11", "10-12")))
    return ""


def _bomb() -> bytes:
    """A PNG of a few bytes that says it has 10,000 million pixels."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


DISH = '{"Name": "soup", "ExternalId": "00000001"}'
FAULTS = [
    (_photo(b"GIF89a not at all"), "not_a_photo", ""),
    (_photo(b""), "not_a_photo", ""),
    (_photo(recognition_sets.jpeg("cut")[:-2000]), "photo_truncated", ""),
    (_photo(recognition_sets.jpeg("cut", kind="PNG")[:-20]), "photo_truncated", ""),
    (_photo(recognition_sets.jpeg("cut", kind="WEBP")[:-20]), "photo_truncated", ""),
    (_photo(_bomb()), "photo_too_large", ""),
    (
        _check('[{"Count": 1, "Dishes": [{"Name": "?", "ExternalId": "9"}]}]'),
        "dish_unknown",
        "$[0].Dishes[0]",
    ),
    (_check('[{"Count": 0, "Dishes": []}]'), "bad_json", "$[0].Count"),
    (
        _check('[{"Count": 1, "Dishes": [{"Name": "a\\u0000", "ExternalId": "9"}]}]'),
        "bad_json",
        "$[0].Dishes[0].Name",
    ),
    (_check('[{"x":' * 5000), "bad_json", ""),
    (_check("[{"), "bad_json", ""),
    (_check(f'[{{"Count": 1, "Dishes": [{DISH}], "Count": 2}}]'), "key_repeated", "$[0].Count"),
    (_check(f'[{{"Count": {"9" * 5000}, "Dishes": [{DISH}]}}]'), "bad_json", "$[0].Count"),
    (
        _menu_bytes(
            b'[{"Name": "a", "ExternalId": "1"}, {"Name": "{", "ExternalId": 2, "\\u004eame": "c"}]'
        ),
        "key_repeated",
        "$[1].Name",
    ),
    (
        _menu_bytes(b'[{"\\u0446": {"\\u0446": 1}, "Name": "a\\"}", "External\\u0049d": "1"}]'),
        "bad_json",
        "$[0].ExternalId",
    ),
    (_menu_bytes(b'[{"Name": "a", "ExternalId": %d}]' % 2**63), "bad_json", "$[0].ExternalId"),
    (_menu_bytes(b"\xff\xfe["), "bad_json", "byte 0"),
    (_menu_bytes(b'[{"Name": "\\ud800", "ExternalId": "1"}]'), "bad_json", ""),
    (_lose("menu"), "file_missing", ""),
    (_lose("check"), "file_missing", ""),
    (lambda dataset, number: dataset.photo(number, "Main").unlink() or "", "file_missing", ""),
    (_twice, "file_ambiguous", ""),
    (_anothers, "id_differs", ""),
    (_two_days, "dates_differ", ""),
]


def test_layouts_vary(embedded, tmp_path):
    """Bare names, photos beside, other endings, other formats, no date, a number as id."""
    dataset = make(tmp_path / "dataset", 2)
    folder = dataset.folder(FIRST_ID).rename(dataset.path / "RRS" / str(FIRST_ID))
    for path in [*folder.glob("photos/*"), *folder.glob("*.json")]:
        path.rename(folder / BARE[path.name.rpartition("_")[2]])
    (folder / "photos").rmdir()
    (folder / "Qualifying.png").write_bytes(recognition_sets.jpeg("png", kind="PNG"))
    (folder / "AM.json").write_text('\ufeff[{"ExternalId": 7, "Name": "soup", "Price": 1}]')
    (folder / "CD.json").write_text('[{"Count":2,"Dishes":[{"Name":"soup","ExternalId":7}]}]')
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "old_Main.jpg").symlink_to(folder / "old_Main.jpg")  # no file: it leads to itself
    told = embedded.load(dataset)
    assert (outcomes(told), told["exit_code"]) == ({"loaded": 2}, 0)
    assert [(one["path"], one["code"]) for one in told["remarks"]] == [
        (f"RRS/{FIRST_ID}", "date_missing")
    ]
    where = f"WHERE recognition_id = {FIRST_ID}"
    assert embedded.ask(f"SELECT recognized_on FROM recognitions {where}") == [(None,)]
    assert embedded.ask(
        f"SELECT role, media_type FROM recognition_photos {where} ORDER BY role"
    ) == [("main", "image/jpeg"), ("qualifying", "image/png")]
    assert embedded.ask(
        f"SELECT quantity, external_id, name FROM recognition_check_lines {where}"
    ) == [(2, "7", "soup")]


def test_a_jpeg_of_several_pictures_is_one(embedded, tmp_path):
    """As telephones take them: Pillow has another name for the format."""
    dataset = make(tmp_path / "dataset", 2)
    several = recognition_sets.several_jpegs("several")
    dataset.photo(FIRST_ID, "Main").write_bytes(several)
    cut = dataset.photo(FIRST_ID + 1, "Main")
    cut.write_bytes(several[: len(several) // 3])
    told = embedded.load(dataset)
    assert outcomes(told) == {"loaded": 1, "rejected": 1}
    assert [(one["code"], one["path"].rpartition("/")[2]) for one in told["rejects"]] == [
        ("photo_truncated", cut.name)
    ]
    assert embedded.ask(
        "SELECT media_type, width, height FROM recognition_photos WHERE role = 'main'"
    ) == [("image/jpeg", 320, 240)]


def test_what_pillow_calls_by_a_name_that_is_not_ours_is_no_photo(tmp_path, monkeypatch):
    (tmp_path / "photo").write_bytes(recognition_sets.several_jpegs("several"))
    monkeypatch.setattr(photos, "_SEVERAL_JPEGS", "another name")
    with pytest.raises(layout.Refused, match="not_a_photo"):
        photos.look_at(tmp_path / "photo", "photo")


BARE = {
    "Main.jpg": "Main.JPEG",
    "Qualifying.jpg": "Qualifying.png",
    "AM.json": "AM.json",
    "dishes.json": "CD.json",
}


def test_a_link_stops_nothing_and_takes_nothing_in(embedded, tmp_path):
    """One to itself, one to what is above the dataset, and one to what was found already."""
    dataset, outside = make(tmp_path / "dataset", 2), make(tmp_path / "outside", 3)
    (dataset.path / "loop").symlink_to("loop")
    (dataset.path / "RRS" / "up").symlink_to("../..")
    (dataset.path / "out").symlink_to(outside.path)
    (dataset.path / "again").symlink_to(dataset.path / "RRS")
    (dataset.path / "again" / "recognition_7").symlink_to(outside.folder(FIRST_ID))
    told = embedded.load(dataset)
    assert (outcomes(told), told["exit_code"]) == ({"loaded": 2}, 0)


def test_a_recognition_that_is_found_twice_is_loaded_once(embedded, dataset):
    shutil.copytree(dataset.path / "RRS" / "export_1", dataset.path / "RRS" / "export_2")
    told = embedded.load(dataset)
    assert outcomes(told) == {"loaded": 5, "rejected": 5}
    assert {(one["path"], one["code"]) for one in told["rejects"]} == {
        (f"RRS/export_2/recognition_{number}", "repeated")
        for number in range(FIRST_ID, FIRST_ID + 5)
    }


def test_a_photo_that_is_gone_on_both_sides_is_told(embedded, dataset):
    embedded.load(dataset)
    lost = dataset.photo(FIRST_ID, "Main")
    digest = hashlib.sha256(lost.read_bytes()).hexdigest()
    (key,) = (key for key in embedded.objects() if key.endswith(digest))
    (embedded.home / "objects" / key).unlink()
    lost.write_bytes(recognition_sets.jpeg("another"))
    told = embedded.load(dataset)
    assert outcomes(told) == {"skipped": 4, "rejected": 1}
    assert [(one["code"], one["path"]) for one in told["rejects"]] == [
        ("photo_changed", f"RRS/export_1/recognition_{FIRST_ID}/photos/{lost.name}")
    ]


def test_each_box_that_is_wrong_is_a_reject_and_the_others_land(world, dataset):
    world.load(dataset)
    sound = [0, 0, 10, 10]
    main, side = (photo_path(FIRST_ID, role) for role in ("Main", "Qualifying"))
    wrong = [[-1, 0, 5, 5], [0, 0, 321, 10], [5, 0, 5, 9], [0.5, 0, 5, 5]]
    entries = {
        main: annotation(*wrong[:2], sound, *wrong[2:], plates=(sound,)),
        side: {"dishes": {"qwen_detections": [{"bbox_2d": [1, 2], "label": "x"}, {"label": 3}]}},
        photo_path(7, "Main"): annotation(sound),
        "data/Main.jpg": annotation(sound),
        f"other/{main}": annotation(sound),
        photo_path(FIRST_ID + 1, "Main"): {"dishes": {"qwen_detections": 7}},
        photo_path(FIRST_ID + 2, "Main"): {"plates": {"qwen_detections": []}},
    }
    dataset.annotate(entries)
    told = world.tell("load-qwen", "--file", dataset.annotations)
    assert outcomes(told) == {"loaded": 3, "rejected": 4}
    assert told["detections"] == {"loaded": 2, "skipped": 0, "rejected": 6}
    assert {(one["path"], one["place"], one["code"]) for one in told["rejects"]} == {
        *((main, f"$.dishes.qwen_detections[{place}].bbox_2d", "box_outside") for place in BAD),
        (side, "$.dishes.qwen_detections[0].bbox_2d", "bad_json"),
        (side, "$.dishes.qwen_detections[1].label", "bad_json"),
        (photo_path(7, "Main"), "", "photo_unknown"),
        ("data/Main.jpg", "", "photo_unknown"),
        (f"other/{main}", "", "repeated"),
        (photo_path(FIRST_ID + 1, "Main"), "$.dishes.qwen_detections", "bad_json"),
    }
    assert world.ask(
        "SELECT role, kind, position, label, x_min, y_min, x_max, y_max"
        " FROM {recognition_detections} ORDER BY kind"
    ) == [("main", "dish", 2, "dish_2", *sound), ("main", "plate", 0, "plate_0", *sound)]


def test_an_entry_whose_keys_are_no_good_is_a_reject_and_the_others_land(world, dataset):
    """Also numbers of any length are no more than wrong."""
    world.load(dataset)
    good, twice, escaped, long = (photo_path(FIRST_ID + number, "Main") for number in range(4))
    box = '{"label": "\\u0441", "bbox_2d": [0, 0, 10, 10]}'
    entries = {
        good: f'{{"\\u0446": 1, "dishes": {{"qwen_detections": [{box}]}}}}',
        twice: '{"plates": {"qwen_detections": [{"label": 1, "label": "a", "bbox_2d": []}]}}',
        escaped: f'{{"dishe\\u0073": {{"qwen_detections": [{box}]}}}}',
        long: f'{{"plates": {{"qwen_detections": [{box.replace("10]", "9" * 5000 + "]")}]}}}}',
    }
    listed = ", ".join(f'"{path}": {text}' for path, text in entries.items())
    dataset.annotations.write_text(f"{{{listed}}}")
    told = world.tell("load-qwen", "--file", dataset.annotations)
    assert (outcomes(told), told["exit_code"]) == ({"loaded": 2, "rejected": 2}, 1)
    assert told["detections"] == {"loaded": 1, "skipped": 0, "rejected": 1}
    assert [(one["path"], one["place"], one["code"]) for one in told["rejects"]] == [
        (twice, "$.plates.qwen_detections[0].label", "key_repeated"),
        (escaped, "$.dishes", "bad_json"),
        (long, "$.plates.qwen_detections[0].bbox_2d[3]", "bad_json"),
    ]
    assert world.ask("SELECT label FROM {recognition_detections}") == [("с",)]


BAD = (0, 1, 3, 4)  # places of the wrong boxes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "Expected `object`, got `array`"),
        ('{"a": {}, "a": {}}', "'a': the key comes twice (key_repeated"),
        ('{"a": ', "line 1, column 7"),
        ("", "line 1, column 1"),
    ],
)
def test_a_file_that_is_none_of_annotations_is_refused_whole(embedded, tmp_path, text, message):
    file = tmp_path / "qwen_annotations.json"
    file.write_text(text)
    told = embedded.tell("load-qwen", "--file", file)
    assert (told["error"]["code"], told["exit_code"]) == ("bad_file", 2)
    assert message in told["error"]["message"]


def test_transforms_of_a_batch_change_nothing_when_they_are_repeated(world, dataset):
    world.load(dataset, "--batch-id", "mine")
    world.tell("load-qwen", "--file", dataset.annotations, "--batch-id", "mine")
    first = world.state()
    opened = database.opened(databases.of_url(world.url), 2, "headrace_app")
    for _ in range(2):
        with opened.transaction(world.tenant) as session:
            transforms.run_batch(session, opened, "mine")
    opened.close()
    assert world.state() == first
    assert world.counts()["recognition_detections"] > 10


@in_every_shape
def test_a_tenants_recognitions_are_its_own(world, dataset):
    other = uuid4()
    world.add_tenant(other)
    world.load(dataset)
    mine = world.state()
    told = world.load(dataset, "--tenant", other)
    assert outcomes(told) == {"loaded": 5}
    assert world.objects() == mine[1]
    assert set(world.objects(other).values()) == set(mine[1].values())
    world.tell("reset", "--batch-id", told["batch_id"], "--confirm", "--tenant", other)
    assert world.state() == mine


def test_another_tenants_rows_are_not_even_seen(tmp_path, dataset, postgresql_server):
    """In our own database the loader works under the policies, whoever it connects as."""
    with recognitions.world(tmp_path, "postgresql", postgresql_server) as world:
        world.load(dataset)
        counted = "SELECT count(*) FROM {recognitions}"
        with contextlib.closing(
            database.opened(databases.of_url(world.url), 2, "headrace_app")
        ) as opened:
            for tenant, rows in ((world.tenant, 5), (uuid4(), 0)):
                with opened.transaction(tenant) as session:
                    assert session.rows(counted) == [(rows,)]
                    assert session.run("UPDATE {recognitions} SET batch_id = 'x'") == rows
            with pytest.raises(database.RowsRefused), opened.transaction(uuid4()) as session:
                session.run(
                    "INSERT INTO {recognitions} (tenant_id, recognition_id, batch_id)"
                    f" VALUES ('{world.tenant}', 1, 'x')"
                )


@pytest.mark.parametrize("state", ["suspended", "read_only"])
def test_a_tenant_that_may_not_write_gets_nothing(embedded, dataset, state):
    embedded.ask(f"UPDATE tenants SET state = '{state}'")
    told = embedded.load(dataset)
    assert (told["error"]["code"], told["exit_code"]) == ("tenant_closed", 2)
    assert (embedded.counts(), embedded.objects()) == ({}, {})


@in_every_shape
def test_status_tells_what_is_there_and_what_to_do(world, dataset):
    world.load(dataset)
    told = world.tell("status")
    assert (told["is_fine"], told["exit_code"]) == (True, 0), told
    assert [one["name"] for one in told["checks"]] == [
        *("database", "schema", "migrations", "storage", "bucket", "tenant")
    ]
    assert told["rows"]["recognition_photos"] == 10
    world.ask("DROP TABLE {recognition_detections}")
    told = world.tell("status")
    (wrong,) = (one for one in told["checks"] if not one["is_fine"])
    assert (wrong["name"], told["exit_code"]) == ("schema", 1)
    assert "migrat" in wrong["remedy"]
    refused = world.load(dataset)
    assert (refused["error"]["code"], refused["exit_code"]) == ("schema_missing", 2)


def test_a_folder_without_a_recognition_is_told(embedded, tmp_path):
    (tmp_path / "empty" / "photos").mkdir(parents=True)
    told = embedded.tell("load", "--source", tmp_path / "empty")
    assert (told["error"]["code"], told["exit_code"]) == ("source_empty", 2)
    told = embedded.tell("load", "--source", tmp_path / "none")
    assert (told["error"]["code"], told["exit_code"]) == ("source_missing", 2)


def test_a_name_that_is_no_text_is_told_as_far_as_it_is(world, dataset):
    folder = dataset.folder(FIRST_ID)
    strange = os.fsencode(folder / "photos") + b"/\xff_Main.jpg"
    os.rename(dataset.photo(FIRST_ID, "Main"), strange)
    assert outcomes(world.load(dataset)) == {"loaded": 5}
    assert world.ask(
        f"SELECT path FROM {{raw_recognition_files}} WHERE recognition_id = {FIRST_ID}"
        " AND role = 'main'"
    ) == [(f"RRS/export_1/recognition_{FIRST_ID}/photos/\ufffd_Main.jpg",)]


def test_an_interrupted_load_says_so_and_the_next_one_goes_on(embedded, tmp_path):
    dataset = make(tmp_path / "dataset", MANY)
    process = embedded.start("load", "--source", dataset.path, "--json")
    while b"Config:" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=120)
    assert (process.returncode, b"Traceback" in told) == (130, False), told
    assert b'"code": "interrupted"' in told
    assert b"the same command again goes on where this one stopped (interrupted)" in told
    assert b"completed" not in told
    assert sum(outcomes(embedded.load(dataset)).values()) == MANY
    assert embedded.counts()["recognitions"] == MANY


MANY = 400  # more than are loaded while a signal is on its way


def test_a_dataset_is_looked_for_where_the_page_says(tmp_path):
    told = re.findall(r"`([^`]+)`", documents.sections("docs/recognitions.md")[WHERE])
    assert [place for place in told if place in layout.SEARCHED] == list(layout.SEARCHED)
    for place in reversed(layout.SEARCHED):
        recognition_sets.make(tmp_path / "here" / place, 1)
        assert layout.find(None, tmp_path / "here") == tmp_path / "here" / place


WHERE = "Where a dataset is looked for"


def test_the_pages_say_how_many_threads_read():
    told = {4: "four"}[loading.READERS]
    assert f"{told} threads read photos" in documents.read("docs/recognitions.md").lower()
    assert f"{told} read them" in documents.read(".env.example")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.0, "0.0s"), (59.94, "59.9s"), (59.97, "1m 0s"), (119.7, "2m 0s"), (512.0, "8m 32s")],
)
def test_a_span_is_told_in_minutes_and_seconds(seconds, told):
    assert measures.span(seconds) == told


def test_a_file_takes_no_more_memory_than_it_has_bytes(tmp_path):
    (tmp_path / "photo").write_bytes(b"x" * 1000)
    tracemalloc.start()
    try:
        assert len(photos.read(tmp_path / "photo", "photo")) == 1000
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
