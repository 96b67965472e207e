-- pool_to_receive --
SELECT state, clock_timestamp() AS now FROM pools
 WHERE publisher_id = $1 AND pool_id = $2 AND connector_id IS NULL;

-- next_data_key_id --
SELECT nextval('data_key_ids');

-- next_segment_ids --
SELECT nextval('segment_ids') AS segment_id FROM generate_series(1, $1::integer);

-- insert_batch --
INSERT INTO batches (publisher_id, batch_id, pool_id, state, is_dry_run, held_on_arrival, file_name, file_format, file_options,
                     declared_sha256, declared_bytes, data_key_id, priority, created_by, created_at, progressed_at)
VALUES ($1, $2, $3, 'receiving', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)
ON CONFLICT (publisher_id, batch_id) DO NOTHING
RETURNING batch_id;

-- batch --
SELECT batch_id, pool_id, state, is_dry_run, held_on_arrival, file_name, file_format, file_options, declared_sha256,
       declared_bytes, sha256, bytes_done, rows_done, last_row_number, verdict_counts, data_key_id, priority, refusal,
       created_at, progressed_at, finished_at, clock_timestamp() AS now
  FROM batches
 WHERE publisher_id = $1 AND batch_id = $2;

-- lock_batch --
-- Whoever changes a batch holds its row. A verb that changes what is for sale holds the pool's row first.
SELECT batch_id, pool_id, state, is_dry_run, held_on_arrival, file_name, file_format, file_options, declared_sha256,
       declared_bytes, sha256, bytes_done, rows_done, last_row_number, verdict_counts, data_key_id, priority, refusal,
       created_at, progressed_at, finished_at, clock_timestamp() AS now
  FROM batches
 WHERE publisher_id = $1 AND batch_id = $2
   FOR NO KEY UPDATE;

-- unfinished_of_file --
SELECT batch_id
  FROM batches
 WHERE publisher_id = $1 AND pool_id = $2 AND declared_sha256 = $3 AND is_dry_run = $4 AND state = 'receiving'
 ORDER BY created_at DESC
 LIMIT 1;

-- batches_of_pool --
-- Newest first; the page after batch $3, or the first page.
SELECT batch_id, pool_id, state, is_dry_run, held_on_arrival, file_name, file_format, file_options, declared_sha256,
       declared_bytes, sha256, bytes_done, rows_done, last_row_number, verdict_counts, data_key_id, priority, refusal,
       created_at, progressed_at, finished_at, clock_timestamp() AS now
  FROM batches
 WHERE publisher_id = $1 AND pool_id = $2
   AND ($3::uuid IS NULL
        OR (created_at, batch_id) < (SELECT created_at, batch_id FROM batches WHERE publisher_id = $1 AND batch_id = $3))
 ORDER BY created_at DESC, batch_id DESC
 LIMIT $4;

-- stock_of_batches --
SELECT s.batch_id,
       sum(s.loaded) AS accepted,
       sum(s.next_position - 1 - s.returned_count - (s.withdrawn_count - s.withdrawn_ahead)) AS taken,
       sum(x.unsold) FILTER (WHERE x.is_open AND NOT x.is_near_expiry) AS for_sale,
       sum(x.unsold) FILTER (WHERE x.is_open AND x.is_near_expiry AND NOT x.is_expired) AS near_expiry,
       sum(x.unsold) FILTER (WHERE x.is_open AND x.is_expired) AS expired,
       sum(x.unsold) FILTER (WHERE s.state IN ('held', 'receiving')) AS held,
       sum(s.withdrawn_count) + coalesce(sum(x.unsold) FILTER (WHERE s.state = 'withdrawn'), 0) AS withdrawn
  FROM segments s
  JOIN pools p ON p.publisher_id = s.publisher_id AND p.pool_id = s.pool_id
 CROSS JOIN LATERAL (
       SELECT s.loaded - s.next_position + 1 - s.withdrawn_ahead + s.returned_count AS unsold,
              s.state IN ('open', 'exhausted') AS is_open,
              coalesce(s.expires_on < today, false) AS is_expired,
              coalesce(s.expires_on < today + p.days_left_min, false) AS is_near_expiry
         FROM (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date AS today) AS clock) AS x
 WHERE s.publisher_id = $1 AND s.batch_id = ANY($2::uuid[])
 GROUP BY s.batch_id;

