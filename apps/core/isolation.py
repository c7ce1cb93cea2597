"""One way to touch a tenant's rows: a transaction that the database itself binds to the tenant.

On PostgreSQL the transaction sets `app.tenant_id`, which the policies of every tenant table
compare; the session's role is neither owner nor superuser. On SQLite and MariaDB writes are
compared by triggers and reads go through managers that raise without a tenant.

Control tables (tenants, keys, jobs, uploads, chunks, segments, idempotency keys) are not bound:
they are looked up before a tenant is known, or by workers for all tenants, always by key or
with an explicit tenant.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.core import dialect

log = logging.getLogger(__name__)
ANY_TENANT = "*"
_tenant: ContextVar[str | None] = ContextVar("tenant", default=None)
_owner: ContextVar[bool] = ContextVar("owner", default=False)


class NoTenant(RuntimeError):
    """Code touched a tenant's table outside tenant_transaction or tenant_reading: a defect."""


def current_tenant() -> UUID:
    """The tenant of the surrounding transaction. Raises NoTenant."""
    tenant = _tenant.get()
    if tenant is None or tenant == ANY_TENANT:
        raise NoTenant("open tenant_transaction() or tenant_reading() first")
    return UUID(tenant)


@contextmanager
def tenant_transaction(tenant: UUID) -> Iterator[None]:
    """A write transaction that sees and changes rows of this tenant only."""
    with transaction.atomic(durable=True), _bound(tenant):
        yield


@contextmanager
def tenant_statements(tenant: UUID) -> Iterator[None]:
    """For a transaction that is begun and ended by statements past Django, the first of which must
    be `binding(tenant)`: managers take the tenant for the current one.

    Only where that binding ends with the transaction, as on PostgreSQL.
    """
    assert not dialect.current().unbind_statement
    with _context(_tenant, tenant.hex):
        yield


def binding(tenant: UUID) -> str:
    """The statement that binds a transaction to the tenant."""
    return dialect.current().bind_statement(UUID(str(tenant)))


@contextmanager
def tenant_reading(tenant: UUID) -> Iterator[None]:
    """Reads of this tenant's rows, also inside a transaction of the same tenant.

    Where the database itself hides rows they are a transaction; on SQLite they take no lock that
    a writer would wait for.
    """
    if _tenant.get() == tenant.hex:
        yield
    elif dialect.current().hides_rows:
        with tenant_transaction(tenant):
            yield
    else:
        with _context(_tenant, tenant.hex):
            yield


@contextmanager
def tenant_part(tenant: UUID) -> Iterator[None]:
    """Rows of this tenant beside control rows: inside a transaction that is bound to the tenant, or
    to nobody and is bound for this part; or in a transaction of its own. Raises NoTenant inside of
    one that is bound to somebody else.
    """
    bound = _tenant.get()
    if bound not in (None, tenant.hex):
        raise NoTenant("this transaction is of another tenant, or of the owner")
    if not connection.in_atomic_block:
        with tenant_transaction(tenant):
            yield
    elif bound is not None:
        yield
    else:
        with _bound(tenant):
            yield
        _tell(dialect.current().unbind_early_statement)


@contextmanager
def as_owner() -> Iterator[None]:
    """Act as the database's owner: for migrations and roles, in a process of their own."""
    connection.close()
    with _context(_owner, True), _context(_tenant, ANY_TENANT):
        yield
    connection.close()


@contextmanager
def _bound(tenant: UUID) -> Iterator[None]:
    unbinding = dialect.current().unbind_statement
    _tell(binding(tenant))
    try:
        with _context(_tenant, tenant.hex):
            yield
    except BaseException:
        _unbind_broken(unbinding)
        raise
    _tell(unbinding)


def _tell(statement: str) -> None:
    if statement:
        with connection.cursor() as cursor:
            cursor.execute(statement)


def _unbind_broken(statement: str) -> None:
    """After an error; a connection that cannot even do this must not serve anybody else."""
    if not statement:
        return
    try:
        connection.connection.cursor().execute(statement)
    except Exception:
        log.warning("a connection that could not be unbound is closed", exc_info=True)
        connection.close()


@contextmanager
def _context(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def prepare_connection(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Give a new connection its role (PostgreSQL), its tenant function (SQLite), or its owner's
    mark (MariaDB).
    """
    _PREPARATIONS[connection.vendor](connection)


def _give_function(connection: BaseDatabaseWrapper) -> None:
    raw: Any = connection.connection
    raw.create_function("headrace_tenant", 0, _tenant.get)


def _take_role_unless_owner(connection: BaseDatabaseWrapper) -> None:
    if not _owner.get():
        _take_role(connection)


def _mark_owner(connection: BaseDatabaseWrapper) -> None:
    if _owner.get():
        with connection.cursor() as cursor:
            cursor.execute(dialect.current(connection.alias).bind_statement(None))


def _take_role(connection: BaseDatabaseWrapper) -> None:
    role = connection.ops.quote_name(settings.HEADRACE_DB_ROLE)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {role}")
    except BaseException:
        connection.close()  # or the next user of the connection would have the owner's rights
        raise


_PREPARATIONS: dict[str, Callable[[BaseDatabaseWrapper], None]] = {
    "sqlite": _give_function,
    "postgresql": _take_role_unless_owner,
    "mysql": _mark_owner,
}
