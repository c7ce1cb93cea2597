"""Buckets in the table `rate_limits`, by the database's clock, in transactions of their own.

PostgreSQL does all of a call in one function. SQLite and MariaDB, where users of the documented
rights may not make functions, take a transaction of a few statements.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from uuid import UUID

from django.db import connection, transaction

from apps.core import dialect
from apps.core.buckets import Bucket, Store, Taken, check_distinct

MOST_BUCKETS = 3  # of a call: its tenant's, its product's and its key's
Known = Mapping[UUID, tuple[int, int]]  #: by product: when its bucket is full, and what time it is


@cache
def store() -> Store:
    """The store in the configured database."""
    return _STORES[connection.vendor]()


class _PostgreSQL:
    def __init__(self) -> None:
        from headrace.pipeline.dialects import trips  # noqa: PLC0415 - its driver is there, too

        self._trip = trips.trip
        self._take = trips.Statement(_TAKE)

    def take(self, tenant: UUID, buckets: Sequence[Bucket]) -> Taken:
        check_distinct(buckets)
        columns = zip(*buckets, strict=True)
        names = ("products", "steps", "depths")
        arrays = {
            name: f"{{{','.join(map(str, column))}}}"
            for name, column in zip(names, columns, strict=True)
        }
        opened = dialect.opened()
        with opened.wrap_database_errors:
            [[taken]] = self._trip(opened.connection, (self._take, {"tenant": tenant, **arrays}))
        passed, ahead = taken
        return Taken(passed, tuple(ahead))


_TAKE = "SELECT * FROM headrace_take(%(tenant)s, %(products)s, %(steps)s, %(depths)s)"


# Rows are taken from in the order of their key, which is that of the arrays, and stay locked until
# the end: what is given back was never seen.
_FUNCTION = """
CREATE OR REPLACE FUNCTION headrace_take(
    tenant uuid, products uuid[], steps bigint[], depths bigint[],
    OUT passed boolean, OUT ahead bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    taken integer := 0;
    clock bigint;
    later bigint;
BEGIN
    passed := true;
    FOR place IN 1 .. cardinality(products) LOOP
        LOOP
            clock := extract(epoch FROM clock_timestamp()) * 1000000;
            IF passed THEN
                UPDATE rate_limits SET full_at = clock + steps[place] + CASE
                    WHEN full_at BETWEEN clock AND clock + 2 * depths[place] THEN full_at - clock
                    ELSE 0 END
                WHERE tenant_id = tenant AND product_id = products[place]
                AND (full_at + steps[place] <= clock + depths[place]
                     OR full_at > clock + 2 * depths[place])
                RETURNING full_at - clock INTO later;
                IF FOUND THEN
                    taken := place;
                    EXIT;
                END IF;
            END IF;
            SELECT least(greatest(full_at - clock, 0), depths[place]) INTO later FROM rate_limits
            WHERE tenant_id = tenant AND product_id = products[place];
            IF FOUND THEN
                -- Another call made the row since we looked for it.
                CONTINUE WHEN passed AND later + steps[place] <= depths[place];
                passed := false;
                EXIT;
            END IF;
            INSERT INTO rate_limits (tenant_id, product_id, full_at)
            VALUES (tenant, products[place], 0) ON CONFLICT DO NOTHING;
        END LOOP;
        ahead[place] := later;
    END LOOP;
    IF NOT passed THEN
        FOR place IN 1 .. taken LOOP
            UPDATE rate_limits SET full_at = full_at - steps[place]
            WHERE tenant_id = tenant AND product_id = products[place];
            ahead[place] := ahead[place] - steps[place];
        END LOOP;
    END IF;
END $$
"""
# Without a write-ahead log nobody waits for a disk; a crash of the server fills all buckets.
_UNLOGGED = "ALTER TABLE rate_limits SET UNLOGGED"


def preparation(database: str) -> Sequence[str]:
    """What a migration has to run once the table is there, by Django's name of the database, and
    again where the function has changed since."""
    return (_UNLOGGED, _FUNCTION) if database == "postgresql" else ()


class _Steps:
    """The statements of a database: `read` the buckets of three products, `lock` them as well until
    the transaction ends, `make` one that is not there.
    """

    read: str
    lock: str
    make: str

    def take(self, tenant: UUID, buckets: Sequence[Bucket]) -> Taken:
        check_distinct(buckets)  # or the loop below would never find as many rows
        known = self._known(self.read, tenant, buckets)
        # Times only grow: what is refused without a lock would be refused with one, too. So
        # whoever calls too often keeps no writer waiting.
        if len(known) == len(buckets) and not (taken := _decided(buckets, known)).passed:
            return taken
        while True:
            if len(known) < len(buckets):
                self._make(tenant, buckets)
            with transaction.atomic(durable=True):
                known = self._known(self.lock, tenant, buckets)
                if len(known) == len(buckets):
                    return _moved(tenant, buckets, known)

    def _known(self, statement: str, tenant: UUID, buckets: Sequence[Bucket]) -> Known:
        products = [bucket.product.hex for bucket in buckets]
        products += products[-1:] * (MOST_BUCKETS - len(products))
        with connection.cursor() as cursor:
            cursor.execute(statement, [tenant.hex, *products])
            return {UUID(product): (full_at, now) for product, full_at, now in cursor.fetchall()}

    def _make(self, tenant: UUID, buckets: Sequence[Bucket]) -> None:
        with connection.cursor() as cursor:
            for bucket in buckets:
                cursor.execute(self.make, [tenant.hex, bucket.product.hex])


def _moved(tenant: UUID, buckets: Sequence[Bucket], known: Known) -> Taken:
    """What became of the call; if it passed, the rows say so."""
    taken = _decided(buckets, known)
    if taken.passed:
        now = _now(known)
        with connection.cursor() as cursor:
            for bucket, ahead in zip(buckets, taken.ahead, strict=True):
                cursor.execute(_MOVE, [now + ahead, tenant.hex, bucket.product.hex])
    return taken


_MOVE = "UPDATE rate_limits SET full_at = %s WHERE tenant_id = %s AND product_id = %s"


def _decided(buckets: Sequence[Bucket], known: Known) -> Taken:
    """The buckets after the call where it passes, else as they are."""
    now = _now(known)
    ahead = [_ahead(known[bucket.product][0] - now, bucket.depth) for bucket in buckets]
    later = [was + one.step for one, was in zip(buckets, ahead, strict=True)]
    passed = all(at <= one.depth for one, at in zip(buckets, later, strict=True))
    return Taken(passed, tuple(later if passed else ahead))


def _ahead(time: int, depth: int) -> int:
    """What no calls add up to is what a clock left behind that was set back."""
    return min(max(time, 0), depth) if time <= 2 * depth else 0


def _now(known: Known) -> int:
    return max(now for _, now in known.values())


class _SQLite(_Steps):
    read = lock = """
SELECT product_id, full_at,
       CAST(strftime('%%s', 'now') || substr(strftime('%%f', 'now'), 4) AS integer) * 1000
FROM rate_limits WHERE tenant_id = %s AND product_id IN (%s, %s, %s)"""
    make = "INSERT OR IGNORE INTO rate_limits (tenant_id, product_id, full_at) VALUES (%s, %s, 0)"

    def take(self, tenant: UUID, buckets: Sequence[Bucket]) -> Taken:
        with _without_waiting_for_the_disk():
            return super().take(tenant, buckets)


@contextmanager
def _without_waiting_for_the_disk() -> Iterator[None]:
    """A failure of power may then give calls back; it breaks nothing, in this mode of the log."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            cursor.execute("PRAGMA synchronous = FULL")


class _MariaDB(_Steps):
    # Not NOW(), the time at which the statement began: it may have waited for a lock since.
    read = """
SELECT product_id, full_at, CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)
FROM rate_limits WHERE tenant_id = %s AND product_id IN (%s, %s, %s) ORDER BY product_id"""
    lock = f"{read} FOR UPDATE"
    make = "INSERT IGNORE INTO rate_limits (tenant_id, product_id, full_at) VALUES (%s, %s, 0)"


_STORES: Mapping[str, Callable[[], Store]] = {
    "postgresql": _PostgreSQL,
    "sqlite": _SQLite,
    "mysql": _MariaDB,
}
