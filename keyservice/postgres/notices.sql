-- record_notice --
-- One row for each endpoint of the owner that wants it; none where there is none.
INSERT INTO notices (endpoint_id, notice_id, publisher_id, subject, type, object_id, occurred_at, recorded_at, due_at, body)
SELECT e.endpoint_id, $3, e.publisher_id, $4, $5, $6, $7, clock_timestamp(), clock_timestamp(), $8
  FROM webhook_endpoints e
 WHERE (e.caller_id = $1 OR e.publisher_id = $2) AND e.state = 'enabled'
   AND (cardinality(e.types) = 0 OR $4::text || '.' || $5::text = ANY(e.types));

-- record_test --
-- Of one endpoint, whatever it wants.
INSERT INTO notices (endpoint_id, notice_id, publisher_id, subject, type, object_id, occurred_at, recorded_at, due_at, body)
VALUES ($1, $2, $3, 'webhook', 'test', $4, $5, $5, $5, $6);

-- listening --
-- Who of these has an endpoint that something is sent to.
SELECT DISTINCT caller_id, publisher_id
  FROM webhook_endpoints
 WHERE (caller_id = ANY($1::integer[]) OR publisher_id = ANY($2::integer[])) AND state = 'enabled';

-- listening_callers --
SELECT DISTINCT caller_id FROM webhook_endpoints WHERE caller_id IS NOT NULL AND state = 'enabled';

-- lines_of_order --
SELECT order_id, line_number, line_item_id, product_ref, quantity FROM line_items WHERE order_id = $1 ORDER BY line_number;

-- endpoints_with_due_notices --
-- Those that failed last come last.
SELECT e.endpoint_id, e.failing_since
  FROM webhook_endpoints e
 WHERE e.state = 'enabled' AND (e.resumes_at IS NULL OR e.resumes_at <= $1)
   AND EXISTS (SELECT 1 FROM notices n WHERE n.endpoint_id = e.endpoint_id AND n.state = 'waiting' AND n.due_at <= $1)
 ORDER BY e.failing_since IS NOT NULL, e.endpoint_id
 LIMIT $2;

-- endpoint_to_send_to --
SELECT endpoint_id, publisher_id, url, data_key_id, wrapped_key, sealed_secret, sealed_previous_secret, previous_until,
       failing_since
  FROM webhook_endpoints
 WHERE endpoint_id = $1 AND state = 'enabled' AND (resumes_at IS NULL OR resumes_at <= $2);

-- due_notices --
-- Only the first that waits of each thing: what came later of it waits until that one is done with. Who is at one holds its
-- row, or has moved its time.
SELECT n.notice_id, n.publisher_id, n.body, n.attempts, n.failures
  FROM notices n
 WHERE n.endpoint_id = $1 AND n.state = 'waiting' AND n.due_at <= $2
   AND NOT EXISTS (SELECT 1
                     FROM notices earlier
                    WHERE earlier.endpoint_id = $1 AND earlier.subject = n.subject AND earlier.object_id = n.object_id
                      AND earlier.state = 'waiting' AND earlier.number < n.number)
 ORDER BY n.due_at, n.number
 LIMIT $3
   FOR UPDATE OF n SKIP LOCKED;

-- lease_notice --
UPDATE notices SET due_at = $3, attempts = attempts + 1 WHERE endpoint_id = $1 AND notice_id = $2;

-- deliver_notice --
-- It was taken, whoever else believes to be at it.
UPDATE notices SET state = 'delivered', delivered_at = $3 WHERE endpoint_id = $1 AND notice_id = $2;

-- put_notice_off --
-- Nothing when somebody else is at it by now.
UPDATE notices
   SET due_at = $4, failures = failures + 1
 WHERE endpoint_id = $1 AND notice_id = $2 AND attempts = $3 AND state = 'waiting';

-- give_notice_up --
UPDATE notices
   SET state = 'failed', failures = failures + 1
 WHERE endpoint_id = $1 AND notice_id = $2 AND attempts = $3 AND state = 'waiting';

-- insert_delivery --
INSERT INTO notice_deliveries (endpoint_id, delivery_id, notice_id, publisher_id, attempt, started_at, http_status, error,
                               seconds)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- endpoint_works --
UPDATE webhook_endpoints SET failing_since = NULL WHERE endpoint_id = $1 AND failing_since IS NOT NULL;

-- endpoint_fails --
UPDATE webhook_endpoints SET failing_since = $2 WHERE endpoint_id = $1 AND failing_since IS NULL;

-- endpoint_rests --
UPDATE webhook_endpoints SET resumes_at = $2 WHERE endpoint_id = $1;

-- endpoint_is_gone --
UPDATE webhook_endpoints SET state = 'gone', gone_at = $2 WHERE endpoint_id = $1 AND state <> 'gone';

-- endpoints_with_old_notices --
SELECT DISTINCT endpoint_id FROM notices WHERE recorded_at < $1 LIMIT 100;

-- old_notices --
SELECT notice_id FROM notices WHERE endpoint_id = $1 AND recorded_at < $2 ORDER BY recorded_at LIMIT $3;

-- forget_deliveries --
DELETE FROM notice_deliveries WHERE endpoint_id = $1 AND notice_id = ANY($2::uuid[]);

-- forget_notices --
DELETE FROM notices WHERE endpoint_id = $1 AND notice_id = ANY($2::uuid[]);

-- endpoints_long_gone --
SELECT endpoint_id FROM webhook_endpoints WHERE gone_at < $1 LIMIT 100;

-- forget_endpoint --
DELETE FROM webhook_endpoints WHERE endpoint_id = $1;
