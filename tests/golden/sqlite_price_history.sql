-- table
CREATE TABLE price_history (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    product_id TEXT NOT NULL,
    price INTEGER NOT NULL CHECK (price >= 0),
    effective_from TEXT NOT NULL,
    effective_to TEXT,
    source_sequence INTEGER NOT NULL,
    CONSTRAINT price_history_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT price_history_product_id_fkey FOREIGN KEY (tenant_id, product_id) REFERENCES products (tenant_id, product_id),
    CHECK (effective_from < effective_to)
) STRICT;
CREATE UNIQUE INDEX price_history_start_key ON price_history (tenant_id, product_id, effective_from);
CREATE UNIQUE INDEX price_history_open_key ON price_history (tenant_id, product_id) WHERE effective_to IS NULL;
CREATE TRIGGER price_history_tenant_insert BEFORE INSERT ON price_history WHEN NOT (headrace_tenant() IS NEW.tenant_id OR headrace_tenant() IS '*') BEGIN SELECT RAISE(ABORT, 'another tenant'); END;
CREATE TRIGGER price_history_tenant_update BEFORE UPDATE ON price_history WHEN NOT (headrace_tenant() IS OLD.tenant_id AND headrace_tenant() IS NEW.tenant_id OR headrace_tenant() IS '*') BEGIN SELECT RAISE(ABORT, 'another tenant'); END;
CREATE TRIGGER price_history_tenant_delete BEFORE DELETE ON price_history WHEN NOT (headrace_tenant() IS OLD.tenant_id OR headrace_tenant() IS '*') BEGIN SELECT RAISE(ABORT, 'another tenant'); END;

-- staging
CREATE TEMPORARY TABLE IF NOT EXISTS price_history_staging (line INTEGER PRIMARY KEY, mask INTEGER, id TEXT, product_id TEXT, price INTEGER, effective_from TEXT, effective_to TEXT);

-- unresolved product_id
SELECT s.line, s.product_id
FROM temp.price_history_staging s
LEFT JOIN products p
       ON p.tenant_id = :tenant AND p.product_id = s.product_id
WHERE s.product_id IS NOT NULL AND p.product_id IS NULL
ORDER BY s.line;

-- replaced
SELECT s.line, CASE WHEN t.source_sequence > :sequence + s.line THEN 1 ELSE 0 END AS is_stale
FROM temp.price_history_staging s
JOIN price_history t ON t.tenant_id = :tenant AND t.id = s.id
WHERE t.source_sequence > :sequence + s.line OR (t.source_sequence < :sequence + s.line AND (t.product_id, t.effective_from) IS NOT (s.product_id, s.effective_from));

-- spans
WITH spans AS (
    SELECT s.line, s.id AS id, s.product_id AS owner, s.effective_from AS starts,
           CASE WHEN s.mask & 16 = 0 THEN t.effective_to ELSE s.effective_to END AS ends
    FROM temp.price_history_staging s
    LEFT JOIN price_history t
           ON t.tenant_id = :tenant AND t.id = s.id
    UNION ALL
    SELECT 0, t.id, t.product_id, t.effective_from, t.effective_to
    FROM price_history t
    WHERE t.tenant_id = :tenant
      AND t.product_id IN (SELECT product_id FROM temp.price_history_staging)
), ordered AS (
    SELECT owner, starts, ends,
           LEAD(starts) OVER (PARTITION BY owner ORDER BY starts) AS next_starts,
           COUNT(*) OVER (PARTITION BY owner, starts) AS twins
    FROM spans
    WHERE line > 0 OR ((id, owner) IN (SELECT id, product_id FROM temp.price_history_staging)) IS NOT TRUE
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
      FROM temp.price_history_staging) ranked
WHERE place > 1;

-- set aside
UPDATE price_history AS t
SET effective_from = '-' || t.effective_from
FROM (
    SELECT id
    FROM (SELECT id, is_held, COUNT(*) OVER (PARTITION BY product_id, effective_from) AS claims
          FROM (SELECT id, product_id, effective_from, 0 AS is_held FROM temp.price_history_staging
                UNION ALL
                SELECT t.id, t.product_id, t.effective_from, 1
                FROM temp.price_history_staging s
CROSS JOIN price_history t ON t.tenant_id = :tenant AND t.id = s.id
                WHERE t.source_sequence < :sequence + s.line AND (t.product_id, t.effective_from) IS NOT (s.product_id, s.effective_from)) places) counted
    WHERE is_held = 1 AND claims > 1) w
WHERE t.tenant_id = :tenant AND t.id = w.id;

-- known
SELECT s.line
FROM temp.price_history_staging s
JOIN price_history t ON t.tenant_id = :tenant AND t.id = s.id
WHERE s.mask = :mask;

-- write
INSERT INTO price_history AS t (tenant_id, id, product_id, price, effective_from, effective_to, source_sequence)
SELECT :tenant, s.id, s.product_id, s.price, s.effective_from, s.effective_to, :sequence + s.line
FROM temp.price_history_staging s
LEFT JOIN price_history o ON o.tenant_id = :tenant AND o.id = s.id
WHERE s.mask = :mask
  AND (o.id IS NULL OR (o.product_id, o.price, o.effective_from, o.effective_to) IS NOT (s.product_id, s.price, s.effective_from, s.effective_to))
ORDER BY s.effective_to IS NULL, s.id, s.line
ON CONFLICT (tenant_id, id) DO UPDATE
SET product_id = excluded.product_id, price = excluded.price, effective_from = excluded.effective_from, effective_to = excluded.effective_to, source_sequence = excluded.source_sequence
WHERE t.source_sequence < excluded.source_sequence
RETURNING source_sequence;

-- equal
SELECT s.line
FROM temp.price_history_staging s
JOIN price_history t ON t.tenant_id = :tenant AND t.id = s.id
WHERE s.mask = :mask
  AND t.source_sequence <> :sequence + s.line
  AND NOT ((t.product_id, t.price, t.effective_from, t.effective_to) IS NOT (s.product_id, s.price, s.effective_from, s.effective_to));

-- renew
UPDATE price_history AS t
SET source_sequence = :sequence + s.line
FROM temp.price_history_staging s
WHERE t.tenant_id = :tenant AND t.id = s.id
  AND s.mask = :mask AND t.source_sequence < :sequence + s.line
  AND NOT ((t.product_id, t.price, t.effective_from, t.effective_to) IS NOT (s.product_id, s.price, s.effective_from, s.effective_to));
