-- key_of_fingerprint --
-- A range of one value, in order: with sorts disabled only the index on the fingerprint can serve it, also for a publisher
-- that the planner's statistics do not know.
SELECT publisher_id, segment_id, position
  FROM keys
 WHERE publisher_id = $1 AND fingerprint >= $2 AND fingerprint <= $2
 ORDER BY publisher_id, fingerprint
 LIMIT 1;

-- keys_of_suffix --
SELECT segment_id, position
  FROM keys
 WHERE publisher_id = $1 AND suffix_token >= $2 AND suffix_token <= $2
 ORDER BY publisher_id, suffix_token
 LIMIT $3;

-- key_details --
SELECT x.segment_id, x.position, k.row_number, k.publisher_key_id, s.batch_id, s.pool_id, s.state AS segment_state, s.expires_on,
       b.created_at AS uploaded_at, p.name AS pool_name, p.state AS pool_state, p.days_left_min,
       c.state AS claim_state, c.unit_id, c.order_id, c.claimed_at, c.disclosed_at, c.ended_at,
       (clock_timestamp() AT TIME ZONE 'UTC')::date AS today
  FROM unnest($2::bigint[], $3::integer[]) AS x (segment_id, position)
 CROSS JOIN LATERAL (SELECT row_number, publisher_key_id
                       FROM keys
                      WHERE publisher_id = $1 AND segment_id = x.segment_id AND position = x.position
                      LIMIT 1) AS k
 CROSS JOIN LATERAL (SELECT batch_id, pool_id, state, expires_on
                       FROM segments
                      WHERE publisher_id = $1 AND segment_id = x.segment_id
                      LIMIT 1) AS s
 CROSS JOIN LATERAL (SELECT created_at FROM batches WHERE publisher_id = $1 AND batch_id = s.batch_id LIMIT 1) AS b
 CROSS JOIN LATERAL (SELECT name, state, days_left_min FROM pools WHERE publisher_id = $1 AND pool_id = s.pool_id LIMIT 1) AS p
  LEFT JOIN LATERAL (SELECT state, unit_id, order_id, claimed_at, disclosed_at, ended_at
                       FROM claims
                      WHERE publisher_id = $1 AND segment_id = x.segment_id AND state <> 'released'
                        AND position >= x.position AND position <= x.position
                      ORDER BY publisher_id, segment_id, position
                      LIMIT 1) AS c ON true;

-- order_of_unit --
SELECT o.order_id, o.order_number, o.caller_id, o.partner_order_number, d.line_item_data_id AS unit_id, d.line_number, d.unit_number
  FROM orders o
  JOIN line_item_data d ON d.order_id = o.order_id AND d.line_item_data_id = $2
 WHERE o.order_id = $1;

-- caller_names --
SELECT caller_id, name FROM callers WHERE caller_id = ANY($1::integer[]);

-- now --
SELECT clock_timestamp() AS now;
