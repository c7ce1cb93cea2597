"""A row in every table of recognitions, whoever's, for tests of what guards the tables."""

from uuid import uuid4

from headrace.recognitions.schema import TABLES, Column, Day, Document, Long
from headrace.schema import Integer, Text, Timestamp, Uuid
from tests.service import Merchant

INCREASING = {"x_max": "9", "y_max": "9"}  # more than what every other number is


def insert(merchant: Merchant) -> None:
    """One row in each, which refer to each other, and an object."""
    service = merchant.service
    for table in TABLES:
        columns = [column for column in table.columns if not isinstance(column.type, Timestamp)]
        values = [literal(merchant, column) for column in columns]
        names = ", ".join(("tenant_id", *(column.name for column in columns)))
        tenant = service.spelled(merchant.tenant)
        row = ", ".join((tenant, *values))
        service.ask(f"INSERT INTO {table.flat_name} ({names}) VALUES ({row})")
    photo = service.home / "objects" / "recognitions" / str(merchant.tenant) / "te" / "text"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"a photo")


def literal(merchant: Merchant, column: Column) -> str:
    match column.type:
        case Uuid():
            return merchant.service.spelled(uuid4())
        case Text(choices=choices):
            return f"'{choices[0] if choices else 'text'}'"
        case Integer() | Long():
            return INCREASING.get(column.name, "7")
        case Day():
            return "'2025-10-11'"
        case Document():
            return "'[]'"
    raise AssertionError(column)
