-- table
CREATE TABLE orders (
    tenant_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    external_order_id TEXT NOT NULL CHECK (length(external_order_id) <= 100),
    kind TEXT NOT NULL DEFAULT 'sale' CHECK (kind IN ('sale', 'return', 'adjustment')),
    customer_id TEXT,
    customer_name_snapshot TEXT CHECK (length(customer_name_snapshot) <= 255),
    customer_email_snapshot TEXT CHECK (length(customer_email_snapshot) <= 255),
    total_amount INTEGER NOT NULL,
    currency TEXT NOT NULL DEFAULT 'USD' CHECK (length(currency) <= 3),
    order_status TEXT NOT NULL DEFAULT 'pending' CHECK (order_status IN ('pending', 'confirmed', 'processing', 'paid', 'shipped', 'delivered', 'completed', 'cancelled', 'refunded', 'returned')),
    order_date TEXT NOT NULL,
    raw_payload TEXT NOT NULL DEFAULT '{}',
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%S', 'now')),
    source_sequence INTEGER NOT NULL,
    CONSTRAINT orders_pkey PRIMARY KEY (tenant_id, order_id),
    CONSTRAINT orders_external_order_id_key UNIQUE (tenant_id, external_order_id),
    CONSTRAINT orders_customer_id_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, customer_id),
    CHECK (kind <> 'sale' OR total_amount >= 0)
) STRICT;
CREATE INDEX orders_search_idx ON orders (tenant_id, order_date, order_id, order_status, total_amount, currency, kind, external_order_id);
CREATE INDEX orders_customer_search_idx ON orders (tenant_id, customer_id, order_date, order_id) WHERE customer_id IS NOT NULL;
CREATE TRIGGER orders_tenant_insert BEFORE INSERT ON orders WHEN NOT (headrace_tenant() IS NEW.tenant_id OR headrace_tenant() IS '*') BEGIN SELECT RAISE(ABORT, 'another tenant'); END;
CREATE TRIGGER orders_tenant_update BEFORE UPDATE ON orders WHEN NOT (headrace_tenant() IS OLD.tenant_id AND headrace_tenant() IS NEW.tenant_id OR headrace_tenant() IS '*') BEGIN SELECT RAISE(ABORT, 'another tenant'); END;
CREATE TRIGGER orders_tenant_delete BEFORE DELETE ON orders WHEN NOT (headrace_tenant() IS OLD.tenant_id OR headrace_tenant() IS '*') BEGIN SELECT RAISE(ABORT, 'another tenant'); END;

-- staging
CREATE TEMPORARY TABLE IF NOT EXISTS orders_staging (line INTEGER PRIMARY KEY, mask INTEGER, order_id TEXT, external_order_id TEXT, kind TEXT, customer_id TEXT, customer_name_snapshot TEXT, customer_email_snapshot TEXT, total_amount INTEGER, currency TEXT, order_status TEXT, order_date TEXT, raw_payload TEXT, created_at TEXT);

-- unresolved customer_id
SELECT s.line, s.customer_id
FROM temp.orders_staging s
LEFT JOIN customers p
       ON p.tenant_id = :tenant AND p.customer_id = s.customer_id
WHERE s.customer_id IS NOT NULL AND p.customer_id IS NULL
ORDER BY s.line;

-- taken external_order_id
SELECT s.line, s.external_order_id, t.order_id
FROM temp.orders_staging s
JOIN orders t
  ON t.tenant_id = :tenant AND t.external_order_id = s.external_order_id
WHERE t.order_id <> s.order_id
ORDER BY s.line;

-- rivals external_order_id
SELECT line, external_order_id, holder
FROM (SELECT line, external_order_id, order_id,
             FIRST_VALUE(order_id) OVER (PARTITION BY external_order_id ORDER BY line) AS holder
      FROM temp.orders_staging) ranked
WHERE order_id <> holder
ORDER BY line;

