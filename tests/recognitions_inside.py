"""What test_recognitions_http.py has done inside a process that Django is set up in."""

import json
import os
import subprocess
import sys
import time
from typing import Any
from uuid import UUID

from django.core import signing

from apps.recognitions import asking, parts, selectors


def sign_by_another_salt(tenant: str) -> str:
    """What a link says, signed with the service's secret for something else."""
    said = [UUID(tenant).hex, 1, "main", "0" * 64, int(time.time()) + 60]
    return signing.Signer(sep=".", salt="another").sign_object(said)


def read_while_it_is_loaded(tenant: str, number: str, dataset: str) -> Any:
    """A recognition that is loaded anew once its photos have been read."""
    photos = parts.PARTS["photos"]
    loads = iter([["--source", dataset, "--force", "--tenant", tenant]])

    def tell_and_load(*row: Any) -> Any:
        for arguments in loads:
            command = [sys.executable, "-m", "headrace", "recognitions", "load", *arguments]
            subprocess.run(command, env=os.environ, check=True, capture_output=True)
        return photos.tell(*row)

    parts.PARTS["photos"] = photos._replace(tell=tell_and_load)
    return json.loads(selectors.one(UUID(tenant), int(number), asking.MEMBERS))
