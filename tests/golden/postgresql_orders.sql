-- table
CREATE TABLE orders (
    tenant_id uuid NOT NULL,
    order_id uuid NOT NULL,
    external_order_id varchar(100) NOT NULL,
    kind varchar(20) NOT NULL DEFAULT 'sale' CHECK (kind IN ('sale', 'return', 'adjustment')),
    customer_id uuid,
    customer_name_snapshot varchar(255),
    customer_email_snapshot varchar(255),
    total_amount numeric(19,4) NOT NULL CHECK (total_amount <> 'NaN'),
    currency varchar(3) NOT NULL DEFAULT 'USD',
    order_status varchar(20) NOT NULL DEFAULT 'pending' CHECK (order_status IN ('pending', 'confirmed', 'processing', 'paid', 'shipped', 'delivered', 'completed', 'cancelled', 'refunded', 'returned')),
    order_date timestamptz NOT NULL,
    raw_payload jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    source_sequence bigint NOT NULL,
    CONSTRAINT orders_pkey PRIMARY KEY (tenant_id, order_id),
    CONSTRAINT orders_external_order_id_key UNIQUE (tenant_id, external_order_id),
    CONSTRAINT orders_customer_id_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, customer_id),
    CHECK (kind <> 'sale' OR total_amount >= 0)
);
CREATE INDEX orders_search_idx ON orders USING btree (tenant_id, order_date, order_id, order_status) INCLUDE (total_amount, currency, kind, external_order_id);
CREATE INDEX orders_customer_search_idx ON orders USING btree (tenant_id, customer_id, order_date, order_id) WHERE customer_id IS NOT NULL;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE orders FORCE ROW LEVEL SECURITY;
CREATE POLICY orders_tenant ON orders USING (tenant_id = CAST(NULLIF(current_setting('app.tenant_id', true), '') AS uuid));
ALTER TABLE orders ADD COLUMN IF NOT EXISTS is_rewritten boolean NOT NULL DEFAULT false;
ALTER TABLE orders ADD COLUMN IF NOT EXISTS former_order_date timestamptz;
ALTER TABLE orders ALTER COLUMN tenant_id SET STATISTICS 0;

CREATE OR REPLACE FUNCTION headrace_keep_parents() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE bound text := current_setting('app.tenant_id', true);
BEGIN
    IF TG_LEVEL = 'STATEMENT' THEN
        IF bound <> '' THEN
            PERFORM pg_advisory_xact_lock(hashtextextended('parents ' || bound, 0));
        END IF;
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('parents ' || OLD.tenant_id, 0));
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER orders_parent_row BEFORE DELETE OR UPDATE OF tenant_id, order_id ON orders FOR EACH ROW EXECUTE FUNCTION headrace_keep_parents();
CREATE OR REPLACE TRIGGER orders_parent_statement BEFORE DELETE OR UPDATE OF tenant_id, order_id ON orders FOR EACH STATEMENT EXECUTE FUNCTION headrace_keep_parents();

-- staging
CREATE TEMPORARY TABLE IF NOT EXISTS orders_staging (line bigint, mask integer, order_id uuid, external_order_id varchar(100), kind varchar(20), customer_id uuid, customer_name_snapshot varchar(255), customer_email_snapshot varchar(255), total_amount numeric(19,4), currency varchar(3), order_status varchar(20), order_date timestamptz, raw_payload jsonb, created_at timestamptz);
DO $$ BEGIN
    IF pg_relation_size('orders_staging') > 262144 THEN
        TRUNCATE orders_staging;
    ELSE
        DELETE FROM orders_staging;
    END IF;
END $$;

-- copy
COPY orders_staging (line, mask, order_id, external_order_id, kind, customer_id, customer_name_snapshot, customer_email_snapshot, total_amount, currency, order_status, order_date, raw_payload, created_at) FROM STDIN;

-- hold parents
SELECT pg_advisory_xact_lock_shared(hashtextextended('parents ' || CAST(%(tenant)s AS text), 0))
WHERE current_setting('transaction_isolation') = 'read committed'
  AND has_parameter_privilege('session_replication_role', 'SET')
  AND (SELECT count(*) FROM pg_trigger WHERE (tgrelid, tgname) IN ((to_regclass('customers'), 'customers_parent_row'), (to_regclass('customers'), 'customers_parent_statement')) AND tgenabled IN ('O', 'A')) = 2
  AND NOT EXISTS (
    SELECT t.tgname
    FROM (SELECT to_regclass('orders') AS relid
          UNION SELECT relid FROM pg_partition_tree(to_regclass('orders'))) part
    JOIN pg_trigger t ON t.tgrelid = part.relid AND t.tgenabled IN ('O', 'R')
    LEFT JOIN pg_constraint c ON c.oid = t.tgconstraint AND c.contype = 'f'
    WHERE t.tgname NOT IN ('orders_parent_row', 'orders_parent_statement')
      AND (c.confrelid = t.tgrelid AND c.conrelid <> t.tgrelid
           AND c.conindid = (SELECT indexrelid FROM pg_index
                             WHERE indrelid = t.tgrelid AND indisprimary)
           OR c.conname ~ '^orders(_p[0-9]+)?_(customer_id)_fkey$') IS NOT TRUE);

