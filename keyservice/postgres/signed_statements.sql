-- publisher --
SELECT handle, name, clock_timestamp() AS now, (clock_timestamp() AT TIME ZONE 'UTC')::date AS today
  FROM publishers
 WHERE publisher_id = $1;

-- pool --
SELECT name, state, days_left_min FROM pools WHERE publisher_id = $1 AND pool_id = $2;

-- segments_in_order --
SELECT segment_id, state, expires_on
  FROM segments
 WHERE publisher_id = $1 AND batch_id = $2
 ORDER BY expires_on NULLS LAST;

-- keys_of_segment --
SELECT k.position, k.row_number, k.publisher_key_id, c.state AS claim_state, c.claimed_at, c.disclosed_at, c.ended_at, c.end_reason
  FROM (SELECT position, row_number, publisher_key_id
          FROM keys
         WHERE publisher_id = $1 AND segment_id = $2 AND position > $3
         ORDER BY publisher_id, segment_id, position
         LIMIT $4) AS k
  LEFT JOIN LATERAL (SELECT state, claimed_at, disclosed_at, ended_at, end_reason
                       FROM claims
                      WHERE publisher_id = $1 AND segment_id = $2 AND state <> 'released'
                        AND position >= k.position AND position <= k.position
                      ORDER BY publisher_id, segment_id, position
                      LIMIT 1) AS c ON true
 ORDER BY k.position;

-- batches_of_period --
SELECT batch_id
  FROM batches
 WHERE publisher_id = $1 AND batch_id > $2 AND finished_at >= $3 AND finished_at < $4 AND NOT is_dry_run
 ORDER BY publisher_id, batch_id
 LIMIT $5;

-- claims_of_period --
-- One pass over the publisher's claims: nothing on their way pays for an index that a statement needs once a month.
SELECT claim_id, segment_id, position, state, claimed_at, disclosed_at, ended_at, end_reason
  FROM claims
 WHERE publisher_id = $1 AND claim_id > $2 AND state <> 'released'
   AND ((claimed_at >= $3 AND claimed_at < $4) OR (disclosed_at >= $3 AND disclosed_at < $4) OR (ended_at >= $3 AND ended_at < $4))
 ORDER BY publisher_id, claim_id
 LIMIT $5;
