-- insert_backorders --
-- Crossed with a row of the same publisher, so that a distributed database sees one statement for one shard.
INSERT INTO backorders (publisher_id, pool_id, unit_id, order_id, paid_at, order_number, line_number, unit_number)
SELECT p.publisher_id, x.pool_id, x.unit_id, x.order_id, x.paid_at, x.order_number, x.line_number, x.unit_number
  FROM pools p
 CROSS JOIN unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::timestamptz[], $7::bigint[], $8::integer[], $9::integer[])
         AS x (pool_id, unit_id, order_id, paid_at, order_number, line_number, unit_number)
 WHERE p.publisher_id = $1 AND p.pool_id = $2;

-- count_backordered --
UPDATE pools SET backordered = backordered + $3 WHERE publisher_id = $1 AND pool_id = $2;

-- publishers_with_backlog --
SELECT publisher_id FROM pools WHERE backordered > 0 GROUP BY publisher_id ORDER BY publisher_id;

-- pools_that_are_waited_for --
-- Those that have something for sale.
SELECT p.pool_id
  FROM pools p
 CROSS JOIN LATERAL (SELECT segment_id FROM segments WHERE publisher_id = $1 AND pool_id = p.pool_id AND state = 'open' LIMIT 1) AS s
 WHERE p.publisher_id = $1 AND p.backordered > 0 AND p.state = 'open'
 ORDER BY p.publisher_id, p.pool_id;

-- waiting_in_turn --
-- Who has paid first comes first.
SELECT unit_id, order_id
  FROM backorders
 WHERE publisher_id = $1 AND pool_id = $2
 ORDER BY publisher_id, pool_id, paid_at, order_number, line_number, unit_number
 LIMIT $3;

-- still_waiting --
-- A row for each pool that a unit waits for.
SELECT unit_id, pool_id, order_id, paid_at, order_number, line_number, unit_number
  FROM backorders
 WHERE publisher_id = $1 AND unit_id = ANY ($2::uuid[]);

-- delete_backorder --
DELETE FROM backorders WHERE publisher_id = $1 AND unit_id = $2;

-- one_round_at_a_time --
-- Held through the pause behind the round, in a transaction that does nothing else.
SELECT pg_try_advisory_xact_lock(hashtext('serve backorders'));

-- one_filler_at_a_time --
-- Held until the transaction ends; whoever does not get it leaves the pool to the one who has it.
SELECT pg_try_advisory_xact_lock($1, hashtext($2::uuid::text));
