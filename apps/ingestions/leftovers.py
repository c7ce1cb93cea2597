"""Files that nothing points at any longer: what a kill leaves between the disk and the database."""

import logging
import shutil
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import transaction

from apps.core import objects
from apps.core.jobs import ACTIVE, Lease
from apps.core.models import Job
from apps.ingestions import sources
from apps.ingestions.models import Chunk

log = logging.getLogger(__name__)
BATCH = 500
SCRATCH_HOURS = 1


def remove_orphans(lease: Lease) -> bool:
    """A step, whole in one call: objects that no chunk names, and parts of dead writers.

    The age limit leaves alone what a request has stored and not yet committed. The store gives
    another order each time, so what this claim does not reach a later cleanup does.
    """
    if objects.is_ours():
        aged = objects.store().aged(sources.FOLDER, settings.HEADRACE_ORPHAN_HOURS * 3600)
        while keys := set(islice(aged, BATCH)):
            _remove_unnamed(keys, lease)
            if lease.is_tired:
                break
    return False


def _remove_unnamed(keys: set[str], lease: Lease) -> None:
    lease.check()
    suspects = keys - _named(pk__in=_chunks_of(keys))
    # Asked again by name, which takes longer, and right before the deletion.
    if orphans := suspects - _named(source__in=suspects):
        with transaction.atomic(durable=True):
            lease.fence()
        objects.delete(orphans)
        log.info("removed %s objects that no chunk names", len(orphans))


def _named(**chosen: object) -> set[str]:
    chunks = Chunk.objects.filter(**chosen).exclude(source="")
    return set(chunks.values_list("source", flat=True))


def _chunks_of(keys: Iterable[str]) -> list[UUID]:
    """The chunks that the keys were made for; parts have none."""
    found = []
    for key in keys:
        with suppress(ValueError):
            found.append(UUID(key.rpartition("/")[2]))
    return found


def remove_scratch(lease: Lease) -> bool:
    """A step, whole in one call: scratch folders of jobs that neither wait nor run."""
    folders = {int(folder.name): folder for folder in islice(_aged_scratch(), BATCH)}
    active = Job.objects.filter(pk__in=folders, state__in=ACTIVE).values_list("pk", flat=True)
    if needless := folders.keys() - set(active):
        with transaction.atomic(durable=True):
            lease.fence()
        for job in needless:
            shutil.rmtree(folders[job], ignore_errors=True)
    return False


def _aged_scratch() -> Iterable[Path]:
    return (
        folder
        for folder in sources.scratch_folders(SCRATCH_HOURS * 3600)
        if folder.name.isdecimal()
    )
