-- caller_by_token --
SELECT caller_id, kind, name, publisher_id, scopes, token_hash, validation_profile, cancel_period_days, revoked_at, is_sandbox,
       requests_per_second, requests_burst, requests_per_day
  FROM callers
 WHERE token_id = $1;

-- insert_caller --
INSERT INTO callers (caller_id, kind, name, publisher_id, scopes, token_id, token_hash, validation_profile, cancel_period_days,
                     is_sandbox, requests_per_second, requests_burst, requests_per_day, created_at)
VALUES (nextval('caller_ids'), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp())
RETURNING caller_id;

-- list_callers --
-- A page behind the id $1, or all of them.
SELECT c.caller_id, c.kind, c.name, p.handle, c.scopes, c.token_id, c.created_at, c.revoked_at, c.validation_profile,
       c.cancel_period_days, c.is_sandbox, c.requests_per_second, c.requests_burst, c.requests_per_day
  FROM callers c
  LEFT JOIN publishers p ON p.publisher_id = c.publisher_id
 WHERE c.caller_id > $1
 ORDER BY c.caller_id
 LIMIT $2::bigint;

-- read_caller --
SELECT c.caller_id, c.kind, c.name, p.handle, c.scopes, c.token_id, c.created_at, c.revoked_at, c.validation_profile,
       c.cancel_period_days, c.is_sandbox, c.requests_per_second, c.requests_burst, c.requests_per_day
  FROM callers c
  LEFT JOIN publishers p ON p.publisher_id = c.publisher_id
 WHERE c.caller_id = $1;

-- set_limits --
-- Each limit is changed only where it is named.
UPDATE callers
   SET requests_per_second = CASE WHEN $2::boolean THEN $3::integer ELSE requests_per_second END,
       requests_burst = CASE WHEN $4::boolean THEN $5::integer ELSE requests_burst END,
       requests_per_day = CASE WHEN $6::boolean THEN $7::integer ELSE requests_per_day END
 WHERE caller_id = $1
RETURNING requests_per_second, requests_burst, requests_per_day;

-- revoke_caller --
UPDATE callers SET revoked_at = clock_timestamp() WHERE name = $1 AND revoked_at IS NULL RETURNING caller_id;

-- revoke_caller_by_id --
UPDATE callers SET revoked_at = clock_timestamp() WHERE caller_id = $1 AND revoked_at IS NULL;

-- publisher_by_handle --
SELECT publisher_id FROM publishers WHERE handle = $1;

-- insert_publisher --
INSERT INTO publishers (publisher_id, handle, name, created_at)
VALUES (nextval('publisher_ids'), $1, $2, clock_timestamp())
RETURNING publisher_id;

-- products_by_ref --
SELECT p.product_ref, p.publisher_id, p.name, p.publisher_product_id, t.template_id, t.name AS template_name, t.quantity_mode,
       t.block_size, t.source_plan
  FROM products p
  JOIN fulfillment_templates t ON t.template_id = p.template_id
 WHERE p.product_ref = ANY($1::bigint[]) AND p.state = 'active';

-- source_plan --
SELECT source_plan FROM fulfillment_templates WHERE template_id = $1;

-- check_values --
SELECT secret_name, check_value FROM secret_check_values;

-- insert_check_value --
INSERT INTO secret_check_values (secret_name, check_value, created_at) VALUES ($1, $2, clock_timestamp())
ON CONFLICT (secret_name) DO NOTHING;
