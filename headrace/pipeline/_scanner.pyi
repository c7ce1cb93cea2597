from collections.abc import Callable
from typing import Any

UUID: int
TEXT: int
CHOICE: int
MONEY: int
INTEGER: int
BOOLEAN: int
TIMESTAMP: int
OBJECT: int
CLOSED: int
BEFORE: int
NOT_NEGATIVE: int
ONE_OF: int
ONLY_WITH: int
TENANT: int
OPERATION: int
IGNORED: int

class Scanner:
    def __init__(
        self,
        *,
        fields: tuple[Any, ...],
        checks: tuple[Any, ...],
        tenant: bytes,
        cluster: int,
        ties: tuple[int, ...],
        delimiter: bytes,
        columns: tuple[int, ...],
    ) -> None: ...
    def scan(
        self,
        records: list[bytes],
        lines: list[int],
        offsets: list[int],
        closer: Callable[[bytes, int, int], Any],
    ) -> tuple[bytes, bytes, bytes]: ...
