-- Each query must return no row. They read the end state and share nothing with the code that made it.

-- a_position_is_claimed_twice --
SELECT publisher_id, segment_id, position FROM claims WHERE state <> 'released'
 GROUP BY publisher_id, segment_id, position HAVING count(*) > 1;

-- a_unit_lives_on_two_claims --
SELECT publisher_id, unit_id FROM claims WHERE state IN ('held', 'issued')
 GROUP BY publisher_id, unit_id HAVING count(*) > 1;

-- a_claim_lies_off_the_tape --
SELECT c.claim_id FROM claims c
  LEFT JOIN keys k ON k.publisher_id = c.publisher_id AND k.segment_id = c.segment_id AND k.position = c.position
 WHERE k.position IS NULL;

-- a_claim_lies_ahead_of_the_cursor --
SELECT c.claim_id FROM claims c
  JOIN segments s ON s.publisher_id = c.publisher_id AND s.segment_id = c.segment_id
 WHERE c.position >= s.next_position AND c.state <> 'withdrawn';

-- a_passed_position_is_neither_claimed_nor_returned --
SELECT k.publisher_id, k.segment_id, k.position FROM keys k
  JOIN segments s ON s.publisher_id = k.publisher_id AND s.segment_id = k.segment_id AND k.position < s.next_position
  LEFT JOIN claims c ON c.publisher_id = k.publisher_id AND c.segment_id = k.segment_id AND c.position = k.position
                    AND c.state <> 'released'
  LEFT JOIN returned r ON r.publisher_id = k.publisher_id AND r.segment_id = k.segment_id AND r.position = k.position
 WHERE (c.claim_id IS NULL) = (r.position IS NULL);

-- a_segment_miscounts_its_keys --
SELECT s.publisher_id, s.segment_id FROM segments s
  LEFT JOIN LATERAL (SELECT count(*) AS n, coalesce(max(k.position), 0) AS last FROM keys k
                      WHERE k.publisher_id = s.publisher_id AND k.segment_id = s.segment_id) k ON true
 WHERE s.loaded <> k.n OR s.loaded <> k.last;

-- a_segment_miscounts_what_came_back --
SELECT s.publisher_id, s.segment_id FROM segments s
  LEFT JOIN LATERAL (SELECT count(*) AS n FROM returned r
                      WHERE r.publisher_id = s.publisher_id AND r.segment_id = s.segment_id) r ON true
 WHERE s.returned_count <> r.n;

-- a_segment_miscounts_what_was_withdrawn_ahead --
SELECT s.publisher_id, s.segment_id FROM segments s
  LEFT JOIN LATERAL (SELECT count(*) AS n FROM claims c
                      WHERE c.publisher_id = s.publisher_id AND c.segment_id = s.segment_id
                        AND c.position >= s.next_position AND c.state = 'withdrawn') c ON true
 WHERE s.withdrawn_ahead <> c.n;

-- a_segment_miscounts_what_was_withdrawn --
SELECT s.publisher_id, s.segment_id FROM segments s
  LEFT JOIN LATERAL (SELECT count(*) AS n FROM claims c
                      WHERE c.publisher_id = s.publisher_id AND c.segment_id = s.segment_id AND c.state = 'withdrawn') c ON true
 WHERE s.withdrawn_count <> c.n;

-- a_withdrawn_key_belongs_to_a_unit --
SELECT claim_id FROM claims WHERE state = 'withdrawn' AND (unit_id IS NOT NULL OR disclosed_at IS NOT NULL);

-- an_accepted_unit_has_no_claim --
SELECT d.order_id, d.line_item_data_id FROM line_item_data d
  LEFT JOIN claims c ON c.publisher_id = d.publisher_id AND c.claim_id = d.claim_id
 WHERE d.unit_number > 0 AND d.claim_id IS NOT NULL AND (c.claim_id IS NULL OR c.unit_id <> d.line_item_data_id);

-- an_issued_claim_has_no_unit --
SELECT c.claim_id FROM claims c
  LEFT JOIN line_item_data d ON d.order_id = c.order_id AND d.line_item_data_id = c.unit_id
 WHERE c.state = 'issued' AND (d.line_item_data_id IS NULL OR d.claim_id <> c.claim_id);

-- an_order_lacks_lines_units_or_people --
SELECT o.order_id FROM orders o
 WHERE NOT EXISTS (SELECT 1 FROM line_items l WHERE l.order_id = o.order_id)
    OR (o.shopper_ref IS NOT NULL) <> EXISTS (SELECT 1 FROM order_people p WHERE p.order_id = o.order_id)
    OR (SELECT sum(l.unit_count) FROM line_items l WHERE l.order_id = o.order_id)
       <> (SELECT count(*) FROM line_item_data d WHERE d.order_id = o.order_id AND d.unit_number > 0);

