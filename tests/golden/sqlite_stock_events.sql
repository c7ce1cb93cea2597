-- table
CREATE TABLE stock_events (
    tenant_id TEXT NOT NULL,
    stock_event_id TEXT NOT NULL,
    product_id TEXT NOT NULL,
    delta INTEGER NOT NULL,
    resulting_level INTEGER NOT NULL,
    event_time TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%S', 'now')),
    source TEXT NOT NULL DEFAULT 'system' CHECK (length(source) <= 50),
    meta TEXT NOT NULL DEFAULT '{}',
    claimed_level INTEGER,
    sequence INTEGER NOT NULL DEFAULT '0',
    source_sequence INTEGER NOT NULL,
    CONSTRAINT stock_events_pkey PRIMARY KEY (tenant_id, stock_event_id)
) STRICT;
CREATE UNIQUE INDEX stock_events_sequence_key ON stock_events (tenant_id, product_id, sequence);
CREATE TRIGGER stock_events_tenant_insert BEFORE INSERT ON stock_events WHEN NOT (headrace_tenant() IS NEW.tenant_id OR headrace_tenant() IS '*') BEGIN SELECT RAISE(ABORT, 'another tenant'); END;
CREATE TRIGGER stock_events_tenant_update BEFORE UPDATE ON stock_events WHEN NOT (headrace_tenant() IS OLD.tenant_id AND headrace_tenant() IS NEW.tenant_id OR headrace_tenant() IS '*') BEGIN SELECT RAISE(ABORT, 'another tenant'); END;
CREATE TRIGGER stock_events_tenant_delete BEFORE DELETE ON stock_events WHEN NOT (headrace_tenant() IS OLD.tenant_id OR headrace_tenant() IS '*') BEGIN SELECT RAISE(ABORT, 'another tenant'); END;

-- staging
CREATE TEMPORARY TABLE IF NOT EXISTS stock_events_staging (line INTEGER PRIMARY KEY, mask INTEGER, stock_event_id TEXT, product_id TEXT, delta INTEGER, asked_set INTEGER, asked_expected INTEGER, resulting_level INTEGER, event_time TEXT, source TEXT, meta TEXT);

-- unresolved product_id
SELECT s.line, s.product_id
FROM temp.stock_events_staging s
LEFT JOIN products p
       ON p.tenant_id = :tenant AND p.product_id = s.product_id
WHERE s.product_id IS NOT NULL AND p.product_id IS NULL
ORDER BY s.line;

-- table of levels
CREATE TABLE stock_levels (
    tenant_id TEXT NOT NULL,
    product_id TEXT NOT NULL,
    level INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    changed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%S', 'now')),
    source_sequence INTEGER NOT NULL,
    CONSTRAINT stock_levels_pkey PRIMARY KEY (tenant_id, product_id),
    CONSTRAINT stock_levels_product_id_fkey FOREIGN KEY (tenant_id, product_id) REFERENCES products (tenant_id, product_id)
) STRICT;
CREATE INDEX stock_levels_level_idx ON stock_levels (tenant_id, level, product_id);
CREATE TRIGGER stock_levels_tenant_insert BEFORE INSERT ON stock_levels WHEN NOT (headrace_tenant() IS NEW.tenant_id OR headrace_tenant() IS '*') BEGIN SELECT RAISE(ABORT, 'another tenant'); END;
CREATE TRIGGER stock_levels_tenant_update BEFORE UPDATE ON stock_levels WHEN NOT (headrace_tenant() IS OLD.tenant_id AND headrace_tenant() IS NEW.tenant_id OR headrace_tenant() IS '*') BEGIN SELECT RAISE(ABORT, 'another tenant'); END;
CREATE TRIGGER stock_levels_tenant_delete BEFORE DELETE ON stock_levels WHEN NOT (headrace_tenant() IS OLD.tenant_id OR headrace_tenant() IS '*') BEGIN SELECT RAISE(ABORT, 'another tenant'); END;

-- open levels
INSERT INTO stock_levels (tenant_id, product_id, level, sequence, source_sequence)
SELECT :tenant, s.product_id, 0, 0, 0
FROM (SELECT DISTINCT product_id FROM temp.stock_events_staging) s
LEFT JOIN stock_levels l
       ON l.tenant_id = :tenant AND l.product_id = s.product_id
WHERE l.product_id IS NULL
ORDER BY s.product_id;

-- known
SELECT s.line, CASE WHEN (s.product_id IS NULL OR s.product_id = t.product_id) AND (s.delta IS NULL OR s.delta = t.delta) AND (s.event_time IS NULL OR s.event_time = t.event_time) AND (s.source IS NULL OR s.source = t.source) AND (s.meta IS NULL OR s.meta = t.meta) AND (s.asked_set IS NULL OR s.asked_set = t.resulting_level) AND (s.asked_expected IS NULL OR s.asked_expected = t.resulting_level - t.delta) THEN 1 ELSE 0 END
FROM temp.stock_events_staging s
JOIN stock_events t ON t.tenant_id = :tenant AND t.stock_event_id = s.stock_event_id;

