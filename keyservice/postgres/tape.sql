-- lock_pools --
-- Whoever changes a pool's segments holds this row first, so what is read behind it is exact until the commit.
-- NO KEY: an upload that refers to the pool is not held up. The clock is read outside, when the row is locked.
-- One after the other, as they come: whoever asks names them in ascending order. One index probe for each, since PostgreSQL
-- before 17 reads all pools of the publisher for an ANY that is to come in order.
SELECT p.pool_id, p.policy, p.warning_level, p.alert_level, p.alarm, p.state, p.days_left_min, p.is_sandbox, p.backordered,
       clock_timestamp() AS now
  FROM unnest($2::uuid[]) AS x (pool_id)
 CROSS JOIN LATERAL (SELECT pool_id, policy, warning_level, alert_level, alarm, state, days_left_min, is_sandbox, backordered
                       FROM pools
                      WHERE publisher_id = $1 AND pool_id = x.pool_id
                        FOR NO KEY UPDATE) AS p;

-- segments_for_sale --
-- From the earliest day of any of the pools: each of them may sell less close to a key's end.
-- OFFSET 0 keeps each pool's probe apart.
SELECT s.pool_id, s.segment_id, s.expires_on, s.priority, s.loaded, s.next_position, s.returned_count, s.withdrawn_count,
       s.withdrawn_ahead
  FROM unnest($2::uuid[]) AS x (pool_id)
 CROSS JOIN LATERAL (SELECT pool_id, segment_id, expires_on, priority, loaded, next_position, returned_count,
                            withdrawn_count, withdrawn_ahead
                       FROM segments
                      WHERE publisher_id = $1 AND pool_id = x.pool_id AND state = 'open'
                        AND (expires_on IS NULL OR expires_on >= $3)
                     OFFSET 0) AS s;

-- returned_positions --
SELECT r.segment_id, r.position
  FROM unnest($2::bigint[]) AS wanted (segment_id)
 CROSS JOIN LATERAL (SELECT segment_id, position
                       FROM returned
                      WHERE publisher_id = $1 AND segment_id = wanted.segment_id
                      ORDER BY position
                      LIMIT $3) AS r;

-- withdrawn_positions --
-- From each segment's position on. Nothing ahead of a cursor is claimed but what was withdrawn.
SELECT c.segment_id, c.position
  FROM unnest($2::bigint[], $3::integer[]) AS wanted (segment_id, first_position)
 CROSS JOIN LATERAL (SELECT segment_id, position
                       FROM claims
                      WHERE publisher_id = $1 AND segment_id = wanted.segment_id AND position >= wanted.first_position
                        AND state <> 'released'
                      ORDER BY position
                      LIMIT $4) AS c;

-- read_keys --
-- A range of one place, in order: with sorts disabled only the primary key can serve it. With equalities the planner takes any
-- index that begins with publisher_id while the table is small, and reads all keys of the publisher by it once it is large.
SELECT x.segment_id, x.position, k.sealed, k.mime, k.name
  FROM unnest($2::bigint[], $3::integer[]) AS x (segment_id, position)
 CROSS JOIN LATERAL (SELECT sealed, mime, name
                       FROM keys
                      WHERE publisher_id = $1 AND segment_id >= x.segment_id AND segment_id <= x.segment_id
                        AND position >= x.position AND position <= x.position
                      ORDER BY segment_id, position
                      LIMIT 1) AS k;

-- insert_claims --
-- Crossed with a row of the same publisher, so that a distributed database sees one statement for one shard.
INSERT INTO claims (publisher_id, claim_id, segment_id, position, unit_id, order_id, state, claimed_at, disclosed_at)
SELECT p.publisher_id, x.claim_id, x.segment_id, x.position, x.unit_id, x.order_id, x.state, $8, x.disclosed_at
  FROM pools p
 CROSS JOIN unnest($3::uuid[], $4::bigint[], $5::integer[], $6::uuid[], $7::uuid[], $9::text[], $10::timestamptz[])
         AS x (claim_id, segment_id, position, unit_id, order_id, state, disclosed_at)
 WHERE p.publisher_id = $1 AND p.pool_id = $2;

