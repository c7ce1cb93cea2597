"""Records of a small shop, and looks past the service into its database and object store."""

import os
from pathlib import Path
from uuid import uuid4

from tests.service import Merchant, Service


def customer(**more) -> dict:
    return {"customer_id": str(uuid4()), "name": "Ada", **more}


def product(**more) -> dict:
    key = str(uuid4())
    return {"product_id": key, "sku": key[:13], "name": "Tea", "price": "2.50", **more}


def order(**more) -> dict:
    key = str(uuid4())
    placed = {"total_amount": "5.00", "order_date": "2025-03-01T10:00:00Z"}
    return {"order_id": key, "external_order_id": key[:13], **placed, **more}


def order_item(order_id: str, product_id: str, **more) -> dict:
    parents = {"order_id": order_id, "product_id": product_id}
    amounts = {"quantity": 2, "unit_price": "2.50", "line_total": "5.00"}
    return {"order_item_id": str(uuid4()), **parents, **amounts, **more}


def ask(service: Service, statement: str) -> list[tuple]:
    """What the database says, asked by its owner; ids are texts of 32 digits."""
    return service.ask(statement)


def stored_objects(merchant: Merchant) -> list[Path]:
    """The files that the object store keeps for a merchant, unfinished ones included."""
    folder = merchant.service.home / "objects" / "sources" / str(merchant.tenant)
    # Not rglob: a folder may go between its listing and the look into it.
    return sorted(Path(at, name) for at, _, names in os.walk(folder) for name in names)


def form(*parts: tuple[str, str | None, bytes], boundary: str = "b0undary") -> dict:
    """Content and headers of a multipart request; a part is name, file name or None, data."""
    lines = []
    for name, filename, data in parts:
        named = f'form-data; name="{name}"'
        if filename is not None:
            named += f'; filename="{filename}"'
        lines += [f"--{boundary}", f"Content-Disposition: {named}", ""]
        head = "\r\n".join(lines[-3:]) + "\r\n"
        lines[-3:] = [head.encode() + data]
    content = b"\r\n".join([*lines, f"--{boundary}--\r\n".encode()])
    kind = f"multipart/form-data; boundary={boundary}"
    return {"content": content, "headers": {"Content-Type": kind, "Idempotency-Key": uuid4().hex}}


def post_form(merchant: Merchant, *parts: tuple[str, str | None, bytes], **options):
    request = form(*parts)
    headers = {**request["headers"], **options}
    return merchant.request(
        "POST", "/ingest/comprehensive/", content=request["content"], headers=headers
    )
