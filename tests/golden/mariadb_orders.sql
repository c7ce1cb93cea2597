-- table
CREATE TABLE orders (
    tenant_id varchar(32) NOT NULL,
    order_id varchar(32) NOT NULL,
    external_order_id varchar(100) NOT NULL,
    kind varchar(20) NOT NULL DEFAULT 'sale' CHECK (kind IN ('sale', 'return', 'adjustment')),
    customer_id varchar(32),
    customer_name_snapshot varchar(255),
    customer_email_snapshot varchar(255),
    total_amount numeric(19,4) NOT NULL,
    currency varchar(3) NOT NULL DEFAULT 'USD',
    order_status varchar(20) NOT NULL DEFAULT 'pending' CHECK (order_status IN ('pending', 'confirmed', 'processing', 'paid', 'shipped', 'delivered', 'completed', 'cancelled', 'refunded', 'returned')),
    order_date datetime(6) NOT NULL,
    raw_payload longtext NOT NULL DEFAULT ('{}'),
    created_at datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    source_sequence bigint NOT NULL,
    CONSTRAINT orders_pkey PRIMARY KEY (tenant_id, order_id),
    CONSTRAINT orders_external_order_id_key UNIQUE (tenant_id, external_order_id),
    CONSTRAINT orders_customer_id_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, customer_id),
    CHECK (kind <> 'sale' OR total_amount >= 0),
    INDEX orders_search_idx (tenant_id, order_date, order_id, order_status, total_amount, currency, kind, external_order_id),
    INDEX orders_customer_search_idx (tenant_id, customer_id, order_date, order_id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
DROP TRIGGER IF EXISTS orders_tenant_insert;
CREATE TRIGGER orders_tenant_insert BEFORE INSERT ON orders FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR NEW.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;
DROP TRIGGER IF EXISTS orders_tenant_update;
CREATE TRIGGER orders_tenant_update BEFORE UPDATE ON orders FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR OLD.tenant_id <=> @headrace_tenant AND NEW.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;
DROP TRIGGER IF EXISTS orders_tenant_delete;
CREATE TRIGGER orders_tenant_delete BEFORE DELETE ON orders FOR EACH ROW IF NOT (@headrace_tenant <=> '*' OR OLD.tenant_id <=> @headrace_tenant) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF;

-- staging
CREATE TEMPORARY TABLE orders_staging (line bigint NOT NULL, mask integer NOT NULL, order_id varchar(32) NOT NULL, external_order_id varchar(100), kind varchar(20), customer_id varchar(32), customer_name_snapshot varchar(255), customer_email_snapshot varchar(255), total_amount numeric(19,4), currency varchar(3), order_status varchar(20), order_date datetime(6), raw_payload longtext, created_at datetime(6), PRIMARY KEY (order_id, line)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- load
LOAD DATA LOCAL INFILE '/dev/fd/3' INTO TABLE orders_staging CHARACTER SET utf8mb4 (line, mask, @order_id, external_order_id, kind, @customer_id, customer_name_snapshot, customer_email_snapshot, total_amount, currency, order_status, @order_date, raw_payload, @created_at) SET order_id = REPLACE(@order_id, '-', ''), customer_id = REPLACE(@customer_id, '-', ''), order_date = TRIM(TRAILING 'Z' FROM @order_date), created_at = TRIM(TRAILING 'Z' FROM @created_at);

-- unresolved customer_id
SELECT s.line, s.customer_id
FROM orders_staging s
LEFT JOIN customers p FORCE INDEX (PRIMARY)
       ON p.tenant_id = %(tenant)s AND p.customer_id = s.customer_id
WHERE s.customer_id IS NOT NULL AND p.customer_id IS NULL
ORDER BY s.line;

-- taken external_order_id
SELECT s.line, s.external_order_id, t.order_id
FROM orders_staging s
STRAIGHT_JOIN orders t FORCE INDEX (orders_external_order_id_key)
  ON t.tenant_id = %(tenant)s AND t.external_order_id = s.external_order_id
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

-- absent
SELECT COUNT(*), GROUP_CONCAT(s.line)
FROM orders_staging s
LEFT JOIN orders o FORCE INDEX (PRIMARY)
  ON o.tenant_id = %(tenant)s AND o.order_id = s.order_id
WHERE s.mask = %(mask)s AND o.order_id IS NULL;

-- lock
SELECT COUNT(*), GROUP_CONCAT(s.line)
FROM orders_staging s
STRAIGHT_JOIN orders t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.order_id = s.order_id
WHERE s.mask = %(mask)s AND t.source_sequence < %(sequence)s + s.line
  AND NOT ((t.external_order_id, t.kind, t.customer_id, t.customer_name_snapshot, t.customer_email_snapshot, t.total_amount, t.currency, t.order_status, t.order_date, t.raw_payload, t.created_at) <=> (s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at))
FOR UPDATE;

-- former days
SELECT DISTINCT DATE(t.order_date)
FROM orders_staging s
STRAIGHT_JOIN orders t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.order_id = s.order_id
WHERE s.mask = %(mask)s AND t.source_sequence < %(sequence)s + s.line
  AND NOT ((t.order_date) <=> (s.order_date))
LOCK IN SHARE MODE;

-- update
UPDATE orders_staging s
STRAIGHT_JOIN orders t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.order_id = s.order_id
SET t.external_order_id = s.external_order_id, t.kind = s.kind, t.customer_id = s.customer_id, t.customer_name_snapshot = s.customer_name_snapshot, t.customer_email_snapshot = s.customer_email_snapshot, t.total_amount = s.total_amount, t.currency = s.currency, t.order_status = s.order_status, t.order_date = s.order_date, t.raw_payload = s.raw_payload, t.created_at = s.created_at, t.source_sequence = %(sequence)s + s.line
WHERE s.mask = %(mask)s AND t.source_sequence < %(sequence)s + s.line
  AND NOT ((t.external_order_id, t.kind, t.customer_id, t.customer_name_snapshot, t.customer_email_snapshot, t.total_amount, t.currency, t.order_status, t.order_date, t.raw_payload, t.created_at) <=> (s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at));

-- insert
INSERT INTO orders (tenant_id, order_id, external_order_id, kind, customer_id, customer_name_snapshot, customer_email_snapshot, total_amount, currency, order_status, order_date, raw_payload, created_at, source_sequence)
SELECT %(tenant)s, s.order_id, s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at, %(sequence)s + s.line
FROM orders_staging s
LEFT JOIN orders o FORCE INDEX (PRIMARY)
  ON o.tenant_id = %(tenant)s AND o.order_id = s.order_id
WHERE s.mask = %(mask)s AND o.order_id IS NULL
ORDER BY s.order_id, s.line;

-- written days
SELECT DISTINCT DATE(t.order_date)
FROM orders_staging s
STRAIGHT_JOIN orders t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.order_id = s.order_id
WHERE s.mask = %(mask)s AND t.source_sequence = %(sequence)s + s.line
LOCK IN SHARE MODE;

-- equal
SELECT s.line
FROM orders_staging s
STRAIGHT_JOIN orders t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.order_id = s.order_id
WHERE s.mask = %(mask)s
  AND t.source_sequence <> %(sequence)s + s.line
  AND NOT (NOT ((t.external_order_id, t.kind, t.customer_id, t.customer_name_snapshot, t.customer_email_snapshot, t.total_amount, t.currency, t.order_status, t.order_date, t.raw_payload, t.created_at) <=> (s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at)));

-- renew
UPDATE orders_staging s
STRAIGHT_JOIN orders t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.order_id = s.order_id
SET t.source_sequence = %(sequence)s + s.line
WHERE s.mask = %(mask)s AND t.source_sequence < %(sequence)s + s.line
  AND NOT (NOT ((t.external_order_id, t.kind, t.customer_id, t.customer_name_snapshot, t.customer_email_snapshot, t.total_amount, t.currency, t.order_status, t.order_date, t.raw_payload, t.created_at) <=> (s.external_order_id, s.kind, s.customer_id, s.customer_name_snapshot, s.customer_email_snapshot, s.total_amount, s.currency, s.order_status, s.order_date, s.raw_payload, s.created_at)));

-- outrun
SELECT s.line
FROM orders_staging s
STRAIGHT_JOIN orders t FORCE INDEX (PRIMARY) ON t.tenant_id = %(tenant)s AND t.order_id = s.order_id
WHERE t.source_sequence < %(sequence)s + s.line;
