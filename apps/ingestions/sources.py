"""Where received files are in the object store, and the scratch space beside it."""

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from django.conf import settings

from apps.core.jobs import GiveBack
from headrace.pipeline.errors import Retryable
from headrace.pipeline.scratch import READY

FOLDER = "sources"  #: the part of the store that received files are in


@contextmanager
def scratch(job: int) -> Iterator[Path]:
    """A folder for the scratch files of one claim, complete ones of an earlier claim in it.

    It stays when the job will be tried again, and when the process dies.
    """
    family = _scratch() / str(job)
    folder = _taken_over(family)
    try:
        yield folder
    except (GiveBack, Retryable):
        raise
    except BaseException:
        _remove(folder)
        raise
    _remove(folder)


def _taken_over(family: Path) -> Path:
    """A folder of our own. An earlier holder who wakes up finds his files gone, not changed."""
    folder = family / uuid4().hex
    earlier = sorted(family.glob("*/"), key=lambda path: (path / READY).exists())
    if earlier and (earlier[-1] / READY).exists():
        with suppress(FileNotFoundError):
            earlier.pop().rename(folder)
    for path in earlier:
        shutil.rmtree(path, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # not empty: another worker has taken the job over
        folder.parent.rmdir()


def scratch_of(jobs: Iterable[int]) -> list[Path]:
    """The scratch folders of these jobs on this machine."""
    return [folder for job in jobs if (folder := _scratch() / str(job)).is_dir()]


def scratch_folders(older_than_seconds: float) -> Iterator[Path]:
    """The jobs' scratch folders on this machine that were made or changed so long ago."""
    limit = time.time() - older_than_seconds
    for family in _scratch().glob("*/"):
        with suppress(FileNotFoundError):
            if family.stat().st_mtime < limit:
                yield family


def _scratch() -> Path:
    return settings.HEADRACE_HOME / "scratch"
