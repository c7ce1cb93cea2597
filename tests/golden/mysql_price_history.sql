-- table
CREATE TABLE IF NOT EXISTS price_history_turns (tenant_id varchar(32) PRIMARY KEY) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;
CREATE TABLE price_history (
    tenant_id varchar(32) NOT NULL,
    id varchar(32) NOT NULL,
    product_id varchar(32) NOT NULL,
    price numeric(19,4) NOT NULL CHECK (price >= 0),
    effective_from datetime(6) NOT NULL,
    effective_to datetime(6),
    source_sequence bigint NOT NULL,
    CONSTRAINT price_history_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT price_history_product_id_fkey FOREIGN KEY (tenant_id, product_id) REFERENCES products (tenant_id, product_id),
    CHECK (effective_from < effective_to),
    product_id_while_open varchar(32) GENERATED ALWAYS AS (CASE WHEN effective_to IS NULL THEN product_id END) STORED,
    CONSTRAINT price_history_start_key UNIQUE (tenant_id, product_id, effective_from),
    CONSTRAINT price_history_open_key UNIQUE (tenant_id, product_id_while_open)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;
DROP TRIGGER IF EXISTS price_history_tenant_insert;
CREATE TRIGGER price_history_tenant_insert BEFORE INSERT ON price_history FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR NEW.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;
DROP TRIGGER IF EXISTS price_history_tenant_update;
CREATE TRIGGER price_history_tenant_update BEFORE UPDATE ON price_history FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR OLD.tenant_id <=> @headrace_tenant AND NEW.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;
DROP TRIGGER IF EXISTS price_history_tenant_delete;
CREATE TRIGGER price_history_tenant_delete BEFORE DELETE ON price_history FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR OLD.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;
DROP TRIGGER IF EXISTS price_history_turns_tenant_insert;
CREATE TRIGGER price_history_turns_tenant_insert BEFORE INSERT ON price_history_turns FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR NEW.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;
DROP TRIGGER IF EXISTS price_history_turns_tenant_update;
CREATE TRIGGER price_history_turns_tenant_update BEFORE UPDATE ON price_history_turns FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR OLD.tenant_id <=> @headrace_tenant AND NEW.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;
DROP TRIGGER IF EXISTS price_history_turns_tenant_delete;
CREATE TRIGGER price_history_turns_tenant_delete BEFORE DELETE ON price_history_turns FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR OLD.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;

-- staging
CREATE TEMPORARY TABLE price_history_staging (line bigint NOT NULL, mask integer NOT NULL, id varchar(32) NOT NULL, product_id varchar(32), price numeric(19,4), effective_from datetime(6), effective_to datetime(6), PRIMARY KEY (id, line)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

-- load
LOAD DATA LOCAL INFILE '/dev/fd/3' INTO TABLE price_history_staging CHARACTER SET utf8mb4 (line, mask, @id, @product_id, price, @effective_from, @effective_to) SET id = REPLACE(@id, '-', ''), product_id = REPLACE(@product_id, '-', ''), effective_from = TRIM(TRAILING 'Z' FROM @effective_from), effective_to = TRIM(TRAILING 'Z' FROM @effective_to);

-- unresolved product_id
SELECT s.line, s.product_id
FROM price_history_staging s
LEFT JOIN products p FORCE INDEX (PRIMARY)
       ON p.tenant_id = %(tenant)s AND p.product_id = s.product_id
WHERE s.product_id IS NOT NULL AND p.product_id IS NULL
ORDER BY s.line;

-- replaced
SELECT COUNT(CASE WHEN is_stale = 1 THEN 1 END),
       GROUP_CONCAT(CASE WHEN is_stale = 1 THEN line END), COUNT(CASE WHEN is_stale = 0 THEN 1 END)
FROM (
SELECT s.line, CASE WHEN t.source_sequence > %(sequence)s + s.line THEN 1 ELSE 0 END AS is_stale
FROM price_history_staging s
STRAIGHT_JOIN price_history t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.id = s.id
WHERE t.source_sequence > %(sequence)s + s.line OR (t.source_sequence < %(sequence)s + s.line AND NOT ((t.product_id, t.effective_from) <=> (s.product_id, s.effective_from)))) found;

-- spans
WITH staged AS (SELECT line, mask, id, product_id, effective_from, effective_to FROM price_history_staging), spans AS (
    SELECT s.line, s.id AS id, s.product_id AS owner, s.effective_from AS starts,
           CASE WHEN s.mask & 16 = 0 THEN t.effective_to ELSE s.effective_to END AS ends
    FROM staged s
    LEFT JOIN price_history t FORCE INDEX (PRIMARY)
           ON t.tenant_id = %(tenant)s AND t.id = s.id
    UNION ALL
    SELECT 0, t.id, t.product_id, t.effective_from, t.effective_to
    FROM price_history t
    WHERE t.tenant_id = %(tenant)s
      AND t.product_id IN (SELECT product_id FROM staged)
), ordered AS (
    SELECT owner, starts, ends,
           LEAD(starts) OVER (PARTITION BY owner ORDER BY starts) AS next_starts,
           COUNT(*) OVER (PARTITION BY owner, starts) AS twins
    FROM spans
    WHERE line > 0 OR ((id, owner) IN (SELECT id, product_id FROM staged)) IS NOT TRUE
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

-- set aside
UPDATE (WITH staged AS (SELECT line, id, product_id, effective_from FROM price_history_staging)
    SELECT id
    FROM (SELECT id, is_held, COUNT(*) OVER (PARTITION BY product_id, effective_from) AS claims
          FROM (SELECT id, product_id, effective_from, 0 AS is_held FROM staged
                UNION ALL
                SELECT t.id, t.product_id, t.effective_from, 1
                FROM staged s
STRAIGHT_JOIN price_history t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.id = s.id
                WHERE t.source_sequence < %(sequence)s + s.line AND NOT ((t.product_id, t.effective_from) <=> (s.product_id, s.effective_from))) places) counted
    WHERE is_held = 1 AND claims > 1) w
STRAIGHT_JOIN price_history t FORCE INDEX (PRIMARY)
  ON t.tenant_id = %(tenant)s AND t.id = w.id
SET t.effective_from = t.effective_from - INTERVAL 146097 DAY;

-- absent
SELECT COUNT(*), GROUP_CONCAT(s.line)
FROM price_history_staging s
LEFT JOIN price_history o FORCE INDEX (PRIMARY)
  ON o.tenant_id = %(tenant)s AND o.id = s.id
WHERE s.mask = %(mask)s AND o.id IS NULL;

-- lock
SELECT COUNT(*), GROUP_CONCAT(s.line)
FROM price_history_staging s
STRAIGHT_JOIN price_history t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.id = s.id
WHERE s.mask = %(mask)s AND t.source_sequence < %(sequence)s + s.line
  AND NOT ((t.product_id, t.price, t.effective_from, t.effective_to) <=> (s.product_id, s.price, s.effective_from, s.effective_to))
FOR UPDATE;

-- update ended
UPDATE price_history_staging s
STRAIGHT_JOIN price_history t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.id = s.id
SET t.product_id = s.product_id, t.price = s.price, t.effective_from = s.effective_from, t.effective_to = s.effective_to, t.source_sequence = %(sequence)s + s.line
WHERE s.mask = %(mask)s AND t.source_sequence < %(sequence)s + s.line
  AND NOT ((t.product_id, t.price, t.effective_from, t.effective_to) <=> (s.product_id, s.price, s.effective_from, s.effective_to))
  AND s.effective_to IS NOT NULL;

-- update open
UPDATE price_history_staging s
STRAIGHT_JOIN price_history t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.id = s.id
SET t.product_id = s.product_id, t.price = s.price, t.effective_from = s.effective_from, t.effective_to = s.effective_to, t.source_sequence = %(sequence)s + s.line
WHERE s.mask = %(mask)s AND t.source_sequence < %(sequence)s + s.line
  AND NOT ((t.product_id, t.price, t.effective_from, t.effective_to) <=> (s.product_id, s.price, s.effective_from, s.effective_to))
  AND s.effective_to IS NULL;

-- insert
INSERT INTO price_history (tenant_id, id, product_id, price, effective_from, effective_to, source_sequence)
SELECT %(tenant)s, s.id, s.product_id, s.price, s.effective_from, s.effective_to, %(sequence)s + s.line
FROM price_history_staging s
LEFT JOIN price_history o FORCE INDEX (PRIMARY)
  ON o.tenant_id = %(tenant)s AND o.id = s.id
WHERE s.mask = %(mask)s AND o.id IS NULL
ORDER BY s.effective_to IS NULL, s.id, s.line;

-- equal
SELECT s.line
FROM price_history_staging s
STRAIGHT_JOIN price_history t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.id = s.id
WHERE s.mask = %(mask)s
  AND t.source_sequence <> %(sequence)s + s.line
  AND NOT (NOT ((t.product_id, t.price, t.effective_from, t.effective_to) <=> (s.product_id, s.price, s.effective_from, s.effective_to)));

-- renew
UPDATE price_history_staging s
STRAIGHT_JOIN price_history t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.id = s.id
SET t.source_sequence = %(sequence)s + s.line
WHERE s.mask = %(mask)s AND t.source_sequence < %(sequence)s + s.line
  AND NOT (NOT ((t.product_id, t.price, t.effective_from, t.effective_to) <=> (s.product_id, s.price, s.effective_from, s.effective_to)));

-- outrun
SELECT s.line
FROM price_history_staging s
STRAIGHT_JOIN price_history t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.id = s.id
WHERE t.source_sequence < %(sequence)s + s.line;
