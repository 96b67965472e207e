-- own_connectors --
SELECT connector_id FROM connectors WHERE publisher_id = $1 AND connector_id = ANY($2::uuid[]);

-- insert_internal_pool --
INSERT INTO pools (publisher_id, pool_id, name, policy, warning_level, alert_level, connector_id, created_at)
VALUES ($1, $2, $3, 'fifo', 0, 0, $4, $5);

-- insert_connector --
INSERT INTO connectors (publisher_id, connector_id, name, version, state, pool_id, created_at, updated_at)
VALUES ($1, $2, $3, 1, 'draft', $4, $5, $5);

-- insert_version --
INSERT INTO connector_versions (publisher_id, connector_id, version, document, created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- put_secret --
INSERT INTO connector_secrets (publisher_id, connector_id, name, wrapped_key, sealed, updated_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (publisher_id, connector_id, name) DO UPDATE
   SET wrapped_key = excluded.wrapped_key, sealed = excluded.sealed, updated_at = excluded.updated_at;

-- secrets --
SELECT name, wrapped_key, sealed FROM connector_secrets WHERE publisher_id = $1 AND connector_id = $2;

-- version --
SELECT c.name, c.state, c.version AS current_version, c.pool_id, c.updated_at, v.version, v.document, v.handshake_at, v.handshake
  FROM connectors c
  JOIN connector_versions v ON v.publisher_id = c.publisher_id AND v.connector_id = c.connector_id
 WHERE c.publisher_id = $1 AND c.connector_id = $2 AND v.version = coalesce($3, c.version);

-- asked_connectors --
-- Those that have something to do, with how much of it at most.
SELECT c.publisher_id, c.connector_id
  FROM connectors c
 CROSS JOIN LATERAL (SELECT 1
                       FROM key_requests
                      WHERE publisher_id = c.publisher_id AND connector_id = c.connector_id AND next_at <= $1
                      LIMIT 1) AS due
 ORDER BY c.publisher_id, c.connector_id;

-- insert_day --
INSERT INTO connector_days (publisher_id, pool_id, day, batch_id, segment_id, data_key_id) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (publisher_id, pool_id, day) DO NOTHING
RETURNING batch_id;

-- insert_day_batch --
INSERT INTO batches (publisher_id, batch_id, pool_id, state, file_format, file_options, data_key_id, created_by, created_at,
                     progressed_at, finished_at)
VALUES ($1, $2, $3, 'released', 'connector', '{}', $4, 0, $5, $5, $5);

-- insert_day_segment --
INSERT INTO segments (publisher_id, segment_id, pool_id, batch_id, state) VALUES ($1, $2, $3, $4, $5);

-- next_day_ids --
SELECT nextval('segment_ids') AS segment_id, nextval('data_key_ids') AS data_key_id;

-- append --
-- Room for so many keys of a day. They are taken as they are laid down: the cursor stays behind the end.
UPDATE segments s
   SET loaded = s.loaded + $4, next_position = s.next_position + $4
  FROM connector_days d
  JOIN data_keys k ON k.publisher_id = d.publisher_id AND k.data_key_id = d.data_key_id
 WHERE d.publisher_id = $1 AND d.pool_id = $2 AND d.day = $3 AND s.publisher_id = $1 AND s.segment_id = d.segment_id
RETURNING s.segment_id, s.loaded, d.batch_id, d.data_key_id, k.wrapped;

-- append_stock --
-- Surplus that is sold from an ordinary pool, which is locked.
UPDATE segments s
   SET loaded = s.loaded + $4, state = 'open'
  FROM connector_days d
  JOIN data_keys k ON k.publisher_id = d.publisher_id AND k.data_key_id = d.data_key_id
 WHERE d.publisher_id = $1 AND d.pool_id = $2 AND d.day = $3 AND s.publisher_id = $1 AND s.segment_id = d.segment_id
RETURNING s.segment_id, s.loaded, d.batch_id, d.data_key_id, k.wrapped;

-- insert_requested_claims --
-- Crossed with a row of the same publisher, so that a distributed database sees one statement for one shard.
INSERT INTO claims (publisher_id, claim_id, segment_id, position, unit_id, order_id, state, claimed_at, disclosed_at,
                    ended_at, end_reason, key_request_id)
SELECT p.publisher_id, x.claim_id, x.segment_id, x.position, x.unit_id, x.order_id, x.state, $9, x.disclosed_at,
       CASE WHEN x.state = 'withdrawn' THEN $9::timestamptz END, CASE WHEN x.state = 'withdrawn' THEN 'surplus' END,
       x.key_request_id
  FROM publishers p
 CROSS JOIN unnest($2::uuid[], $3::bigint[], $4::integer[], $5::uuid[], $6::uuid[], $7::text[], $8::timestamptz[], $10::uuid[])
         AS x (claim_id, segment_id, position, unit_id, order_id, state, disclosed_at, key_request_id)
 WHERE p.publisher_id = $1;

-- known_keys --
-- Of these fingerprints, those that are on the tape already, with the request that brought them.
SELECT k.fingerprint, k.segment_id, k.position, c.claim_id, c.key_request_id, c.state
  FROM unnest($2::bytea[]) AS x (fingerprint)
 CROSS JOIN LATERAL (SELECT fingerprint, segment_id, position
                       FROM keys
                      WHERE publisher_id = $1 AND fingerprint = x.fingerprint
                      LIMIT 1) AS k
  LEFT JOIN LATERAL (SELECT claim_id, key_request_id, state
                       FROM claims
                      WHERE publisher_id = $1 AND segment_id = k.segment_id AND position = k.position AND state <> 'released'
                      LIMIT 1) AS c ON true;
