-- insert_revocation --
INSERT INTO revocations (publisher_id, revocation_id, claim_id, segment_id, position, life, kind, reason, happened_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- feed_end --
SELECT last_sequence, last_hash FROM revocation_feeds WHERE publisher_id = $1;

-- open_feed --
INSERT INTO revocation_feeds (publisher_id, last_sequence, last_hash) VALUES ($1, 0, $2)
ON CONFLICT (publisher_id) DO NOTHING;

-- lock_feed --
-- Who numbers entries holds this row: what is read behind it was committed before, and is numbered by nobody else.
SELECT last_sequence, last_hash FROM revocation_feeds WHERE publisher_id = $1 FOR NO KEY UPDATE;

-- move_feed --
UPDATE revocation_feeds SET last_sequence = $2, last_hash = $3 WHERE publisher_id = $1;

-- is_unnumbered --
SELECT EXISTS (SELECT FROM revocations WHERE publisher_id = $1 AND sequence IS NULL);

-- unnumbered --
SELECT revocation_id, segment_id, position, kind, reason, happened_at
  FROM revocations
 WHERE publisher_id = $1 AND sequence IS NULL
 ORDER BY publisher_id, happened_at, revocation_id
 LIMIT $2;

-- places --
-- What a publisher knows a place by. LATERAL and LIMIT: one index probe per key, whatever the planner believes.
SELECT x.segment_id, x.position, s.batch_id, k.row_number, k.publisher_key_id
  FROM unnest($2::bigint[], $3::integer[]) AS x (segment_id, position)
  LEFT JOIN LATERAL (SELECT batch_id FROM segments WHERE publisher_id = $1 AND segment_id = x.segment_id LIMIT 1) AS s ON true
  LEFT JOIN LATERAL (SELECT row_number, publisher_key_id
                       FROM keys
                      WHERE publisher_id = $1 AND segment_id = x.segment_id AND position = x.position
                      LIMIT 1) AS k ON true;

-- number_revocation --
UPDATE revocations SET sequence = $3, chain_hash = $4 WHERE publisher_id = $1 AND revocation_id = $2 AND sequence IS NULL;

-- entries --
SELECT sequence, chain_hash, acknowledged_at, revocation_id, segment_id, position, kind, reason, happened_at
  FROM revocations
 WHERE publisher_id = $1 AND sequence > $2
 ORDER BY publisher_id, sequence
 LIMIT $3;

-- unacknowledged_entries --
SELECT sequence, chain_hash, acknowledged_at, revocation_id, segment_id, position, kind, reason, happened_at
  FROM revocations
 WHERE publisher_id = $1 AND sequence > $2 AND acknowledged_at IS NULL
 ORDER BY publisher_id, sequence
 LIMIT $3;

-- hash_of_entry --
SELECT chain_hash FROM revocations WHERE publisher_id = $1 AND sequence = $2;

-- entry_of_revocation --
SELECT sequence, acknowledged_at FROM revocations WHERE publisher_id = $1 AND revocation_id = $2;

-- lock_entries --
-- In the order of their numbers, so that two who acknowledge at once wait for each other and not in a circle.
SELECT sequence, acknowledged_at
  FROM revocations
 WHERE publisher_id = $1 AND sequence = ANY($2::bigint[])
 ORDER BY publisher_id, sequence
   FOR NO KEY UPDATE;

-- lock_unacknowledged_entries --
SELECT sequence, acknowledged_at
  FROM revocations
 WHERE publisher_id = $1 AND sequence <= $2 AND acknowledged_at IS NULL
 ORDER BY publisher_id, sequence
 LIMIT $3
   FOR NO KEY UPDATE;

-- acknowledge --
-- Written for those that are acknowledged already too: only a commit proves that the first answer survived a failover.
UPDATE revocations
   SET acknowledged_at = coalesce(acknowledged_at, $3), acknowledged_by = coalesce(acknowledged_by, $4)
 WHERE publisher_id = $1 AND sequence = ANY($2::bigint[]);

-- publisher --
SELECT handle, clock_timestamp() AS now FROM publishers WHERE publisher_id = $1;