-- insert_withdrawals --
-- Crossed with a row of the same publisher, as above. Nobody ever had these keys, so there is no unit.
INSERT INTO claims (publisher_id, claim_id, segment_id, position, state, claimed_at, ended_at, end_reason)
SELECT p.publisher_id, x.claim_id, x.segment_id, x.position, 'withdrawn', $6, $6, $7
  FROM pools p
 CROSS JOIN unnest($3::uuid[], $4::bigint[], $5::integer[]) AS x (claim_id, segment_id, position)
 WHERE p.publisher_id = $1 AND p.pool_id = $2;

-- count_withdrawn --
-- $3 of them lie ahead of the cursor, $4 had come back.
UPDATE segments
   SET withdrawn_count = withdrawn_count + $3 + $4,
       withdrawn_ahead = withdrawn_ahead + $3,
       returned_count = returned_count - $4,
       state = CASE WHEN state = 'open'
                     AND loaded - next_position + 1 - withdrawn_ahead + returned_count = $3::integer + $4::integer
                    THEN 'exhausted' ELSE state END
 WHERE publisher_id = $1 AND segment_id = $2;

-- move_cursor --
UPDATE segments
   SET next_position = $3, returned_count = $4, withdrawn_ahead = $5, withdrawn_count = $6, state = $7
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
SELECT d.data_key_id, d.batch_id, d.wrapped
  FROM unnest($2::bigint[]) AS x (data_key_id)
 CROSS JOIN LATERAL (SELECT data_key_id, batch_id, wrapped
                       FROM data_keys
                      WHERE publisher_id = $1 AND data_key_id = x.data_key_id
                      LIMIT 1) AS d;

-- insert_data_key --
INSERT INTO data_keys (publisher_id, data_key_id, batch_id, wrapped, created_at) VALUES ($1, $2, $3, $4, $5);

-- claims_of_units --
SELECT c.claim_id, c.segment_id, c.position, c.unit_id, c.state, c.disclosed_at, c.ended_at, c.end_reason, c.key_request_id,
       c.life
  FROM claims c
 WHERE c.publisher_id = $1 AND c.claim_id = ANY($2::uuid[]);

-- issue_claim --
-- A hold that is paid: the answer that follows the commit shows the key.
UPDATE claims SET state = 'issued', disclosed_at = $3 WHERE publisher_id = $1 AND claim_id = $2;

-- disclose_claims --
UPDATE claims SET disclosed_at = $3 WHERE publisher_id = $1 AND claim_id = ANY ($2::uuid[]) AND disclosed_at IS NULL;

-- end_claim --
UPDATE claims SET state = $3, ended_at = $4, end_reason = $5 WHERE publisher_id = $1 AND claim_id = $2;

-- revive_claim --
-- Its publisher has enabled the license again.
UPDATE claims SET state = 'issued', ended_at = NULL, end_reason = NULL, life = life + 1
 WHERE publisher_id = $1 AND claim_id = $2 AND state = 'revoked'
RETURNING claim_id, segment_id, position, life - 1 AS life;

-- pools_of_segments --
SELECT segment_id, pool_id FROM segments WHERE publisher_id = $1 AND segment_id = ANY($2::bigint[]);

-- stock_of_pools --
-- Exact and cheap: arithmetic over the segments that are for sale, pool by pool, never a count of keys.
SELECT p.pool_id, p.warning_level, p.alert_level, p.is_sandbox, p.backordered,
       CASE WHEN p.state = 'open' THEN coalesce(s.unsold, 0) ELSE 0 END AS left_over
  FROM unnest($2::uuid[]) AS x (pool_id)
 CROSS JOIN LATERAL (SELECT pool_id, warning_level, alert_level, is_sandbox, backordered, state, days_left_min
                       FROM pools
                      WHERE publisher_id = $1 AND pool_id = x.pool_id
                      LIMIT 1) AS p
 CROSS JOIN LATERAL (SELECT sum(loaded - next_position + 1 - withdrawn_ahead + returned_count) AS unsold
                       FROM segments
                      WHERE publisher_id = $1 AND pool_id = p.pool_id AND state = 'open'
                        AND (expires_on IS NULL
                             OR expires_on >= (clock_timestamp() AT TIME ZONE 'UTC')::date + p.days_left_min)) AS s;

-- count_returned --
UPDATE segments
   SET returned_count = returned_count + $3, state = CASE state WHEN 'exhausted' THEN 'open' ELSE state END
 WHERE publisher_id = $1 AND segment_id = $2;