-- segments_of_batch --
SELECT segment_id, expires_on, loaded FROM segments WHERE publisher_id = $1 AND batch_id = $2;

-- insert_segment --
INSERT INTO segments (publisher_id, segment_id, pool_id, batch_id, state, expires_on, priority)
VALUES ($1, $2, $3, $4, 'receiving', $5, $6);

-- insert_keys --
INSERT INTO keys (publisher_id, segment_id, position, row_number, sealed, fingerprint, suffix_token, publisher_key_id, notes,
                  mime, name)
SELECT b.publisher_id, x.segment_id, x.position, x.row_number, x.sealed, x.fingerprint, x.suffix_token, x.publisher_key_id, x.notes,
       x.mime, x.name
  FROM batches b
 CROSS JOIN unnest($3::bigint[], $4::integer[], $5::integer[], $6::bytea[], $7::bytea[], $8::bytea[], $9::text[], $10::bytea[],
                   $11::text[], $12::text[])
         AS x (segment_id, position, row_number, sealed, fingerprint, suffix_token, publisher_key_id, notes, mime, name)
 WHERE b.publisher_id = $1 AND b.batch_id = $2;

-- insert_refused_rows --
INSERT INTO refused_rows (publisher_id, batch_id, row_number, verdict, reason, earlier_row, publisher_key_id)
SELECT b.publisher_id, b.batch_id, x.row_number, x.verdict, x.reason, x.earlier_row, x.publisher_key_id
  FROM batches b
 CROSS JOIN unnest($3::integer[], $4::text[], $5::text[], $6::integer[], $7::text[])
         AS x (row_number, verdict, reason, earlier_row, publisher_key_id)
 WHERE b.publisher_id = $1 AND b.batch_id = $2;

-- insert_dry_run_fingerprints --
INSERT INTO dry_run_fingerprints (publisher_id, batch_id, fingerprint, row_number)
SELECT b.publisher_id, b.batch_id, x.fingerprint, x.row_number
  FROM batches b
 CROSS JOIN unnest($3::bytea[], $4::integer[]) AS x (fingerprint, row_number)
 WHERE b.publisher_id = $1 AND b.batch_id = $2;

-- load_segments --
UPDATE segments s
   SET loaded = x.loaded
  FROM unnest($2::bigint[], $3::integer[]) AS x (segment_id, loaded)
 WHERE s.publisher_id = $1 AND s.segment_id = x.segment_id;

-- known_fingerprints --
-- A range of one value, in order: with sorts disabled only the index on the fingerprint can serve it. With an equality the
-- planner takes the primary key's index for a publisher that its statistics do not know, and reads all its keys per probe.
SELECT x.fingerprint, k.segment_id, k.position, k.row_number
  FROM unnest($2::bytea[]) AS x (fingerprint)
 CROSS JOIN LATERAL (SELECT segment_id, position, row_number
                       FROM keys
                      WHERE publisher_id = $1 AND fingerprint >= x.fingerprint AND fingerprint <= x.fingerprint
                      ORDER BY fingerprint
                      LIMIT 1) AS k;

-- places_of_publisher_key_ids --
-- At the most $3 keys of each id. A range of one value, as above.
SELECT x.publisher_key_id, k.segment_id, k.position
  FROM unnest($2::text[]) AS x (publisher_key_id)
 CROSS JOIN LATERAL (SELECT segment_id, position
                       FROM keys
                      WHERE publisher_id = $1 AND publisher_key_id >= x.publisher_key_id
                        AND publisher_key_id <= x.publisher_key_id
                      ORDER BY publisher_key_id
                      LIMIT $3) AS k;

-- fate_of_places --
SELECT x.segment_id, x.position, x.position < s.next_position AS is_passed, s.batch_id, s.pool_id, s.state AS segment_state,
       c.claim_id, c.state AS claim_state
  FROM unnest($2::bigint[], $3::integer[]) AS x (segment_id, position)
 CROSS JOIN LATERAL (SELECT batch_id, pool_id, next_position, state
                       FROM segments
                      WHERE publisher_id = $1 AND segment_id >= x.segment_id AND segment_id <= x.segment_id
                      ORDER BY segment_id
                      LIMIT 1) AS s
  LEFT JOIN LATERAL (SELECT claim_id, state
                       FROM claims
                      WHERE publisher_id = $1 AND segment_id = x.segment_id AND state <> 'released'
                        AND position >= x.position AND position <= x.position
                      ORDER BY position
                      LIMIT 1) AS c ON true;

