"""A tenant with a year of orders on PostgreSQL, made by the database itself."""

from uuid import UUID

import psycopg

ORDERS_PER_LINE = 0.35
PRODUCTS, CUSTOMERS, DAYS = 20_000, 100_000, 365
FIRST_DAY = "2025-01-01"
_SEED = "SELECT setseed(0.42)"
_PLAIN = "SET session_replication_role = replica"  # no look at each reference: rows are right
_ROWS = {
    "customers": """
INSERT INTO customers (tenant_id, customer_id, name, source_sequence)
SELECT %(tenant)s, md5('c' || n)::uuid, 'Customer ' || n, n
FROM generate_series(1, %(customers)s) n""",
    "products": """
INSERT INTO products (tenant_id, product_id, sku, name, price, category_id, source_sequence)
SELECT %(tenant)s, md5('p' || n)::uuid, 'P' || n, 'Product ' || n, 10, md5('k' || n %% 50)::uuid, n
FROM generate_series(1, %(products)s) n""",
    # As files bring them: by id, which says nothing of the date.
    "orders": """
INSERT INTO orders (tenant_id, order_id, external_order_id, kind, customer_id, total_amount,
                    currency, order_status, order_date, raw_payload, source_sequence)
SELECT %(tenant)s, md5('o' || n)::uuid, 'EXT' || n,
       CASE WHEN n %% 25 = 0 THEN 'return' ELSE 'sale' END,
       md5('c' || 1 + floor(random() * %(customers)s)::int)::uuid,
       CASE WHEN n %% 25 = 0 THEN -1 ELSE 1 END * (random() * 500)::numeric(19, 2),
       CASE WHEN random() < 0.1 THEN 'USD' ELSE 'EUR' END,
       (ARRAY['delivered', 'delivered', 'delivered', 'shipped', 'pending'])[1 + n %% 5],
       %(first)s::timestamptz + random() * make_interval(days => %(days)s),
       '{"source": "web", "campaign": null, "discount_code": null}', n
FROM generate_series(1, %(orders)s) n ORDER BY 2""",
    "order_items": """
INSERT INTO order_items (tenant_id, order_item_id, order_id, product_id, quantity, unit_price,
                         line_total, source_sequence)
SELECT %(tenant)s, md5('i' || n)::uuid, md5('o' || 1 + floor(random() * %(orders)s)::int)::uuid,
       md5('p' || 1 + floor(random() * %(products)s)::int)::uuid, 1 + n %% 3, 10, 10 * (1 + n %% 3),
       n
FROM generate_series(1, %(lines)s) n ORDER BY 2""",
}


def fill(url: str, tenant: UUID, lines: int) -> None:
    """Give a tenant so many order lines, and the planner its statistics."""
    given = {
        "tenant": tenant,
        "orders": int(lines * ORDERS_PER_LINE),
        "lines": lines,
        "products": PRODUCTS,
        "customers": CUSTOMERS,
        "days": DAYS,
        "first": FIRST_DAY,
    }
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_PLAIN)
        connection.execute(_SEED)
        for text in _ROWS.values():
            connection.execute(text, given)
        for table in _ROWS:
            connection.execute(f"VACUUM ANALYZE {table}")