-- a_part_has_no_order --
SELECT l.order_id FROM line_items l LEFT JOIN orders o ON o.order_id = l.order_id WHERE o.order_id IS NULL
UNION ALL
SELECT d.order_id FROM line_item_data d LEFT JOIN orders o ON o.order_id = d.order_id WHERE o.order_id IS NULL
UNION ALL
SELECT p.order_id FROM order_people p LEFT JOIN orders o ON o.order_id = p.order_id WHERE o.order_id IS NULL
UNION ALL
SELECT e.order_id FROM order_events e LEFT JOIN orders o ON o.order_id = e.order_id WHERE o.order_id IS NULL;

-- an_order_is_stored_twice --
SELECT caller_id, kind, partner_order_number FROM orders GROUP BY caller_id, kind, partner_order_number HAVING count(*) > 1;

-- a_canceled_order_has_a_live_key --
SELECT o.order_id FROM orders o
  JOIN line_item_data d ON d.order_id = o.order_id
  JOIN claims c ON c.publisher_id = d.publisher_id AND c.claim_id = d.claim_id
 WHERE o.canceled_at IS NOT NULL AND c.state IN ('held', 'issued');

-- a_living_unit_has_a_dead_key --
SELECT d.order_id FROM line_item_data d
  JOIN claims c ON c.publisher_id = d.publisher_id AND c.claim_id = d.claim_id
 WHERE (d.fulfillment_status = 'CREATION_ACCEPTED' AND c.state <> 'issued')
    OR (d.fulfillment_status = 'INITIALIZED' AND c.state <> 'held')
    OR (d.fulfillment_status = 'CANCEL_ACCEPTED' AND c.state IN ('held', 'issued'));

-- an_order_is_on_hold_without_a_deadline --
SELECT o.order_id FROM orders o
 WHERE (o.held_until IS NOT NULL)
       <> EXISTS (SELECT 1 FROM line_item_data d WHERE d.order_id = o.order_id AND d.fulfillment_status = 'INITIALIZED');

-- a_unit_waits_and_is_in_no_queue --
SELECT d.order_id FROM line_item_data d
  LEFT JOIN backorders b ON b.publisher_id = d.publisher_id AND b.unit_id = d.line_item_data_id AND b.order_id = d.order_id
 WHERE d.unit_number > 0 AND (d.fulfillment_status = 'CREATION_SCHEDULED') <> (b.unit_id IS NOT NULL);

-- a_queue_holds_a_unit_that_is_none --
SELECT b.unit_id FROM backorders b
  LEFT JOIN line_item_data d ON d.order_id = b.order_id AND d.line_item_data_id = b.unit_id
 WHERE d.line_item_data_id IS NULL;

-- a_pool_miscounts_who_waits --
SELECT p.publisher_id, p.pool_id FROM pools p
 WHERE p.backordered <> (SELECT count(*) FROM backorders b WHERE b.publisher_id = p.publisher_id AND b.pool_id = p.pool_id);

-- an_order_is_not_what_its_units_are --
SELECT o.order_id FROM orders o
  JOIN LATERAL (SELECT bool_or(d.fulfillment_status = 'INITIALIZED') AS held,
                       bool_or(d.fulfillment_status IN ('CREATION_SCHEDULED', 'CREATION_PENDING')) AS waiting,
                       bool_or(d.fulfillment_status = 'CREATION_FAILURE') AS failed,
                       bool_or(d.fulfillment_status = 'CREATION_ACCEPTED') AS issued,
                       bool_or(d.fulfillment_status = 'CANCEL_PENDING') AS ending,
                       bool_or(d.fulfillment_status = 'CANCEL_FAILURE') AS end_failed,
                       bool_or(d.fulfillment_status LIKE 'CANCEL\_%') AS ended
                  FROM line_item_data d WHERE d.order_id = o.order_id AND d.unit_number > 0) u ON true
 WHERE CASE WHEN u.held THEN o.status <> 'PAYMENT_PENDING'
            WHEN (u.waiting OR u.failed) AND u.issued THEN o.status <> 'PARTIAL_COMPLETED'
            WHEN u.failed THEN o.status <> 'PENDING_WITH_ERROR'
            WHEN u.waiting THEN o.status <> 'PENDING'
            WHEN u.issued AND u.ended THEN o.status <> 'PARTIAL_CANCELED'
            WHEN u.issued THEN o.status <> 'COMPLETED'
            WHEN u.ending THEN o.status <> 'CANCEL_PENDING'
            WHEN u.end_failed THEN o.status <> 'CANCELED_WITH_ERROR'
            ELSE o.status NOT IN ('CANCELED', 'ABORTED') OR o.canceled_at IS NULL END;