-- repeated
SELECT s.line, CASE WHEN (s.product_id IS NULL OR s.product_id = s.first_product_id) AND (s.delta IS NULL OR s.delta = s.first_delta) AND (s.event_time IS NULL OR s.event_time = COALESCE(s.first_event_time, (strftime('%Y-%m-%d %H:%M:%S', 'now')))) AND (s.source IS NULL OR s.source = COALESCE(s.first_source, 'system')) AND (s.meta IS NULL OR s.meta = COALESCE(s.first_meta, '{}')) AND (s.asked_set IS NULL OR s.asked_set = s.first_asked_set) AND (s.asked_expected IS NULL OR s.asked_expected = s.first_asked_expected) THEN 1 ELSE 0 END
FROM (SELECT s.*, ROW_NUMBER() OVER by_key AS place,
             FIRST_VALUE(s.product_id) OVER by_key AS first_product_id, FIRST_VALUE(s.delta) OVER by_key AS first_delta, FIRST_VALUE(s.event_time) OVER by_key AS first_event_time, FIRST_VALUE(s.source) OVER by_key AS first_source, FIRST_VALUE(s.meta) OVER by_key AS first_meta, FIRST_VALUE(s.asked_set) OVER by_key AS first_asked_set, FIRST_VALUE(s.asked_expected) OVER by_key AS first_asked_expected
      FROM temp.stock_events_staging s
      WINDOW by_key AS (PARTITION BY s.stock_event_id ORDER BY s.line)) s
WHERE s.place > 1
ORDER BY s.line;

-- impossible
WITH placed AS (
    SELECT s.line, s.stock_event_id, s.product_id, s.delta, s.asked_set, s.asked_expected,
           l.level AS opening, l.sequence AS last,
           COUNT(s.asked_set) OVER (PARTITION BY s.product_id ORDER BY s.line) AS part
    FROM temp.stock_events_staging s
    JOIN stock_levels l ON l.tenant_id = :tenant AND l.product_id = s.product_id
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
SELECT line FROM temp.stock_events_staging WHERE delta = 0;

-- move
INSERT INTO stock_events (tenant_id, stock_event_id, product_id, delta, resulting_level, event_time, source, meta, claimed_level, sequence, source_sequence)
WITH placed AS (
    SELECT s.line, s.stock_event_id, s.product_id, s.delta, s.asked_set, s.asked_expected,
           l.level AS opening, l.sequence AS last,
           COUNT(s.asked_set) OVER (PARTITION BY s.product_id ORDER BY s.line) AS part
    FROM temp.stock_events_staging s
    JOIN stock_levels l ON l.tenant_id = :tenant AND l.product_id = s.product_id
), led AS (
    SELECT p.*, COALESCE(MAX(asked_set) OVER (PARTITION BY product_id, part), opening)
                + COALESCE(SUM(delta) OVER (PARTITION BY product_id, part ORDER BY line), 0) AS led_to
    FROM placed p
), moves AS (
    SELECT d.*, COALESCE(LAG(led_to) OVER (PARTITION BY product_id ORDER BY line), opening) AS found,
           last + ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY line) AS number
    FROM led d
)
SELECT :tenant, s.stock_event_id, s.product_id, m.led_to - m.found, m.led_to, COALESCE(s.event_time, (strftime('%Y-%m-%d %H:%M:%S', 'now'))), COALESCE(s.source, 'system'), COALESCE(s.meta, '{}'), s.resulting_level, m.number, :sequence + m.line
FROM moves m
JOIN temp.stock_events_staging s ON s.stock_event_id = m.stock_event_id AND s.line = m.line
ORDER BY m.product_id, m.line
RETURNING source_sequence, claimed_level <> resulting_level, delta = 0;

-- raise levels
UPDATE stock_levels AS l
SET level = t.resulting_level, sequence = t.sequence, changed_at = (strftime('%Y-%m-%d %H:%M:%S', 'now')), source_sequence = t.source_sequence
FROM (
    WITH newest AS MATERIALIZED (
        SELECT x.product_id, o.sequence + x.moves AS sequence
        FROM (SELECT product_id, CAST(COUNT(*) AS integer) AS moves FROM temp.stock_events_staging GROUP BY product_id) x
        JOIN stock_levels o ON o.tenant_id = :tenant AND o.product_id = x.product_id
    )
    SELECT t.product_id, t.resulting_level, t.sequence, t.source_sequence
    FROM newest n
    JOIN stock_events t ON t.tenant_id = :tenant AND t.product_id = n.product_id
                                   AND t.sequence = n.sequence
) t
WHERE l.tenant_id = :tenant AND l.product_id = t.product_id;

-- fallen
WITH low AS MATERIALIZED (
    SELECT x.product_id, l.level, l.sequence - x.moves + 1 AS sequence
    FROM (SELECT product_id, CAST(COUNT(*) AS integer) AS moves FROM temp.stock_events_staging GROUP BY product_id) x
    JOIN stock_levels l ON l.tenant_id = :tenant AND l.product_id = x.product_id
    WHERE l.level < 0
)
SELECT x.product_id, x.level
FROM low x
JOIN stock_events t ON t.tenant_id = :tenant AND t.product_id = x.product_id
                           AND t.sequence = x.sequence
WHERE t.resulting_level - t.delta >= 0
ORDER BY x.product_id;
