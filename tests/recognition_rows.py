"""A row in every table of recognitions, whoever's, for tests of what guards the tables."""

from uuid import uuid4

from headrace.recognitions.schema import TABLES, Column, Day, Document, Long
from headrace.schema import Integer, Text, Timestamp, Uuid
from tests.service import Merchant

NUMBER = 7  #: what every other number is, that of the recognition too
INCREASING = {"x_max": "9", "y_max": "9"}


def insert(merchant: Merchant, text: str = "text") -> None:
    """One row in each, which refer to each other, and an object.

    `text` is what every text is that may be any.
    """
    service = merchant.service
    for table in TABLES:
        columns = [column for column in table.columns if not isinstance(column.type, Timestamp)]
        values = [literal(merchant, column, text) for column in columns]
        names = ", ".join(("tenant_id", *(column.name for column in columns)))
        tenant = service.spelled(merchant.tenant)
        row = ", ".join((tenant, *values))
        service.ask(f"INSERT INTO {table.flat_name} ({names}) VALUES ({row})")
    photo = service.home / "objects" / "recognitions" / str(merchant.tenant) / "te" / "text"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"a photo")


def literal(merchant: Merchant, column: Column, text: str) -> str:
    match column.type:
        case Uuid():
            return merchant.service.spelled(uuid4())
        case Text(choices=choices):
            return f"'{choices[0] if choices else text}'"
        case Integer() | Long():
            return INCREASING.get(column.name, str(NUMBER))
        case Day():
            return "'2025-10-11'"
        case Document():
            return "'[]'"
    raise AssertionError(column)