-- repeated
SELECT line
FROM (SELECT line, ROW_NUMBER() OVER (PARTITION BY order_id ORDER BY line DESC) AS place
      FROM temp.orders_staging) ranked
WHERE place > 1;

-- known
SELECT s.line
FROM temp.orders_staging s
JOIN orders t ON t.tenant_id = :tenant AND t.order_id = s.order_id
WHERE s.mask = :mask;

-- insert
INSERT INTO orders AS t (tenant_id, order_id, external_order_id, kind, customer_id, customer_name_snapshot, customer_email_snapshot, total_amount, currency, order_status, order_date, raw_payload, created_at, source_sequence)
SELECT :tenant, s.order_id, s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at, :sequence + s.line
FROM temp.orders_staging s
WHERE s.mask = :mask
ORDER BY s.order_id, s.line;

-- write
INSERT INTO orders AS t (tenant_id, order_id, external_order_id, kind, customer_id, customer_name_snapshot, customer_email_snapshot, total_amount, currency, order_status, order_date, raw_payload, created_at, source_sequence)
SELECT :tenant, s.order_id, s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at, :sequence + s.line
FROM temp.orders_staging s
LEFT JOIN orders o ON o.tenant_id = :tenant AND o.order_id = s.order_id
WHERE s.mask = :mask
  AND (o.order_id IS NULL OR (o.external_order_id, o.kind, o.customer_id, o.customer_name_snapshot, o.customer_email_snapshot, o.total_amount, o.currency, o.order_status, o.order_date, o.raw_payload, o.created_at) IS NOT (s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at))
ORDER BY s.order_id, s.line
ON CONFLICT (tenant_id, order_id) DO UPDATE
SET external_order_id = excluded.external_order_id, kind = excluded.kind, customer_id = excluded.customer_id, customer_name_snapshot = excluded.customer_name_snapshot, customer_email_snapshot = excluded.customer_email_snapshot, total_amount = excluded.total_amount, currency = excluded.currency, order_status = excluded.order_status, order_date = excluded.order_date, raw_payload = excluded.raw_payload, created_at = excluded.created_at, source_sequence = excluded.source_sequence
WHERE t.source_sequence < excluded.source_sequence
RETURNING source_sequence;

-- staged days
SELECT DISTINCT substr(s.order_date, 1, 10)
FROM temp.orders_staging s
WHERE s.mask = :mask;

-- former days
SELECT DISTINCT substr(t.order_date, 1, 10)
FROM temp.orders_staging s
JOIN orders t ON t.tenant_id = :tenant AND t.order_id = s.order_id
WHERE s.mask = :mask AND t.source_sequence < :sequence + s.line
  AND (t.order_date) IS NOT (s.order_date);

-- written days
SELECT DISTINCT substr(t.order_date, 1, 10)
FROM temp.orders_staging s
JOIN orders t ON t.tenant_id = :tenant AND t.order_id = s.order_id
WHERE s.mask = :mask AND t.source_sequence = :sequence + s.line;

-- equal
SELECT s.line
FROM temp.orders_staging s
JOIN orders t ON t.tenant_id = :tenant AND t.order_id = s.order_id
WHERE s.mask = :mask
  AND t.source_sequence <> :sequence + s.line
  AND NOT ((t.external_order_id, t.kind, t.customer_id, t.customer_name_snapshot, t.customer_email_snapshot, t.total_amount, t.currency, t.order_status, t.order_date, t.raw_payload, t.created_at) IS NOT (s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at));

-- renew
UPDATE orders AS t
SET source_sequence = :sequence + s.line
FROM temp.orders_staging s
WHERE t.tenant_id = :tenant AND t.order_id = s.order_id
  AND s.mask = :mask AND t.source_sequence < :sequence + s.line
  AND NOT ((t.external_order_id, t.kind, t.customer_id, t.customer_name_snapshot, t.customer_email_snapshot, t.total_amount, t.currency, t.order_status, t.order_date, t.raw_payload, t.created_at) IS NOT (s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at));
