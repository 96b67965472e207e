-- What a superuser, a bug or a broken disk could do to the orders of test_checker.py. Each must be found.

-- a_claim_is_lost --
DELETE FROM claims
 WHERE claim_id = (SELECT c.claim_id FROM claims c JOIN orders o USING (order_id)
                    WHERE o.partner_order_number LIKE '%.kept' LIMIT 1);

-- an_order_is_lost --
DELETE FROM orders WHERE partner_order_number LIKE '%.kept';

-- a_key_of_a_living_order_dies --
UPDATE claims SET state = 'revoked'
 WHERE claim_id = (SELECT c.claim_id FROM claims c JOIN orders o USING (order_id)
                    WHERE o.partner_order_number LIKE '%.kept' LIMIT 1);

-- a_sealed_key_lies_in_anothers_place --
UPDATE keys k SET sealed = o.sealed
  FROM keys o
 WHERE o.publisher_id = k.publisher_id AND o.segment_id = k.segment_id AND o.position = k.position + 1
   AND k.segment_id = (SELECT c.segment_id FROM claims c JOIN orders o USING (order_id)
                        WHERE o.partner_order_number LIKE '%.kept' LIMIT 1);

-- a_unit_loses_its_claim --
UPDATE line_item_data d SET line_item_data_id = gen_random_uuid()
  FROM orders o
 WHERE o.order_id = d.order_id AND o.partner_order_number LIKE '%.kept' AND d.unit_number = 1;

-- an_order_is_stored_again --
INSERT INTO orders
SELECT (json_populate_record(o, json_build_object('order_id', gen_random_uuid()))).* FROM orders o
 WHERE o.partner_order_number LIKE '%.kept';

-- a_cursor_moves_back --
UPDATE segments SET next_position = 2
 WHERE segment_id = (SELECT c.segment_id FROM claims c JOIN orders o USING (order_id)
                      WHERE o.partner_order_number LIKE '%.kept' LIMIT 1);

-- a_publisher_is_not_told_of_a_dead_key --
DELETE FROM revocations
 WHERE claim_id = (SELECT c.claim_id FROM claims c JOIN orders o USING (order_id)
                    WHERE o.partner_order_number LIKE '%.gone' LIMIT 1);

-- a_publisher_is_told_of_a_key_that_lives --
INSERT INTO revocations (publisher_id, revocation_id, claim_id, segment_id, position, kind, reason, happened_at)
SELECT c.publisher_id, gen_random_uuid(), c.claim_id, c.segment_id, c.position, 'revoked', '', now()
  FROM claims c JOIN orders o USING (order_id)
 WHERE o.partner_order_number LIKE '%.kept';

-- a_feed_begins_at_two --
UPDATE revocations SET sequence = 2, chain_hash = '\x00'
 WHERE claim_id IN (SELECT c.claim_id FROM claims c JOIN orders o USING (order_id)
                     WHERE o.partner_order_number LIKE '%.gone');
