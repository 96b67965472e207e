-- lock_rotation --
-- One process makes the next key; the others wait here and find it.
SELECT pg_advisory_xact_lock(hashtextextended('keyservice.signing_keys.' || $1::text, 0));

-- signing_key --
SELECT key_id, wrapped_private_key, created_at, signs_until, verifies_until
  FROM signing_keys
 WHERE purpose = $1 AND signs_until > $2
 ORDER BY signs_until DESC, key_id
 LIMIT 1;

-- verifying_key --
SELECT key_id, wrapped_private_key, created_at, signs_until, verifies_until
  FROM signing_keys
 WHERE key_id = $1 AND purpose = $2 AND verifies_until > $3;

-- verifying_keys --
SELECT key_id, wrapped_private_key, created_at, signs_until, verifies_until
  FROM signing_keys
 WHERE purpose = $1 AND verifies_until > $2
 ORDER BY created_at DESC, key_id;

-- insert_key --
INSERT INTO signing_keys (key_id, purpose, public_key, wrapped_private_key, created_at, signs_until, verifies_until)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- delete_expired --
DELETE FROM signing_keys WHERE purpose = $1 AND verifies_until <= $2;
