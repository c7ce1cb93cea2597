-- table
CREATE TABLE price_history (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    product_id uuid NOT NULL,
    price numeric(19,4) NOT NULL CHECK (price >= 0 AND price <> 'NaN'),
    effective_from timestamptz NOT NULL,
    effective_to timestamptz,
    source_sequence bigint NOT NULL,
    CONSTRAINT price_history_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT price_history_product_id_fkey FOREIGN KEY (tenant_id, product_id) REFERENCES products (tenant_id, product_id),
    CHECK (effective_from < effective_to)
);
CREATE UNIQUE INDEX price_history_start_key ON price_history (tenant_id, product_id, effective_from);
CREATE UNIQUE INDEX price_history_open_key ON price_history (tenant_id, product_id) WHERE effective_to IS NULL;
ALTER TABLE price_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE price_history FORCE ROW LEVEL SECURITY;
CREATE POLICY price_history_tenant ON price_history USING (tenant_id = CAST(NULLIF(current_setting('app.tenant_id', true), '') AS uuid));
ALTER TABLE price_history ADD COLUMN IF NOT EXISTS is_rewritten boolean NOT NULL DEFAULT false;
ALTER TABLE price_history ALTER COLUMN tenant_id SET STATISTICS 0;

-- staging
CREATE TEMPORARY TABLE IF NOT EXISTS price_history_staging (line bigint, mask integer, id uuid, product_id uuid, price numeric(19,4), effective_from timestamptz, effective_to timestamptz);
DO $$ BEGIN
    IF pg_relation_size('price_history_staging') > 262144 THEN
        TRUNCATE price_history_staging;
    ELSE
        DELETE FROM price_history_staging;
    END IF;
END $$;

-- copy
COPY price_history_staging (line, mask, id, product_id, price, effective_from, effective_to) FROM STDIN;

-- hold parents
SELECT pg_advisory_xact_lock_shared(hashtextextended('parents ' || CAST(%(tenant)s AS text), 0))
WHERE current_setting('transaction_isolation') = 'read committed'
  AND has_parameter_privilege('session_replication_role', 'SET')
  AND (SELECT count(*) FROM pg_trigger WHERE (tgrelid, tgname) IN ((to_regclass('products'), 'products_parent_row'), (to_regclass('products'), 'products_parent_statement')) AND tgenabled IN ('O', 'A')) = 2
  AND NOT EXISTS (
    SELECT t.tgname
    FROM (SELECT to_regclass('price_history') AS relid
          UNION SELECT relid FROM pg_partition_tree(to_regclass('price_history'))) part
    JOIN pg_trigger t ON t.tgrelid = part.relid AND t.tgenabled IN ('O', 'R')
    LEFT JOIN pg_constraint c ON c.oid = t.tgconstraint AND c.contype = 'f'
    WHERE t.tgname NOT IN ('price_history_parent_row', 'price_history_parent_statement')
      AND (c.confrelid = t.tgrelid AND c.conrelid <> t.tgrelid
           AND c.conindid = (SELECT indexrelid FROM pg_index
                             WHERE indrelid = t.tgrelid AND indisprimary)
           OR c.conname ~ '^price_history(_p[0-9]+)?_(product_id)_fkey$') IS NOT TRUE);

-- unresolved product_id
SELECT s.line, s.product_id
FROM price_history_staging s
LEFT JOIN products p
       ON p.tenant_id = CAST(%(tenant)s AS uuid) AND p.product_id = s.product_id
WHERE s.product_id IS NOT NULL AND p.product_id IS NULL
ORDER BY s.line;

-- replaced
SELECT string_agg(int8send(line), '') FILTER (WHERE is_stale = 1),
       count(*) FILTER (WHERE is_stale = 0)
FROM (
SELECT s.line, CASE WHEN t.source_sequence > CAST(%(sequence)s AS bigint) + s.line THEN 1 ELSE 0 END AS is_stale
FROM price_history_staging s
JOIN price_history t ON t.tenant_id = CAST(%(tenant)s AS uuid) AND t.id = s.id
WHERE t.source_sequence > CAST(%(sequence)s AS bigint) + s.line OR (t.source_sequence < CAST(%(sequence)s AS bigint) + s.line AND (t.product_id, t.effective_from) IS DISTINCT FROM (s.product_id, s.effective_from))) found;

-- spans
WITH spans AS (
    SELECT s.line, s.id AS id, s.product_id AS owner, s.effective_from AS starts,
           CASE WHEN s.mask & 16 = 0 THEN t.effective_to ELSE s.effective_to END AS ends
    FROM price_history_staging s
    LEFT JOIN price_history t
           ON t.tenant_id = CAST(%(tenant)s AS uuid) AND t.id = s.id
    UNION ALL
    SELECT 0, t.id, t.product_id, t.effective_from, t.effective_to
    FROM price_history t
    WHERE t.tenant_id = CAST(%(tenant)s AS uuid)
      AND t.product_id IN (SELECT product_id FROM price_history_staging)
), ordered AS (
    SELECT owner, starts, ends,
           LEAD(starts) OVER (PARTITION BY owner ORDER BY starts) AS next_starts,
           COUNT(*) OVER (PARTITION BY owner, starts) AS twins
    FROM spans
    WHERE line > 0 OR ((id, owner) IN (SELECT id, product_id FROM price_history_staging)) IS NOT TRUE
)
SELECT line, id, owner, starts, ends
FROM spans
WHERE owner IN (SELECT owner FROM ordered
                WHERE twins > 1 OR next_starts < ends OR ends <= starts
                   OR (ends IS NULL AND next_starts IS NOT NULL))