-- unresolved customer_id
SELECT s.line, s.customer_id
FROM orders_staging s
LEFT JOIN customers p
       ON p.tenant_id = CAST(%(tenant)s AS uuid) AND p.customer_id = s.customer_id
WHERE s.customer_id IS NOT NULL AND p.customer_id IS NULL
ORDER BY s.line;

-- taken external_order_id
SELECT s.line, s.external_order_id, t.order_id
FROM orders_staging s
JOIN orders t
  ON t.tenant_id = CAST(%(tenant)s AS uuid) AND t.external_order_id = s.external_order_id
WHERE t.order_id <> s.order_id
ORDER BY s.line;

-- rivals external_order_id
SELECT line, external_order_id, holder
FROM (SELECT line, external_order_id, order_id,
             FIRST_VALUE(order_id) OVER (PARTITION BY external_order_id ORDER BY line) AS holder
      FROM orders_staging) ranked
WHERE order_id <> holder
ORDER BY line;

-- repeated
SELECT line
FROM (SELECT line, ROW_NUMBER() OVER (PARTITION BY order_id ORDER BY line DESC) AS place
      FROM orders_staging) ranked
WHERE place > 1;

-- unresolved customer_id by index
SELECT s.line, s.customer_id
FROM (
    SELECT wanted.customer_id
    FROM (SELECT DISTINCT customer_id FROM orders_staging WHERE customer_id IS NOT NULL ORDER BY customer_id) wanted
    WHERE (SELECT true FROM customers p WHERE p.tenant_id = CAST(%(tenant)s AS uuid) AND p.customer_id = wanted.customer_id OFFSET 0) IS NULL
) missing
JOIN orders_staging s ON s.customer_id = missing.customer_id
ORDER BY s.line;

-- taken external_order_id by index
SELECT s.line, s.external_order_id, t.order_id
FROM orders_staging s
CROSS JOIN LATERAL (SELECT t.order_id FROM orders t WHERE t.tenant_id = CAST(%(tenant)s AS uuid) AND t.external_order_id = s.external_order_id OFFSET 0) t
WHERE t.order_id <> s.order_id
ORDER BY s.line;

-- matched
SELECT string_agg(int8send(line), '') FILTER (WHERE NOT differs),
       string_agg(int8send(line), '') FILTER (WHERE differs),
       (SELECT string_agg(int8send(line), '')
        FROM orders_staging WHERE mask = %(mask)s)
FROM (
    SELECT s.line, (t.external_order_id, t.kind, t.customer_id, t.customer_name_snapshot, t.customer_email_snapshot, t.total_amount, t.currency, t.order_status, t.order_date, t.raw_payload, t.created_at) IS DISTINCT FROM (s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at) AS differs
    FROM orders_staging s
    JOIN orders t ON t.tenant_id = CAST(%(tenant)s AS uuid) AND t.order_id = s.order_id
    WHERE s.mask = %(mask)s
) found;

-- matched by index
SELECT string_agg(int8send(line), '') FILTER (WHERE NOT differs),
       string_agg(int8send(line), '') FILTER (WHERE differs),
       (SELECT string_agg(int8send(line), '')
        FROM orders_staging WHERE mask = %(mask)s)
FROM (
    SELECT s.line, (t.external_order_id, t.kind, t.customer_id, t.customer_name_snapshot, t.customer_email_snapshot, t.total_amount, t.currency, t.order_status, t.order_date, t.raw_payload, t.created_at) IS DISTINCT FROM (s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at) AS differs
    FROM orders_staging s
    CROSS JOIN LATERAL (SELECT t.external_order_id, t.kind, t.customer_id, t.customer_name_snapshot, t.customer_email_snapshot, t.total_amount, t.currency, t.order_status, t.order_date, t.raw_payload, t.created_at FROM orders t WHERE t.tenant_id = CAST(%(tenant)s AS uuid) AND t.order_id = s.order_id OFFSET 0) t
    WHERE s.mask = %(mask)s
) found;

-- insert
INSERT INTO orders AS t (tenant_id, order_id, external_order_id, kind, customer_id, customer_name_snapshot, customer_email_snapshot, total_amount, currency, order_status, order_date, raw_payload, created_at, source_sequence)
SELECT CAST(%(tenant)s AS uuid), s.order_id, s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at, CAST(%(sequence)s AS bigint) + s.line
FROM orders_staging s
LEFT JOIN unnest(CAST(%(stored)s AS bigint[])) stored ON stored = s.line
WHERE stored IS NULL AND s.mask = %(mask)s;

