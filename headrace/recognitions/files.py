"""Files of a dataset, of which only so much is taken into memory."""

import os
from pathlib import Path

from headrace.recognitions.errors import Code, Refused


def read(path: str | Path, name: str, most: int) -> bytes:
    """A file's bytes; of one that has more than `most`, `most` and one.

    As many are asked for as there are, because what is asked for is allocated. Raises Refused.
    """
    try:
        with open(path, "rb") as file:
            return file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    except OSError as error:
        raise Refused(name, "", Code.FILE_UNREADABLE, error.strerror or "unreadable") from error
