-- products_of_pools --
-- Active products by the pools that their source plans name.
SELECT (step.value ->> 'pool')::uuid AS pool_id, p.product_ref, p.publisher_product_id, t.name AS template_name
  FROM fulfillment_templates t
 CROSS JOIN LATERAL jsonb_array_elements(t.source_plan -> 'steps') AS step (value)
  JOIN products p ON p.publisher_id = t.publisher_id AND p.template_id = t.template_id AND p.state = 'active'
 WHERE t.publisher_id = $1 AND (step.value ->> 'pool')::uuid = ANY($2::uuid[])
 ORDER BY p.product_ref;

-- stock_of_pools --
-- Arithmetic over the segments, in one statement so that the numbers fit each other. Only dead claims are counted one by one,
-- by the index that holds nothing else.
SELECT p.pool_id, t.available, t.taken, t.withdrawn, d.revoked, d.replaced
  FROM pools p
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(x.unsold) FILTER (
                  WHERE s.state IN ('open', 'exhausted')
                    AND (s.expires_on IS NULL
                         OR s.expires_on >= (clock_timestamp() AT TIME ZONE 'UTC')::date + p.days_left_min)), 0) AS available,
              coalesce(sum(s.next_position - 1 - s.returned_count - (s.withdrawn_count - s.withdrawn_ahead)), 0) AS taken,
              coalesce(sum(s.withdrawn_count), 0) + coalesce(sum(x.unsold) FILTER (WHERE s.state = 'withdrawn'), 0) AS withdrawn
         FROM batches b
         JOIN segments s ON s.publisher_id = b.publisher_id AND s.batch_id = b.batch_id
        CROSS JOIN LATERAL (SELECT s.loaded - s.next_position + 1 - s.withdrawn_ahead + s.returned_count AS unsold) AS x
        WHERE b.publisher_id = p.publisher_id AND b.pool_id = p.pool_id AND NOT b.is_dry_run) AS t
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE c.state = 'revoked') AS revoked, count(*) FILTER (WHERE c.state = 'replaced') AS replaced
         FROM batches b
         JOIN segments s ON s.publisher_id = b.publisher_id AND s.batch_id = b.batch_id
         JOIN claims c ON c.publisher_id = s.publisher_id AND c.segment_id = s.segment_id
                      AND c.state IN ('revoked', 'replaced')
        WHERE b.publisher_id = p.publisher_id AND b.pool_id = p.pool_id AND NOT b.is_dry_run) AS d
 WHERE p.publisher_id = $1 AND p.pool_id = ANY($2::uuid[]);

-- packages --
-- Of one publisher, or of all for who may cross publishers. $4 is a field and a direction.
SELECT p.publisher_id, u.handle, p.pool_id, p.name, p.warning_level, p.state
  FROM pools p
  JOIN publishers u ON u.publisher_id = p.publisher_id
 WHERE ($1::integer IS NULL OR p.publisher_id = $1) AND p.connector_id IS NULL
   AND (($2::bigint IS NULL AND $3::text IS NULL)
        OR EXISTS (SELECT 1
                     FROM products x
                     JOIN fulfillment_templates t ON t.template_id = x.template_id
                    CROSS JOIN LATERAL jsonb_array_elements(t.source_plan -> 'steps') AS step (value)
                    WHERE x.publisher_id = p.publisher_id AND x.state = 'active'
                      AND (x.product_ref = $2 OR $2 IS NULL) AND (x.publisher_product_id = $3 OR $3 IS NULL)
                      AND (step.value ->> 'pool')::uuid = p.pool_id))
 ORDER BY CASE $4::text WHEN 'name,asc' THEN p.name WHEN 'status,asc' THEN p.state END,
          CASE $4::text WHEN 'name,desc' THEN p.name WHEN 'status,desc' THEN p.state END DESC,
          CASE $4::text WHEN 'threshold,asc' THEN p.warning_level END,
          CASE $4::text WHEN 'threshold,desc' THEN p.warning_level END DESC,
          CASE $4::text WHEN 'id,desc' THEN p.pool_id END DESC,
          p.pool_id
 LIMIT $5 OFFSET $6;

-- count_packages --
SELECT count(*)
  FROM pools p
 WHERE ($1::integer IS NULL OR p.publisher_id = $1) AND p.connector_id IS NULL
   AND (($2::bigint IS NULL AND $3::text IS NULL)
        OR EXISTS (SELECT 1
                     FROM products x
                     JOIN fulfillment_templates t ON t.template_id = x.template_id
                    CROSS JOIN LATERAL jsonb_array_elements(t.source_plan -> 'steps') AS step (value)
                    WHERE x.publisher_id = p.publisher_id AND x.state = 'active'
                      AND (x.product_ref = $2 OR $2 IS NULL) AND (x.publisher_product_id = $3 OR $3 IS NULL)
                      AND (step.value ->> 'pool')::uuid = p.pool_id));

-- package --
SELECT p.publisher_id, u.handle, p.pool_id, p.name, p.warning_level, p.state
  FROM pools p
  JOIN publishers u ON u.publisher_id = p.publisher_id
 WHERE p.publisher_id = $1 AND p.pool_id = $2 AND p.connector_id IS NULL;

-- own_template --
SELECT template_id FROM fulfillment_templates WHERE publisher_id = $1 AND name = $2;

-- own_products --
-- Also those that nobody can order any more.
SELECT product_ref, publisher_product_id FROM products WHERE publisher_id = $1 AND product_ref = ANY($2::bigint[]);

-- bind_product --
-- What nobody can order any more can be ordered again.
UPDATE products
   SET template_id = coalesce($3, template_id), publisher_product_id = coalesce($4, publisher_product_id), state = 'active'
 WHERE publisher_id = $1 AND product_ref = $2;

-- disable_product --
UPDATE products SET state = 'disabled' WHERE publisher_id = $1 AND product_ref = $2;
