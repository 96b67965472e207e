-- What the roles may do, applied after every migration: never the owner, never more than a table needs.
-- "service_role" is replaced by the quoted name of the role that the service logs in as. It has no rights of its own: each of its
-- transactions takes one of the two working roles on.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM service_role, keyservice_publisher, keyservice_pipeline;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM service_role, keyservice_publisher, keyservice_pipeline;
GRANT USAGE ON SCHEMA public TO service_role, keyservice_publisher, keyservice_pipeline;
GRANT SELECT ON schema_version TO service_role;

-- ---------------------------------------------------------------------------------------------------- keyservice_pipeline
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO keyservice_pipeline;

-- Facts are appended; they are neither changed nor taken away.
GRANT SELECT, INSERT ON publisher_events, order_events, data_keys, order_people, shoppers, line_items, secret_check_values
   TO keyservice_pipeline;
GRANT SELECT, INSERT, UPDATE ON publishers, callers, caller_usage, fulfillment_templates, products, pools, batches, claims,
      orders, line_item_data, revocations, revocation_feeds
   TO keyservice_pipeline;
GRANT SELECT, INSERT, DELETE ON signing_keys TO keyservice_pipeline;
-- Notices and what became of them are kept for a time.
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_endpoints, notices TO keyservice_pipeline;
GRANT SELECT, INSERT, DELETE ON notice_deliveries TO keyservice_pipeline;

-- A discarded upload takes its rows along; a returned key leaves the shelf when it is taken, a backorder when it is served.
GRANT SELECT, INSERT, UPDATE, DELETE ON segments TO keyservice_pipeline;
GRANT SELECT, INSERT, DELETE ON keys, returned, refused_rows, dry_run_fingerprints, backorders TO keyservice_pipeline;

-- Real time: what is asked of publishers, and what came of it.
GRANT SELECT ON connectors, connector_versions, connector_secrets TO keyservice_pipeline;
GRANT SELECT, INSERT ON connector_days, key_request_attempts TO keyservice_pipeline;
GRANT SELECT, INSERT, UPDATE ON key_requests, surplus_keys, license_data TO keyservice_pipeline;

-- ---------------------------------------------------------------------------------------------------- keyservice_publisher
GRANT SELECT, INSERT, UPDATE ON connectors, connector_versions TO keyservice_publisher;
GRANT SELECT, INSERT, UPDATE, DELETE ON connector_secrets TO keyservice_publisher;
GRANT SELECT ON key_requests, key_request_attempts, surplus_keys, connector_days, license_data TO keyservice_publisher;
GRANT USAGE ON SEQUENCE segment_ids, data_key_ids, notice_numbers TO keyservice_publisher;
GRANT SELECT ON publishers, backorders TO keyservice_publisher;
GRANT SELECT, INSERT ON publisher_events, data_keys TO keyservice_publisher;
GRANT SELECT, INSERT ON claims TO keyservice_publisher;
GRANT SELECT, INSERT, UPDATE ON fulfillment_templates, products, pools, batches TO keyservice_publisher;
GRANT SELECT, UPDATE (sequence, chain_hash, acknowledged_at, acknowledged_by) ON revocations TO keyservice_publisher;
GRANT SELECT, INSERT, UPDATE ON revocation_feeds TO keyservice_publisher;
GRANT SELECT, INSERT, UPDATE, DELETE ON segments TO keyservice_publisher;
GRANT SELECT, INSERT, DELETE ON keys, returned, refused_rows, dry_run_fingerprints TO keyservice_publisher;
GRANT SELECT, INSERT, UPDATE ON webhook_endpoints, notices TO keyservice_publisher;
GRANT SELECT ON notice_deliveries TO keyservice_publisher;
