-- existing_order --
SELECT order_id FROM orders WHERE order_id = $1;

-- insert_shopper --
INSERT INTO shoppers (shopper_ref, wrapped_key, created_at) VALUES ($1, $2, $3)
ON CONFLICT (shopper_ref) DO NOTHING
RETURNING shopper_ref;

-- shopper_key --
SELECT shopper_ref, wrapped_key FROM shoppers WHERE shopper_ref = $1;

-- insert_order --
INSERT INTO orders (order_id, caller_id, kind, partner_order_number, body_fingerprint, shopper_ref, status, life_cycle_status,
                    currency, total_amount, is_test, ordered_at, created_at, updated_at, held_until, paid_at, document)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14, $15, $16)
ON CONFLICT (order_id) DO NOTHING
RETURNING order_id, order_number;

-- insert_people --
INSERT INTO order_people (order_id, shopper_ref, sealed) VALUES ($1, $2, $3);

-- insert_line_item --
INSERT INTO line_items (order_id, line_number, line_item_id, publisher_id, product_ref, template_id, quantity, unit_count,
                        document)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- insert_line_item_data --
INSERT INTO line_item_data (order_id, line_item_data_id, line_number, unit_number, publisher_id, claim_id,
                            fulfillment_status, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- insert_event --
INSERT INTO order_events (order_id, event_id, line_item_data_id, caller_id, name, status, source, message, metadata, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- read_order --
SELECT order_id, order_number, caller_id, kind, partner_order_number, body_fingerprint, shopper_ref, status, currency,
       ordered_at, created_at, canceled_at, held_until, is_test, clock_timestamp() AS now
  FROM orders
 WHERE order_id = $1;

-- lock_order --
-- The clock is read outside, when the row is locked: inside it would be read before the wait for the lock.
SELECT o.order_id, o.order_number, o.caller_id, o.kind, o.partner_order_number, o.body_fingerprint, o.shopper_ref, o.status,
       o.currency, o.ordered_at, o.created_at, o.canceled_at, o.held_until, o.paid_at, o.is_test, clock_timestamp() AS now
  FROM (SELECT order_id, order_number, caller_id, kind, partner_order_number, body_fingerprint, shopper_ref, status, currency,
               ordered_at, created_at, canceled_at, held_until, paid_at, is_test
          FROM orders
         WHERE order_id = $1
           FOR NO KEY UPDATE) AS o;

-- line_items --
SELECT line_number, line_item_id, publisher_id, product_ref, quantity, unit_count
  FROM line_items
 WHERE order_id = $1
 ORDER BY line_number;

-- units --
SELECT line_item_data_id, line_number, unit_number, publisher_id, claim_id, fulfillment_status
  FROM line_item_data
 WHERE order_id = $1 AND unit_number > 0
 ORDER BY line_number, unit_number;

-- set_order_state --
UPDATE orders
   SET status = $2, life_cycle_status = $3, held_until = $4, paid_at = $5, canceled_at = $6, updated_at = $7,
       db_version = db_version + 1
 WHERE order_id = $1;

-- set_unit_state --
UPDATE line_item_data
   SET fulfillment_status = $3, claim_id = coalesce($4, claim_id), updated_at = $5, db_version = db_version + 1
 WHERE order_id = $1 AND line_item_data_id = $2;

-- forget_claim --
-- The claim is on record as what became of it; the unit does not live on it any more.
UPDATE line_item_data SET claim_id = NULL WHERE order_id = $1 AND line_item_data_id = $2;

-- all_line_item_data --
SELECT order_id, line_item_data_id, line_number, unit_number, publisher_id, claim_id, fulfillment_status
  FROM line_item_data
 WHERE order_id = $1
 ORDER BY line_number, unit_number;

-- expired_holds --
-- Not clock_timestamp(): no index can be entered at what changes while it is read, and all holds would be looked at.
SELECT order_id FROM orders WHERE held_until < statement_timestamp() ORDER BY held_until LIMIT $1;

-- lock_idle_order --
-- One that somebody is at is not in the answer.
SELECT order_id FROM orders WHERE order_id = $1 FOR NO KEY UPDATE SKIP LOCKED;

-- one_expirer_at_a_time --
-- Held until the transaction ends; whoever does not get it leaves the holds to the one who has it.
SELECT pg_try_advisory_xact_lock(hashtext('expire holds'));

-- template_of_line --
SELECT template_id FROM line_items WHERE order_id = $1 AND line_number = $2;

-- cancel_order --
UPDATE orders
   SET status = 'CANCELED', life_cycle_status = 'CANCELED', canceled_at = $2, updated_at = $2, cancellation_reason = $3,
       cancellation_comment = $4, db_version = db_version + 1
 WHERE order_id = $1;

-- cancel_line_item_data --
UPDATE line_item_data
   SET fulfillment_status = 'CANCEL_ACCEPTED', updated_at = $2, db_version = db_version + 1
 WHERE order_id = $1;

-- orders_of_shopper --
-- A reseller sees its own orders of the shopper ($2 is its caller id); an admin sees all ($2 is null).
SELECT order_id, order_number, caller_id, partner_order_number, status, currency, ordered_at, created_at, canceled_at
  FROM orders
 WHERE shopper_ref = $1 AND ($2::integer IS NULL OR caller_id = $2) AND ($3::timestamptz IS NULL OR (created_at, order_id) < ($3, $4))
 ORDER BY created_at DESC, order_id DESC
 LIMIT $5;
