"""What a takeout has beside record types and recognitions, and what it has not, and why.

Every table that has rows of a tenant is in one of these: a test compares them with the database's
own catalogue.
"""

from collections.abc import Mapping

from apps.analytics.models import PriceEvent
from apps.audit.models import AuditEntry
from apps.audit.selectors import for_tenants
from apps.exports import rows
from apps.exports.bundles import Bundle
from apps.exports.rows import Rows
from apps.ingestions.models import Chunk, Upload
from apps.tenants.models import ApiKey, Tenant
from apps.tenants.scopes import Scope
from apps.webhooks.models import Attempt, Delivery, Endpoint, Lane

#: What keys need the scope admin for elsewhere, they need it for here.
TAKEN = (
    Rows(Tenant),
    Rows(ApiKey, hidden=("secret_hash",), scope=Scope.ADMIN),
    Rows(Endpoint, hidden=("salt", "old_salt"), scope=Scope.ADMIN),
    Rows(Lane, scope=Scope.ADMIN),
    Rows(Delivery, scope=Scope.ADMIN),
    Rows(Attempt, scope=Scope.ADMIN),
    Rows(AuditEntry, json=("details",), scope=Scope.ADMIN, tell=for_tenants),
    # Who has its token and a key to ingest adds files to an upload: logs show its beginning only.
    Rows(Upload, hidden=("token",)),
    # Where the service keeps the file, and the outcomes by line in a form of its own.
    Rows(Chunk, hidden=("source", "outcomes")),
    Rows(PriceEvent, json=("pct_change", "reasons", "metadata")),
)

#: By table.
LEFT_OUT: Mapping[str, str] = {
    "stock_levels": "they are counted from stock_events",
    "price_feeds": "the highest feed_number of price_events",
    **dict.fromkeys(
        ("sales_rollups", "customer_numbers", "tenant_hourly_metrics", "tenant_daily_metrics"),
        "figures that are counted from orders and their lines",
    ),
    **dict.fromkeys(
        (
            *("recognitions", "recognition_photos", "recognition_menu_items"),
            *("recognition_checks", "recognition_check_lines", "recognition_detections"),
        ),
        "they are made of the files in the tar, by a load of it",
    ),
    "webhook_events": "what receivers were sent: what the rows that it tells of say, and tokens",
    "rejects": "refused lines, packed, and kept for days: fetched from their upload; chunks have"
    " their number, codes and samples",
    "parked": "places of lines in files as they were received; chunks have their number",
    "segments": "how far a file at work is",
    **dict.fromkeys(("exports", "takeouts"), "files of the rows above; audit_log has who asked"),
    "idempotency_keys": "answers that are kept for a day, to be given again",
    **dict.fromkeys(
        ("jobs", "dirty_days", "rate_limits", "tenant_days", "price_history_turns"),
        "the service's own work and counts, which go with it",
    ),
    **dict.fromkeys(
        ("recognition_intents", "recognition_stores"), "where the service keeps photos, and may not"
    ),
    **dict.fromkeys(("erasures", "audit_erasures"), "proofs, which outlive their tenant"),
}


def bundles() -> dict[str, Bundle]:
    """What is taken, by name."""
    return {one.name: rows.bundle(one) for one in TAKEN}
