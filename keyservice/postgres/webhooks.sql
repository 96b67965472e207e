-- next_data_key_id --
SELECT nextval('data_key_ids');

-- one_registration_at_a_time --
-- Its endpoints are counted one after the other.
SELECT pg_advisory_xact_lock(hashtext('webhooks'), $1::integer);

-- count_endpoints --
SELECT count(*) AS all_of_them, count(*) FILTER (WHERE state <> 'gone') AS living
  FROM webhook_endpoints
 WHERE caller_id = $1 OR publisher_id = $2;

-- insert_endpoint --
INSERT INTO webhook_endpoints (endpoint_id, caller_id, publisher_id, url, types, data_key_id, wrapped_key, sealed_secret,
                               created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp());

-- endpoints --
SELECT endpoint_id, url, types, state, created_at, failing_since, resumes_at, previous_until, gone_at
  FROM webhook_endpoints
 WHERE (caller_id = $1 OR publisher_id = $2) AND ($3::uuid IS NULL OR endpoint_id > $3)
 ORDER BY endpoint_id
 LIMIT $4;

-- endpoint --
SELECT endpoint_id, url, types, state, created_at, failing_since, resumes_at, previous_until, gone_at
  FROM webhook_endpoints
 WHERE endpoint_id = $3 AND (caller_id = $1 OR publisher_id = $2);

-- lock_endpoint --
SELECT endpoint_id, publisher_id, url, types, state, data_key_id, wrapped_key, sealed_secret, clock_timestamp() AS now
  FROM webhook_endpoints
 WHERE endpoint_id = $3 AND (caller_id = $1 OR publisher_id = $2)
   FOR UPDATE;

-- change_endpoint --
-- Whoever changes it means it to be tried anew.
UPDATE webhook_endpoints
   SET url = $2, types = $3, state = $4, gone_at = $5, resumes_at = NULL
 WHERE endpoint_id = $1;

-- set_secret --
UPDATE webhook_endpoints
   SET sealed_previous_secret = sealed_secret, previous_until = $3, sealed_secret = $2
 WHERE endpoint_id = $1;

-- deliveries --
SELECT d.delivery_id, d.notice_id, d.attempt, d.started_at, d.http_status, d.error, d.seconds
  FROM notice_deliveries d
 WHERE d.endpoint_id = $1 AND ($2::uuid IS NULL OR d.delivery_id < $2)
 ORDER BY d.delivery_id DESC
 LIMIT $3;

-- notices --
SELECT notice_id, subject, type, object_id, occurred_at, state, attempts, due_at, delivered_at
  FROM notices
 WHERE endpoint_id = $1 AND ($2::uuid IS NULL OR notice_id < $2)
 ORDER BY notice_id DESC
 LIMIT $3;

-- replay_notice --
-- One that still waits is sent now.
UPDATE notices
   SET state = 'waiting', due_at = $3, failures = 0
 WHERE endpoint_id = $1 AND notice_id = $2
RETURNING notice_id;

-- replay_failed --
UPDATE notices
   SET state = 'waiting', due_at = $3, failures = 0
 WHERE endpoint_id = $1 AND state = 'failed' AND recorded_at >= $2
RETURNING notice_id;
