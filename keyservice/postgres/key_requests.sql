-- insert_key_request --
-- The intent: committed before the first byte leaves.
INSERT INTO key_requests (publisher_id, key_request_id, license_ref, connector_id, connector_version, operation, order_id,
                          line_number, unit_ids, plan_step, is_test, reason, accepts_surplus, replaces_claim_id,
                          state, attempt, fence, next_at, give_up_at, fall_back_at, created_at, updated_at, settled_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16::integer, $17, $18, $19, $20, $20, $21);

-- due --
-- Of one connector, the longest overdue first.
SELECT key_request_id, fence
  FROM key_requests
 WHERE publisher_id = $1 AND connector_id = $2 AND next_at <= $3
 ORDER BY publisher_id, connector_id, next_at
 LIMIT $4;

-- take --
-- Whoever raises the fence is the only writer from then on. What somebody was at for too long may have been sent.
UPDATE key_requests
   SET state = CASE state WHEN 'planned' THEN 'sending' WHEN 'sending' THEN 'unknown' ELSE state END,
       attempt = attempt + 1, fence = fence + 1, next_at = $4, updated_at = $5
 WHERE publisher_id = $1 AND key_request_id = $2 AND fence = $3 AND next_at <= $5
RETURNING publisher_id, key_request_id, license_ref, connector_id, connector_version, operation, order_id, line_number, unit_ids,
          plan_step, is_test, reason, accepts_surplus, replaces_claim_id, state, attempt, fence, next_at, give_up_at, fall_back_at,
          request_sha256, refusal, error_code, error_message, http_status, publisher_license_id, created_at, updated_at, settled_at;

-- key_request --
SELECT publisher_id, key_request_id, license_ref, connector_id, connector_version, operation, order_id, line_number, unit_ids,
       plan_step, is_test, reason, accepts_surplus, replaces_claim_id, state, attempt, fence, next_at, give_up_at, fall_back_at,
       request_sha256, refusal, error_code, error_message, http_status, publisher_license_id, created_at, updated_at, settled_at
  FROM key_requests
 WHERE publisher_id = $1 AND key_request_id = $2;

-- lock_key_request --
SELECT publisher_id, key_request_id, license_ref, connector_id, connector_version, operation, order_id, line_number, unit_ids,
       plan_step, is_test, reason, accepts_surplus, replaces_claim_id, state, attempt, fence, next_at, give_up_at, fall_back_at,
       request_sha256, refusal, error_code, error_message, http_status, publisher_license_id, created_at, updated_at, settled_at
  FROM key_requests
 WHERE publisher_id = $1 AND key_request_id = $2
   FOR NO KEY UPDATE;

-- of_order --
-- Every request about an order, in the order in which they were made.
SELECT publisher_id, key_request_id, license_ref, connector_id, connector_version, operation, order_id, line_number, unit_ids,
       plan_step, is_test, reason, accepts_surplus, replaces_claim_id, state, attempt, fence, next_at, give_up_at, fall_back_at,
       request_sha256, refusal, error_code, error_message, http_status, publisher_license_id, created_at, updated_at, settled_at
  FROM key_requests
 WHERE publisher_id = $1 AND order_id = $2
 ORDER BY created_at, key_request_id;

-- lock_of_order --
SELECT publisher_id, key_request_id, license_ref, connector_id, connector_version, operation, order_id, line_number, unit_ids,
       plan_step, is_test, reason, accepts_surplus, replaces_claim_id, state, attempt, fence, next_at, give_up_at, fall_back_at,
       request_sha256, refusal, error_code, error_message, http_status, publisher_license_id, created_at, updated_at, settled_at
  FROM key_requests
 WHERE publisher_id = $1 AND order_id = $2
 ORDER BY key_request_id
   FOR NO KEY UPDATE;

-- abandon --
UPDATE key_requests
   SET state = 'abandoned', next_at = NULL, settled_at = $3, updated_at = $3, fence = fence + 1
 WHERE publisher_id = $1 AND key_request_id = $2;

-- ask_again --
-- What has ended without success is begun anew; whoever is at it from before is fenced off.
UPDATE key_requests
   SET state = 'planned', attempt = 0, fence = fence + 1, next_at = $3, updated_at = $3, settled_at = NULL,
       give_up_at = greatest(give_up_at, $4::timestamptz)
 WHERE publisher_id = $1 AND key_request_id = $2;

