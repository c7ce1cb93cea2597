"""The object store that received files are kept in, and the scratch space beside it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from django.conf import settings

from headrace.storage.base import ObjectStore
from headrace.storage.local import LocalStore


def store() -> ObjectStore:
    """The configured store."""
    return LocalStore(settings.HEADRACE_HOME / "objects")


@contextmanager
def scratch(job: int) -> Iterator[Path]:
    """A folder for the scratch files of one claim; those of the job's earlier claims go."""
    family = settings.HEADRACE_HOME / "scratch" / str(job)
    shutil.rmtree(family, ignore_errors=True)
    folder = family / uuid4().hex
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # not empty: another worker has taken the job over
            family.rmdir()
