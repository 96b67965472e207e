-- What the service's own role may do, applied after every migration: never the owner, never more than a table needs.
-- "service_role" is replaced by the role's quoted name.
GRANT USAGE ON SCHEMA public TO service_role;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO service_role;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM service_role;

-- Facts are appended; they are neither changed nor taken away.
GRANT SELECT, INSERT ON publisher_events, order_events, data_keys, order_people, shoppers, line_items, secret_check_values TO service_role;
GRANT SELECT ON schema_version TO service_role;

GRANT SELECT, INSERT, UPDATE ON publishers, callers, fulfillment_templates, products, pools, batches, claims, orders, line_item_data
   TO service_role;

-- A discarded upload takes its rows along; a returned key leaves the shelf when it is taken.
GRANT SELECT, INSERT, UPDATE, DELETE ON segments TO service_role;
GRANT SELECT, INSERT, DELETE ON keys, returned, refused_rows, dry_run_fingerprints TO service_role;
