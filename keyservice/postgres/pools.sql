-- insert_pool --
INSERT INTO pools (publisher_id, pool_id, name, policy, warning_level, alert_level, alarm, is_sandbox, days_left_min,
                   created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp())
RETURNING created_at;

-- pool --
SELECT pool_id, name, policy, warning_level, alert_level, days_left_min, is_sandbox, state, created_at
  FROM pools
 WHERE publisher_id = $1 AND pool_id = $2 AND connector_id IS NULL;

-- pools --
-- In the order in which they were created. What a connector's keys are recorded in is not the publisher's to manage.
SELECT pool_id, name, policy, warning_level, alert_level, days_left_min, is_sandbox, state, created_at
  FROM pools
 WHERE publisher_id = $1 AND connector_id IS NULL AND ($2::uuid IS NULL OR pool_id > $2)
 ORDER BY pool_id
 LIMIT $3;

-- change_pool --
UPDATE pools SET name = $3, policy = $4, warning_level = $5, alert_level = $6, days_left_min = $7, state = $8
 WHERE publisher_id = $1 AND pool_id = $2;

-- own_pools --
SELECT pool_id FROM pools WHERE publisher_id = $1 AND pool_id = ANY($2::uuid[]) AND connector_id IS NULL;

-- publishers --
SELECT publisher_id, handle, name, created_at FROM publishers WHERE publisher_id > $1 ORDER BY publisher_id LIMIT $2;

-- publisher --
SELECT publisher_id, handle, name, created_at FROM publishers WHERE publisher_id = $1;

-- insert_template --
INSERT INTO fulfillment_templates (template_id, publisher_id, name, quantity_mode, block_size, source_plan, created_at)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp());

-- templates --
SELECT template_id, publisher_id, name, quantity_mode, block_size, source_plan
  FROM fulfillment_templates
 WHERE publisher_id = $1 AND ($2::uuid IS NULL OR template_id > $2)
 ORDER BY template_id
 LIMIT $3;

-- template --
SELECT template_id, publisher_id, name, quantity_mode, block_size, source_plan
  FROM fulfillment_templates
 WHERE publisher_id = $1 AND template_id = $2;

-- insert_product --
INSERT INTO products (product_ref, publisher_id, template_id, name, publisher_product_id, created_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp());

-- products --
SELECT product_ref, template_id, name, publisher_product_id, state
  FROM products
 WHERE publisher_id = $1 AND product_ref > $2
 ORDER BY product_ref
 LIMIT $3;

-- events --
SELECT event_id, pool_id, batch_id, caller_id, name, facts, created_at
  FROM publisher_events
 WHERE publisher_id = $1 AND ($2::uuid IS NULL OR event_id > $2) AND ($3::uuid IS NULL OR pool_id = $3)
 ORDER BY event_id
 LIMIT $4;
