"""Datasets of recognitions with real photos: `python -m tests.recognition_sets FOLDER [COUNT]`."""

import json
import random
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 320, 240
DISHES = [(f"{number:08}", f"dish {number}, «hot»") for number in range(1, 14)]
FIRST_ID = 100_001


def jpeg(seed: object, width: int = WIDTH, height: int = HEIGHT, kind: str = "JPEG") -> bytes:
    """A photo of noise that no other seed gives."""
    file = BytesIO()
    _noise(seed, width, height).save(file, kind, quality=85)
    return file.getvalue()


def several_jpegs(seed: object, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A JPEG that has a second picture behind the first, as its MPF segment says."""
    first, second = (_noise((seed, number), width, height) for number in range(2))
    file = BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second])
    return file.getvalue()


def _noise(seed: object, width: int, height: int) -> Image.Image:
    noise = random.Random(str(seed)).randbytes(width * height // 16)
    small = Image.frombytes("L", (width // 4, height // 4), noise)
    return small.resize((width, height)).convert("RGB")


@dataclass(frozen=True)
class Dataset:
    """A dataset's folder, made in the usual layout."""

    path: Path

    def folder(self, number: int) -> Path:
        return self.path / "RRS" / "export_1" / f"recognition_{number}"

    def photo(self, number: int, role: str) -> Path:
        (found,) = (self.folder(number) / "photos").glob(f"*_{role}.jpg")
        return found

    def menu(self, number: int) -> Path:
        (found,) = self.folder(number).glob("*_AM.json")
        return found

    def check(self, number: int) -> Path:
        (found,) = self.folder(number).glob("*_correct_dishes.json")
        return found

    @property
    def annotations(self) -> Path:
        return self.path / "qwen_annotations.json"

    def annotate(self, entries: dict[str, Any]) -> None:
        self.annotations.write_text(json.dumps(entries))


def photo_path(number: int, role: str) -> str:
    """How annotations name a photo."""
    return f"data/recognition_{number}/photos/recognition_{number}_2025-10-11_{role}.jpg"


def annotation(*boxes: list[int], plates: tuple[list[int], ...] = ()) -> dict[str, Any]:
    """What the model says of a photo."""

    def listed(found: tuple[list[int], ...], word: str) -> dict[str, Any]:
        return {
            "qwen_detections": [
                {"bbox_2d": box, "label": f"{word}_{place}"} for place, box in enumerate(found)
            ]
        }

    return {"dishes": listed(boxes, "dish"), "plates": listed(plates, "plate")}


def make(path: Path, count: int, seed: object = 0, scale: float = 1) -> Dataset:
    """A dataset of so many recognitions: the same for the same seed. `scale` is of the photos."""
    dataset = Dataset(path)
    chance = random.Random(str(seed))
    entries = {}
    for number in range(FIRST_ID, FIRST_ID + count):
        put(dataset, number, chance, seed, scale)
        for role in ("Main", "Qualifying"):
            boxes = [[10 * place, 5, 10 * place + 9, 30] for place in range(chance.randrange(1, 5))]
            entries[photo_path(number, role)] = annotation(*boxes, plates=([0, 0, WIDTH, HEIGHT],))
    dataset.annotate(entries)
    return dataset


def put(
    dataset: Dataset, number: int, chance: random.Random, seed: object = 0, scale: float = 1
) -> None:
    folder = dataset.folder(number)
    (folder / "photos").mkdir(parents=True)
    for role in ("Main", "Qualifying"):
        place = folder / "photos" / f"recognition_{number}_2025-10-11_{role}.jpg"
        place.write_bytes(jpeg((seed, number, role), round(WIDTH * scale), round(HEIGHT * scale)))
    menu = [{"ExternalId": key, "Name": name} for key, name in DISHES]
    chosen = chance.sample(menu, chance.randrange(2, 6))
    check = [{"Count": chance.randrange(1, 3), "Dishes": [dish]} for dish in chosen]
    begin = folder / f"{number}_recognition_2025-10-11_"
    Path(f"{begin}AM.json").write_text(json.dumps(menu), encoding="utf-8")
    Path(f"{begin}correct_dishes.json").write_text(json.dumps(check), encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 12)
