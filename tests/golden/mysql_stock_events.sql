-- table
CREATE TABLE stock_events (
    tenant_id varchar(32) NOT NULL,
    stock_event_id varchar(32) NOT NULL,
    product_id varchar(32) NOT NULL,
    delta integer NOT NULL,
    resulting_level integer NOT NULL,
    event_time datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    source varchar(50) NOT NULL DEFAULT 'system',
    meta longtext NOT NULL DEFAULT ('{}'),
    claimed_level integer,
    sequence integer NOT NULL DEFAULT '0',
    source_sequence bigint NOT NULL,
    CONSTRAINT stock_events_pkey PRIMARY KEY (tenant_id, stock_event_id),
    CONSTRAINT stock_events_sequence_key UNIQUE (tenant_id, product_id, sequence)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;
DROP TRIGGER IF EXISTS stock_events_tenant_insert;
CREATE TRIGGER stock_events_tenant_insert BEFORE INSERT ON stock_events FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR NEW.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;
DROP TRIGGER IF EXISTS stock_events_tenant_update;
CREATE TRIGGER stock_events_tenant_update BEFORE UPDATE ON stock_events FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR OLD.tenant_id <=> @headrace_tenant AND NEW.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;
DROP TRIGGER IF EXISTS stock_events_tenant_delete;
CREATE TRIGGER stock_events_tenant_delete BEFORE DELETE ON stock_events FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR OLD.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;

-- staging
CREATE TEMPORARY TABLE stock_events_staging (line bigint NOT NULL, mask integer NOT NULL, stock_event_id varchar(32) NOT NULL, product_id varchar(32), delta integer, asked_set integer, asked_expected integer, resulting_level integer, event_time datetime(6), source varchar(50), meta longtext, PRIMARY KEY (stock_event_id, line)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

-- load
LOAD DATA LOCAL INFILE '/dev/fd/3' INTO TABLE stock_events_staging CHARACTER SET utf8mb4 (line, mask, @stock_event_id, @product_id, delta, asked_set, asked_expected, resulting_level, @event_time, source, meta) SET stock_event_id = REPLACE(@stock_event_id, '-', ''), product_id = REPLACE(@product_id, '-', ''), event_time = TRIM(TRAILING 'Z' FROM @event_time);

-- unresolved product_id
SELECT s.line, s.product_id
FROM stock_events_staging s
LEFT JOIN products p FORCE INDEX (PRIMARY)
       ON p.tenant_id = %(tenant)s AND p.product_id = s.product_id
WHERE s.product_id IS NOT NULL AND p.product_id IS NULL
ORDER BY s.line;

-- table of levels
CREATE TABLE stock_levels (
    tenant_id varchar(32) NOT NULL,
    product_id varchar(32) NOT NULL,
    level integer NOT NULL,
    sequence integer NOT NULL,
    changed_at datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    source_sequence bigint NOT NULL,
    CONSTRAINT stock_levels_pkey PRIMARY KEY (tenant_id, product_id),
    CONSTRAINT stock_levels_product_id_fkey FOREIGN KEY (tenant_id, product_id) REFERENCES products (tenant_id, product_id),
    INDEX stock_levels_level_idx (tenant_id, level, product_id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;
DROP TRIGGER IF EXISTS stock_levels_tenant_insert;
CREATE TRIGGER stock_levels_tenant_insert BEFORE INSERT ON stock_levels FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR NEW.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;
DROP TRIGGER IF EXISTS stock_levels_tenant_update;
CREATE TRIGGER stock_levels_tenant_update BEFORE UPDATE ON stock_levels FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR OLD.tenant_id <=> @headrace_tenant AND NEW.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;
DROP TRIGGER IF EXISTS stock_levels_tenant_delete;
CREATE TRIGGER stock_levels_tenant_delete BEFORE DELETE ON stock_levels FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR OLD.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;

-- open levels
INSERT INTO stock_levels (tenant_id, product_id, level, sequence, source_sequence)
SELECT %(tenant)s, s.product_id, 0, 0, 0
FROM (SELECT DISTINCT product_id FROM stock_events_staging) s
LEFT JOIN stock_levels l FORCE INDEX (PRIMARY)
       ON l.tenant_id = %(tenant)s AND l.product_id = s.product_id
WHERE l.product_id IS NULL
ORDER BY s.product_id
ON DUPLICATE KEY UPDATE stock_levels.level = stock_levels.level;

-- lock levels
SELECT l.product_id
FROM (SELECT DISTINCT product_id FROM stock_events_staging ORDER BY product_id LIMIT 4611686018427387904) s
STRAIGHT_JOIN stock_levels l FORCE INDEX (PRIMARY)
  ON l.tenant_id = %(tenant)s AND l.product_id = s.product_id
FOR UPDATE;

-- known
SELECT s.line, CASE WHEN (s.product_id IS NULL OR s.product_id = t.product_id) AND (s.delta IS NULL OR s.delta = t.delta) AND (s.event_time IS NULL OR s.event_time = t.event_time) AND (s.source IS NULL OR s.source = t.source) AND (s.meta IS NULL OR s.meta = t.meta) AND (s.asked_set IS NULL OR s.asked_set = t.resulting_level) AND (s.asked_expected IS NULL OR s.asked_expected = t.resulting_level - t.delta) THEN 1 ELSE 0 END
FROM stock_events_staging s
STRAIGHT_JOIN stock_events t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.stock_event_id = s.stock_event_id;

-- repeated
SELECT s.line, CASE WHEN (s.product_id IS NULL OR s.product_id = s.first_product_id) AND (s.delta IS NULL OR s.delta = s.first_delta) AND (s.event_time IS NULL OR s.event_time = COALESCE(s.first_event_time, (UTC_TIMESTAMP(6)))) AND (s.source IS NULL OR s.source = COALESCE(s.first_source, 'system')) AND (s.meta IS NULL OR s.meta = COALESCE(s.first_meta, ('{}'))) AND (s.asked_set IS NULL OR s.asked_set = s.first_asked_set) AND (s.asked_expected IS NULL OR s.asked_expected = s.first_asked_expected) THEN 1 ELSE 0 END
FROM (SELECT s.*, ROW_NUMBER() OVER by_key AS place,
             FIRST_VALUE(s.product_id) OVER by_key AS first_product_id, FIRST_VALUE(s.delta) OVER by_key AS first_delta, FIRST_VALUE(s.event_time) OVER by_key AS first_event_time, FIRST_VALUE(s.source) OVER by_key AS first_source, FIRST_VALUE(s.meta) OVER by_key AS first_meta, FIRST_VALUE(s.asked_set) OVER by_key AS first_asked_set, FIRST_VALUE(s.asked_expected) OVER by_key AS first_asked_expected
      FROM stock_events_staging s
      WINDOW by_key AS (PARTITION BY s.stock_event_id ORDER BY s.line)) s
WHERE s.place > 1
ORDER BY s.line;

-- impossible
WITH placed AS (
    SELECT s.line, s.stock_event_id, s.product_id, s.delta, s.asked_set, s.asked_expected,
           l.level AS opening, l.sequence AS last,
           COUNT(s.asked_set) OVER (PARTITION BY s.product_id ORDER BY s.line) AS part
    FROM stock_events_staging s
    STRAIGHT_JOIN stock_levels l ON l.tenant_id = %(tenant)s AND l.product_id = s.product_id
), led AS (
    SELECT p.*, COALESCE(MAX(asked_set) OVER (PARTITION BY product_id, part), opening)
                + COALESCE(SUM(delta) OVER (PARTITION BY product_id, part ORDER BY line), 0) AS led_to
    FROM placed p
), moves AS (
    SELECT d.*, COALESCE(LAG(led_to) OVER (PARTITION BY product_id ORDER BY line), opening) AS found,
           last + ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY line) AS number
    FROM led d
)
SELECT line, found, led_to, asked_expected
FROM moves
WHERE found <> asked_expected OR led_to NOT BETWEEN -2147483648 AND 2147483647 OR led_to - found NOT BETWEEN -2147483648 AND 2147483647 OR (led_to < 0 AND led_to < found)
ORDER BY line;

-- still
SELECT line FROM stock_events_staging WHERE delta = 0;

-- move
INSERT INTO stock_events (tenant_id, stock_event_id, product_id, delta, resulting_level, event_time, source, meta, claimed_level, sequence, source_sequence)
WITH staged AS (SELECT * FROM stock_events_staging), placed AS (
    SELECT s.line, s.stock_event_id, s.product_id, s.delta, s.asked_set, s.asked_expected,
           l.level AS opening, l.sequence AS last,
           COUNT(s.asked_set) OVER (PARTITION BY s.product_id ORDER BY s.line) AS part
    FROM staged s
    STRAIGHT_JOIN stock_levels l ON l.tenant_id = %(tenant)s AND l.product_id = s.product_id
), led AS (
    SELECT p.*, COALESCE(MAX(asked_set) OVER (PARTITION BY product_id, part), opening)
                + COALESCE(SUM(delta) OVER (PARTITION BY product_id, part ORDER BY line), 0) AS led_to
    FROM placed p
), moves AS (
    SELECT d.*, COALESCE(LAG(led_to) OVER (PARTITION BY product_id ORDER BY line), opening) AS found,
           last + ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY line) AS number
    FROM led d
)
SELECT %(tenant)s, s.stock_event_id, s.product_id, m.led_to - m.found, m.led_to, COALESCE(s.event_time, (UTC_TIMESTAMP(6))), COALESCE(s.source, 'system'), COALESCE(s.meta, ('{}')), s.resulting_level, m.number, %(sequence)s + m.line
FROM moves m
STRAIGHT_JOIN staged s ON s.stock_event_id = m.stock_event_id AND s.line = m.line
ORDER BY m.product_id, m.line;

-- raise levels
UPDATE (SELECT product_id, COUNT(*) AS moves FROM stock_events_staging GROUP BY product_id) x
STRAIGHT_JOIN stock_levels l FORCE INDEX (PRIMARY)
STRAIGHT_JOIN stock_events t FORCE INDEX (stock_events_sequence_key)
SET l.level = t.resulting_level, l.sequence = t.sequence, l.changed_at = UTC_TIMESTAMP(6), l.source_sequence = t.source_sequence
WHERE l.tenant_id = %(tenant)s AND l.product_id = x.product_id
  AND t.tenant_id = %(tenant)s AND t.product_id = x.product_id
  AND t.sequence = l.sequence + x.moves;

-- noteworthy
SELECT s.line, t.claimed_level <> t.resulting_level, t.delta = 0
FROM stock_events_staging s
STRAIGHT_JOIN stock_events t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.stock_event_id = s.stock_event_id
WHERE t.claimed_level <> t.resulting_level OR t.delta = 0;

-- fallen
SELECT x.product_id, l.level
FROM (SELECT product_id, COUNT(*) AS moves FROM stock_events_staging GROUP BY product_id) x
STRAIGHT_JOIN stock_levels l FORCE INDEX (PRIMARY)
  ON l.tenant_id = %(tenant)s AND l.product_id = x.product_id
STRAIGHT_JOIN stock_events t FORCE INDEX (stock_events_sequence_key)
  ON t.tenant_id = %(tenant)s AND t.product_id = x.product_id
 AND t.sequence = l.sequence - x.moves + 1
WHERE l.level < 0 AND t.resulting_level - t.delta >= 0
ORDER BY x.product_id;