ORDER BY line;

-- repeated
SELECT line
FROM (SELECT line, ROW_NUMBER() OVER (PARTITION BY id ORDER BY line DESC) AS place
      FROM price_history_staging) ranked
WHERE place > 1;

-- unresolved product_id by index
SELECT s.line, s.product_id
FROM (
    SELECT wanted.product_id
    FROM (SELECT DISTINCT product_id FROM price_history_staging WHERE product_id IS NOT NULL ORDER BY product_id) wanted
    WHERE (SELECT true FROM products p WHERE p.tenant_id = CAST(%(tenant)s AS uuid) AND p.product_id = wanted.product_id OFFSET 0) IS NULL
) missing
JOIN price_history_staging s ON s.product_id = missing.product_id
ORDER BY s.line;

-- set aside
UPDATE price_history AS t
SET effective_from = t.effective_from - INTERVAL '146097 days'
FROM (
    SELECT id
    FROM (SELECT id, is_held, COUNT(*) OVER (PARTITION BY product_id, effective_from) AS claims
          FROM (SELECT id, product_id, effective_from, 0 AS is_held FROM price_history_staging
                UNION ALL
                SELECT t.id, t.product_id, t.effective_from, 1
                FROM price_history_staging s
JOIN price_history t ON t.tenant_id = CAST(%(tenant)s AS uuid) AND t.id = s.id
                WHERE t.source_sequence < CAST(%(sequence)s AS bigint) + s.line AND (t.product_id, t.effective_from) IS DISTINCT FROM (s.product_id, s.effective_from)) places) counted
    WHERE is_held = 1 AND claims > 1) w
WHERE t.tenant_id = CAST(%(tenant)s AS uuid) AND t.id = w.id;

-- merge all
WITH written AS (
INSERT INTO price_history AS t (tenant_id, id, product_id, price, effective_from, effective_to, source_sequence)
SELECT CAST(%(tenant)s AS uuid), s.id, s.product_id, s.price, s.effective_from, s.effective_to, CAST(%(sequence)s AS bigint) + s.line
FROM price_history_staging s
LEFT JOIN price_history o ON o.tenant_id = CAST(%(tenant)s AS uuid) AND o.id = s.id
WHERE s.mask = %(mask)s
  AND (o.id IS NULL OR (o.product_id, o.price, o.effective_from, o.effective_to) IS DISTINCT FROM (s.product_id, s.price, s.effective_from, s.effective_to))
ORDER BY s.effective_to IS NULL, s.id, s.line
ON CONFLICT (tenant_id, id) DO UPDATE
SET product_id = excluded.product_id, price = excluded.price, effective_from = excluded.effective_from, effective_to = excluded.effective_to, source_sequence = excluded.source_sequence, is_rewritten = true
WHERE t.source_sequence < excluded.source_sequence
RETURNING t.source_sequence - CAST(%(sequence)s AS bigint) AS line, NOT t.is_rewritten AS is_new)
SELECT string_agg(int8send(line), '') FILTER (WHERE is_new),
       string_agg(int8send(line), '') FILTER (WHERE NOT is_new)
FROM written;

-- equal
SELECT s.line
FROM price_history_staging s
JOIN price_history t ON t.tenant_id = CAST(%(tenant)s AS uuid) AND t.id = s.id
WHERE s.mask = %(mask)s
  AND t.source_sequence <> CAST(%(sequence)s AS bigint) + s.line
  AND NOT ((t.product_id, t.price, t.effective_from, t.effective_to) IS DISTINCT FROM (s.product_id, s.price, s.effective_from, s.effective_to));

-- renew
UPDATE price_history AS t
SET source_sequence = CAST(%(sequence)s AS bigint) + s.line
FROM price_history_staging s
WHERE t.tenant_id = CAST(%(tenant)s AS uuid) AND t.id = s.id
  AND s.mask = %(mask)s AND t.source_sequence < CAST(%(sequence)s AS bigint) + s.line
  AND NOT ((t.product_id, t.price, t.effective_from, t.effective_to) IS DISTINCT FROM (s.product_id, s.price, s.effective_from, s.effective_to));

-- outrun
SELECT s.line
FROM price_history_staging s
JOIN price_history t ON t.tenant_id = CAST(%(tenant)s AS uuid) AND t.id = s.id
WHERE t.source_sequence < CAST(%(sequence)s AS bigint) + s.line;
