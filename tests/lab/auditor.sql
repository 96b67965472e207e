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
    OR NOT EXISTS (SELECT 1 FROM order_people p WHERE p.order_id = o.order_id)
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
SELECT caller_id, partner_order_number FROM orders GROUP BY caller_id, partner_order_number HAVING count(*) > 1;

-- a_canceled_order_has_a_live_key --
SELECT o.order_id FROM orders o
  JOIN line_item_data d ON d.order_id = o.order_id
  JOIN claims c ON c.publisher_id = d.publisher_id AND c.claim_id = d.claim_id
 WHERE o.canceled_at IS NOT NULL AND c.state IN ('held', 'issued');

-- a_living_order_has_a_dead_key --
SELECT o.order_id FROM orders o
  JOIN line_item_data d ON d.order_id = o.order_id
  JOIN claims c ON c.publisher_id = d.publisher_id AND c.claim_id = d.claim_id
 WHERE o.canceled_at IS NULL AND c.state IN ('revoked', 'released');

-- an_issued_key_has_no_disclosure_event --
SELECT c.claim_id FROM claims c
 WHERE c.disclosed_at IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM order_events e WHERE e.order_id = c.order_id AND (e.metadata ->> 'disclosed')::integer > 0);

-- a_revoked_key_has_no_event_for_its_publisher --
SELECT c.claim_id FROM claims c
 WHERE c.state = 'revoked'
   AND NOT EXISTS (SELECT 1 FROM publisher_events e WHERE e.publisher_id = c.publisher_id AND e.name = 'key.revoked'
                      AND e.facts ->> 'claim_id' = c.claim_id::text);

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