-- of_publisher --
-- A page of a publisher's requests, newest first; $2 is null for those of every state.
SELECT publisher_id, key_request_id, license_ref, connector_id, connector_version, operation, order_id, line_number, unit_ids,
       plan_step, is_test, reason, accepts_surplus, replaces_claim_id, state, attempt, fence, next_at, give_up_at, fall_back_at,
       request_sha256, refusal, error_code, error_message, http_status, publisher_license_id, created_at, updated_at, settled_at
  FROM key_requests
 WHERE publisher_id = $1 AND ($2::text[] IS NULL OR state = ANY($2)) AND ($3::uuid IS NULL OR key_request_id < $3)
 ORDER BY publisher_id DESC, key_request_id DESC
 LIMIT $4;

-- licenses_of_publisher --
-- A page of what a publisher was asked to create, newest first.
SELECT publisher_id, key_request_id, license_ref, connector_id, connector_version, operation, order_id, line_number, unit_ids,
       plan_step, is_test, reason, accepts_surplus, replaces_claim_id, state, attempt, fence, next_at, give_up_at, fall_back_at,
       request_sha256, refusal, error_code, error_message, http_status, publisher_license_id, created_at, updated_at, settled_at
  FROM key_requests
 WHERE publisher_id = $1 AND operation = 'create' AND ($2::uuid IS NULL OR key_request_id < $2)
 ORDER BY publisher_id DESC, key_request_id DESC
 LIMIT $3;

-- of_license --
SELECT publisher_id, key_request_id, license_ref, connector_id, connector_version, operation, order_id, line_number, unit_ids,
       plan_step, is_test, reason, accepts_surplus, replaces_claim_id, state, attempt, fence, next_at, give_up_at, fall_back_at,
       request_sha256, refusal, error_code, error_message, http_status, publisher_license_id, created_at, updated_at, settled_at
  FROM key_requests
 WHERE publisher_id = $1 AND license_ref = $2
 ORDER BY created_at, key_request_id;

-- settle --
-- What an attempt came to. next_at is null when nobody has to look at it again.
UPDATE key_requests
   SET state = $3, next_at = $4, settled_at = $5, request_sha256 = coalesce($6, request_sha256), refusal = $7, error_code = $8,
       error_message = $9, http_status = $10, publisher_license_id = coalesce($11, publisher_license_id), fence = $12,
       attempt = $13, updated_at = $14, fall_back_at = $15
 WHERE publisher_id = $1 AND key_request_id = $2;

-- insert_attempt --
INSERT INTO key_request_attempts (publisher_id, key_request_id, fence, operation, started_at, ended_at, outcome, refusal,
                                  error_code, error_message, http_status, seconds)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (publisher_id, key_request_id, fence) DO NOTHING;

-- attempts --
SELECT fence, operation, started_at, ended_at, outcome, refusal, error_code, error_message, http_status, seconds
  FROM key_request_attempts
 WHERE publisher_id = $1 AND key_request_id = $2
 ORDER BY fence;

-- insert_surplus --
INSERT INTO surplus_keys (publisher_id, surplus_id, key_request_id, segment_id, position, state, reason, created_at, settled_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- surplus_of_request --
SELECT surplus_id, segment_id, position, state, reason, created_at, settled_at
  FROM surplus_keys
 WHERE publisher_id = $1 AND key_request_id = $2;

-- settle_surplus --
UPDATE surplus_keys
   SET state = $3, settled_at = $4
 WHERE publisher_id = $1 AND key_request_id = $2 AND state IN ('open', 'voiding');

-- put_license_data --
INSERT INTO license_data (publisher_id, license_ref, segment_id, sealed, updated_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (publisher_id, license_ref) DO UPDATE
   SET segment_id = excluded.segment_id, sealed = excluded.sealed, updated_at = excluded.updated_at;

-- license_data --
SELECT segment_id, sealed FROM license_data WHERE publisher_id = $1 AND license_ref = $2;

-- requested_line --
-- Everything of an order line that a request may tell; the people are sealed.
SELECT o.order_id, o.order_number, o.partner_order_number, o.shopper_ref, o.ordered_at, o.currency, o.total_amount, o.is_test,
       o.caller_id, o.document AS order_document, l.line_number, l.line_item_id, l.quantity, l.product_ref,
       l.document AS line_document, p.sealed AS people, product.name AS product_name, product.publisher_product_id
  FROM orders o
  JOIN line_items l ON l.order_id = o.order_id
  LEFT JOIN order_people p ON p.order_id = o.order_id
  LEFT JOIN products product ON product.product_ref = l.product_ref
 WHERE o.order_id = $1 AND l.line_number = $2;