-- a_test_order_has_a_live_key_or_another_a_sandbox_key --
SELECT o.order_id FROM orders o
  JOIN claims c ON c.order_id = o.order_id
  JOIN segments s ON s.publisher_id = c.publisher_id AND s.segment_id = c.segment_id
  JOIN pools p ON p.publisher_id = s.publisher_id AND p.pool_id = s.pool_id
 WHERE p.is_sandbox <> o.is_test;

-- an_issued_key_has_no_disclosure_event --
SELECT c.claim_id FROM claims c
 WHERE c.disclosed_at IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM order_events e WHERE e.order_id = c.order_id AND (e.metadata ->> 'disclosed')::integer > 0);

-- a_revoked_key_has_no_event_for_its_publisher --
SELECT c.claim_id FROM claims c
 WHERE c.state IN ('revoked', 'replaced')
   AND NOT EXISTS (SELECT 1 FROM publisher_events e WHERE e.publisher_id = c.publisher_id AND e.name = 'key.' || c.state
                      AND e.facts ->> 'claim_id' = c.claim_id::text);

-- a_dead_key_is_missing_in_the_feed --
SELECT c.claim_id FROM claims c
  LEFT JOIN revocations r ON r.publisher_id = c.publisher_id AND r.claim_id = c.claim_id AND r.kind = c.state
                         AND r.life = c.life AND r.segment_id = c.segment_id AND r.position = c.position
 WHERE c.state IN ('revoked', 'replaced') AND c.disclosed_at IS NOT NULL AND r.claim_id IS NULL;

-- the_feed_names_a_key_that_lives --
-- What the feed says last of a key is so; a key that came back has died before in each of its lives.
SELECT r.revocation_id FROM revocations r
  LEFT JOIN claims c ON c.publisher_id = r.publisher_id AND c.claim_id = r.claim_id
 WHERE c.claim_id IS NULL OR r.life > c.life
    OR (r.kind <> 'reinstated' AND r.life = c.life AND c.state <> r.kind)
    OR (r.kind = 'reinstated' AND r.life >= c.life)
    OR (r.kind <> 'reinstated' AND r.life < c.life
        AND NOT EXISTS (SELECT 1 FROM revocations b WHERE b.publisher_id = r.publisher_id AND b.claim_id = r.claim_id
                                                      AND b.life = r.life AND b.kind = 'reinstated'));

-- the_feed_skips_a_number --
SELECT r.publisher_id FROM revocations r
  LEFT JOIN revocation_feeds f ON f.publisher_id = r.publisher_id
 GROUP BY r.publisher_id, f.last_sequence
HAVING count(r.sequence) <> coalesce(max(r.sequence), 0) OR coalesce(f.last_sequence, 0) <> count(r.sequence)
    OR min(r.sequence) < 1;

-- an_entry_of_the_feed_is_not_chained_to_the_one_before --
-- SHA-256 over the hash before and the entry, each behind its length; the entry is its members behind theirs, -1 for none.
SELECT f.publisher_id, f.sequence
  FROM (SELECT r.publisher_id, r.sequence, r.chain_hash,
               lag(r.chain_hash, 1, decode(repeat('00', 32), 'hex'))
                   OVER (PARTITION BY r.publisher_id ORDER BY r.sequence) AS previous,
               (SELECT string_agg(coalesce(int4send(octet_length(m.bytes)) || m.bytes, int4send(-1)), '' ORDER BY m.n)
                  FROM (SELECT n, convert_to(text, 'UTF8') AS bytes
                          FROM unnest(ARRAY[r.sequence::text, r.revocation_id::text, r.kind, r.reason,
                                            to_char(r.happened_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                                            s.batch_id::text, k.row_number::text, k.publisher_key_id])
                               WITH ORDINALITY AS x (text, n)) AS m) AS entry
          FROM revocations r
          LEFT JOIN segments s ON s.publisher_id = r.publisher_id AND s.segment_id = r.segment_id
          LEFT JOIN keys k ON k.publisher_id = r.publisher_id AND k.segment_id = r.segment_id AND k.position = r.position
         WHERE r.sequence IS NOT NULL) AS f
 WHERE f.chain_hash <> sha256(int4send(32) || f.previous || int4send(octet_length(f.entry)) || f.entry);

-- a_unit_crosses_publishers --
SELECT d.order_id FROM line_item_data d
  JOIN line_items l ON l.order_id = d.order_id AND l.line_number = d.line_number
 WHERE l.publisher_id <> d.publisher_id;

-- a_released_batch_is_still_receiving --
SELECT s.segment_id FROM segments s JOIN batches b ON b.publisher_id = s.publisher_id AND b.batch_id = s.batch_id
 WHERE (b.state = 'receiving') <> (s.state = 'receiving');

-- a_discarded_batch_left_keys --
SELECT b.batch_id FROM batches b
 WHERE b.state IN ('discarded', 'refused', 'checked')
   AND EXISTS (SELECT 1 FROM segments s WHERE s.publisher_id = b.publisher_id AND s.batch_id = b.batch_id);
