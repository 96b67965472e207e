-- lock_pools --
-- Whoever changes a pool's segments holds this row first, so what is read behind it is exact until the commit.
-- NO KEY: an upload that refers to the pool is not held up.
SELECT pool_id, policy, warning_level, alert_level, alarm, state, clock_timestamp() AS now
  FROM pools
 WHERE publisher_id = $1 AND pool_id = ANY($2::uuid[])
 ORDER BY pool_id
   FOR NO KEY UPDATE;

-- segments_for_sale --
SELECT pool_id, segment_id, expires_on, loaded, next_position, returned_count
  FROM segments
 WHERE publisher_id = $1 AND pool_id = ANY($2::uuid[]) AND state = 'open' AND (expires_on IS NULL OR expires_on >= $3);

-- returned_positions --
SELECT r.segment_id, r.position
  FROM unnest($2::bigint[]) AS wanted (segment_id)
 CROSS JOIN LATERAL (SELECT segment_id, position
                       FROM returned
                      WHERE publisher_id = $1 AND segment_id = wanted.segment_id
                      ORDER BY position
                      LIMIT $3) AS r;

-- read_keys --
-- LATERAL and LIMIT: one index probe per key, whatever the planner believes about the table's size.
SELECT x.segment_id, x.position, k.sealed, k.mime, k.name
  FROM unnest($2::bigint[], $3::integer[]) AS x (segment_id, position)
 CROSS JOIN LATERAL (SELECT sealed, mime, name
                       FROM keys
                      WHERE publisher_id = $1 AND segment_id = x.segment_id AND position = x.position
                      LIMIT 1) AS k;

-- insert_claims --
-- Crossed with a row of the same publisher, so that a distributed database sees one statement for one shard.
INSERT INTO claims (publisher_id, claim_id, segment_id, position, unit_id, order_id, state, claimed_at, disclosed_at)
SELECT p.publisher_id, x.claim_id, x.segment_id, x.position, x.unit_id, x.order_id, x.state, $8, x.disclosed_at
  FROM pools p
 CROSS JOIN unnest($3::uuid[], $4::bigint[], $5::integer[], $6::uuid[], $7::uuid[], $9::text[], $10::timestamptz[])
         AS x (claim_id, segment_id, position, unit_id, order_id, state, disclosed_at)
 WHERE p.publisher_id = $1 AND p.pool_id = $2;

-- move_cursor --
UPDATE segments
   SET next_position = $3, returned_count = $4, state = $5
 WHERE publisher_id = $1 AND segment_id = $2;

-- take_returned --
DELETE FROM returned WHERE publisher_id = $1 AND segment_id = $2 AND position = $3;

-- put_returned --
INSERT INTO returned (publisher_id, segment_id, position) VALUES ($1, $2, $3);

-- set_alarm --
UPDATE pools SET alarm = $3 WHERE publisher_id = $1 AND pool_id = $2;

-- insert_publisher_event --
INSERT INTO publisher_events (publisher_id, event_id, pool_id, batch_id, caller_id, name, facts, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- data_keys --
SELECT data_key_id, batch_id, wrapped FROM data_keys WHERE publisher_id = $1 AND data_key_id = ANY($2::bigint[]);

-- insert_data_key --
INSERT INTO data_keys (publisher_id, data_key_id, batch_id, wrapped, created_at) VALUES ($1, $2, $3, $4, $5);

-- claims_of_units --
SELECT c.claim_id, c.segment_id, c.position, c.unit_id, c.state, c.disclosed_at, c.ended_at, c.end_reason
  FROM claims c
 WHERE c.publisher_id = $1 AND c.claim_id = ANY($2::uuid[]);

-- end_claim --
UPDATE claims SET state = $3, ended_at = $4, end_reason = $5 WHERE publisher_id = $1 AND claim_id = $2;

-- pools_of_segments --
SELECT segment_id, pool_id FROM segments WHERE publisher_id = $1 AND segment_id = ANY($2::bigint[]);

-- stock_of_pools --
-- Exact and cheap: arithmetic over the segments that are for sale, never a count of keys.
SELECT p.pool_id, p.warning_level, p.alert_level,
       CASE WHEN p.state = 'open' THEN coalesce(sum(s.loaded - s.next_position + 1 + s.returned_count), 0) ELSE 0 END AS left_over
  FROM pools p
  LEFT JOIN segments s ON s.publisher_id = p.publisher_id AND s.pool_id = p.pool_id AND s.state = 'open'
                      AND (s.expires_on IS NULL OR s.expires_on >= (clock_timestamp() AT TIME ZONE 'UTC')::date)
 WHERE p.publisher_id = $1 AND p.pool_id = ANY($2::uuid[])
 GROUP BY p.pool_id, p.warning_level, p.alert_level, p.state;

-- count_returned --
UPDATE segments
   SET returned_count = returned_count + $3, state = CASE state WHEN 'exhausted' THEN 'open' ELSE state END
 WHERE publisher_id = $1 AND segment_id = $2;
