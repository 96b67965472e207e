-- count_connectors --
SELECT count(*) FROM connectors WHERE publisher_id = $1;

-- lock_connector --
SELECT name, state, version, pool_id, created_at
  FROM connectors
 WHERE publisher_id = $1 AND connector_id = $2
   FOR NO KEY UPDATE;

-- connector --
SELECT connector_id, name, state, version, created_at, updated_at
  FROM connectors
 WHERE publisher_id = $1 AND connector_id = $2;

-- connectors --
-- In the order in which they were made.
SELECT connector_id, name, state, version, created_at, updated_at
  FROM connectors
 WHERE publisher_id = $1 AND ($2::uuid IS NULL OR connector_id > $2)
 ORDER BY connector_id
 LIMIT $3;

-- newest_version --
SELECT version, document, created_by, created_at, handshake_at, handshake
  FROM connector_versions
 WHERE publisher_id = $1 AND connector_id = $2
 ORDER BY publisher_id DESC, connector_id DESC, version DESC
 LIMIT 1;

-- version --
SELECT version, document, created_by, created_at, handshake_at, handshake
  FROM connector_versions
 WHERE publisher_id = $1 AND connector_id = $2 AND version = $3;

-- versions --
-- The newest first.
SELECT version, created_by, created_at, handshake_at, coalesce((handshake ->> 'is_good')::boolean, false) AS is_handshake_good
  FROM connector_versions
 WHERE publisher_id = $1 AND connector_id = $2 AND version < $3
 ORDER BY publisher_id DESC, connector_id DESC, version DESC
 LIMIT $4;

-- set_state --
UPDATE connectors SET state = $3, version = $4, updated_at = $5 WHERE publisher_id = $1 AND connector_id = $2;

-- put_handshake --
UPDATE connector_versions SET handshake_at = $4, handshake = $5 WHERE publisher_id = $1 AND connector_id = $2 AND version = $3;

-- secret_names --
SELECT name, updated_at FROM connector_secrets WHERE publisher_id = $1 AND connector_id = $2 ORDER BY name;

-- delete_secret --
DELETE FROM connector_secrets WHERE publisher_id = $1 AND connector_id = $2 AND name = $3 RETURNING name;