-- known_in_dry_run --
SELECT x.fingerprint, d.row_number
  FROM unnest($3::bytea[]) AS x (fingerprint)
 CROSS JOIN LATERAL (SELECT row_number
                       FROM dry_run_fingerprints
                      WHERE publisher_id = $1 AND batch_id = $2 AND fingerprint = x.fingerprint
                      LIMIT 1) AS d;

-- advance_batch --
UPDATE batches
   SET rows_done = $3, bytes_done = $4, last_row_number = $5, sha256 = $6, verdict_counts = $7, progressed_at = $8
 WHERE publisher_id = $1 AND batch_id = $2;

-- finish_batch --
UPDATE batches
   SET state = $3, rows_done = $4, bytes_done = $5, sha256 = $6, verdict_counts = $7, refusal = $8, progressed_at = $9,
       finished_at = $9
 WHERE publisher_id = $1 AND batch_id = $2;

-- close_batch --
-- Refused or discarded as a whole: nothing of it counts any more, and the hash is not that of the whole file.
UPDATE batches
   SET state = $3, verdict_counts = '{}', sha256 = NULL, refusal = $4, progressed_at = $5, finished_at = $5
 WHERE publisher_id = $1 AND batch_id = $2;

-- touch_batch --
UPDATE batches SET state = state WHERE publisher_id = $1 AND batch_id = $2;

-- set_batch_state --
UPDATE batches SET state = $3 WHERE publisher_id = $1 AND batch_id = $2;

-- set_batch_priority --
UPDATE batches SET priority = $3 WHERE publisher_id = $1 AND batch_id = $2;

-- set_segment_priority --
UPDATE segments SET priority = $3 WHERE publisher_id = $1 AND batch_id = $2;

-- put_segments_on_sale --
UPDATE segments
   SET state = CASE WHEN loaded - next_position + 1 - withdrawn_ahead + returned_count > 0 THEN 'open' ELSE 'exhausted' END
 WHERE publisher_id = $1 AND batch_id = $2 AND state IN ('receiving', 'held');

-- take_segments_off_sale --
-- Exhausted ones too: a key that comes back must not put them on sale again.
UPDATE segments SET state = $3 WHERE publisher_id = $1 AND batch_id = $2 AND state <> 'withdrawn';

-- refused_rows --
SELECT row_number, verdict, reason, earlier_row, publisher_key_id
  FROM refused_rows
 WHERE publisher_id = $1 AND batch_id = $2 AND row_number > $3
 ORDER BY row_number
 LIMIT $4;

-- stale_uploads --
SELECT publisher_id, batch_id
  FROM batches
 WHERE state = 'receiving' AND progressed_at < clock_timestamp() - $1::interval
 ORDER BY publisher_id, batch_id;

-- unpurged_batches --
-- A process that died while it discarded an upload, or at the end of a dry run, left rows behind.
SELECT publisher_id, batch_id
  FROM batches b
 WHERE (state IN ('refused', 'discarded')
        AND (EXISTS (SELECT FROM segments s WHERE s.publisher_id = b.publisher_id AND s.batch_id = b.batch_id)
             OR (verdict_counts = '{}'
                 AND EXISTS (SELECT FROM refused_rows r WHERE r.publisher_id = b.publisher_id AND r.batch_id = b.batch_id))))
    OR (is_dry_run AND state <> 'receiving'
        AND EXISTS (SELECT FROM dry_run_fingerprints d WHERE d.publisher_id = b.publisher_id AND d.batch_id = b.batch_id))
 ORDER BY publisher_id, batch_id;

-- purge_keys --
DELETE FROM keys WHERE publisher_id = $1 AND segment_id = $2 AND position BETWEEN $3 AND $4;

-- purge_segment --
DELETE FROM segments WHERE publisher_id = $1 AND segment_id = $2 AND state = 'receiving';

-- purge_refused_rows --
DELETE FROM refused_rows WHERE publisher_id = $1 AND batch_id = $2 AND row_number BETWEEN $3 AND $4;

-- purge_dry_run --
DELETE FROM dry_run_fingerprints
 WHERE publisher_id = $1 AND batch_id = $2 AND fingerprint >= $3 AND ($4::bytea IS NULL OR fingerprint < $4);