-- merge
WITH written AS (
INSERT INTO orders AS t (tenant_id, order_id, external_order_id, kind, customer_id, customer_name_snapshot, customer_email_snapshot, total_amount, currency, order_status, order_date, raw_payload, created_at, source_sequence)
SELECT CAST(%(tenant)s AS uuid), s.order_id, s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at, CAST(%(sequence)s AS bigint) + s.line
FROM orders_staging s
JOIN unnest(CAST(%(chosen)s AS bigint[])) chosen ON chosen = s.line
WHERE s.mask = %(mask)s
ORDER BY s.order_id
ON CONFLICT (tenant_id, order_id) DO UPDATE
SET external_order_id = excluded.external_order_id, kind = excluded.kind, customer_id = excluded.customer_id, customer_name_snapshot = excluded.customer_name_snapshot, customer_email_snapshot = excluded.customer_email_snapshot, total_amount = excluded.total_amount, currency = excluded.currency, order_status = excluded.order_status, order_date = excluded.order_date, raw_payload = excluded.raw_payload, created_at = excluded.created_at, source_sequence = excluded.source_sequence, is_rewritten = true, former_order_date = t.order_date
WHERE t.source_sequence < excluded.source_sequence
  AND ((t.external_order_id, t.kind, t.customer_id, t.customer_name_snapshot, t.customer_email_snapshot, t.total_amount, t.currency, t.order_status, t.order_date, t.raw_payload, t.created_at) IS DISTINCT FROM (excluded.external_order_id, excluded.kind, excluded.customer_id, excluded.customer_name_snapshot, excluded.customer_email_snapshot, excluded.total_amount, excluded.currency, excluded.order_status, excluded.order_date, excluded.raw_payload, excluded.created_at))
RETURNING t.source_sequence - CAST(%(sequence)s AS bigint) AS line, NOT t.is_rewritten AS is_new, t.order_date, t.former_order_date AS former)
SELECT string_agg(int8send(line), '') FILTER (WHERE is_new),
       string_agg(int8send(line), '') FILTER (WHERE NOT is_new),
       ARRAY(SELECT DISTINCT CAST(CAST(moment AT TIME ZONE 'UTC' AS date) AS text)
             FROM (SELECT order_date AS moment FROM (SELECT order_date FROM written
             UNION ALL SELECT former FROM written WHERE NOT is_new) w) dated),
       bool_or(NOT is_new AND former <> order_date)
FROM written;

-- days of inserted
SELECT ARRAY(SELECT DISTINCT CAST(CAST(moment AT TIME ZONE 'UTC' AS date) AS text)
             FROM (SELECT order_date AS moment FROM (SELECT s.order_date FROM orders_staging s
LEFT JOIN unnest(CAST(%(stored)s AS bigint[])) stored ON stored = s.line
WHERE stored IS NULL AND s.mask = %(mask)s) w) dated);

-- mark days
INSERT INTO dirty_days (tenant_id, day) SELECT CAST(%(tenant)s AS uuid), unnest(CAST(%(days)s AS date[]));

-- equal
SELECT s.line
FROM orders_staging s
JOIN orders t ON t.tenant_id = CAST(%(tenant)s AS uuid) AND t.order_id = s.order_id
WHERE s.mask = %(mask)s
  AND t.source_sequence <> CAST(%(sequence)s AS bigint) + s.line
  AND NOT ((t.external_order_id, t.kind, t.customer_id, t.customer_name_snapshot, t.customer_email_snapshot, t.total_amount, t.currency, t.order_status, t.order_date, t.raw_payload, t.created_at) IS DISTINCT FROM (s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at));

-- renew
UPDATE orders AS t
SET source_sequence = CAST(%(sequence)s AS bigint) + s.line
FROM orders_staging s
WHERE t.tenant_id = CAST(%(tenant)s AS uuid) AND t.order_id = s.order_id
  AND s.mask = %(mask)s AND t.source_sequence < CAST(%(sequence)s AS bigint) + s.line
  AND NOT ((t.external_order_id, t.kind, t.customer_id, t.customer_name_snapshot, t.customer_email_snapshot, t.total_amount, t.currency, t.order_status, t.order_date, t.raw_payload, t.created_at) IS DISTINCT FROM (s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at));

-- outrun
SELECT s.line
FROM orders_staging s
JOIN orders t ON t.tenant_id = CAST(%(tenant)s AS uuid) AND t.order_id = s.order_id
WHERE t.source_sequence < CAST(%(sequence)s AS bigint) + s.line;
