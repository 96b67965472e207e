-- How often a key has come back to life: its publisher has enabled its license again after the order's cancellation was reversed.
ALTER TABLE claims ADD COLUMN life integer NOT NULL DEFAULT 0;

-- A key dies once in each of its lives, and comes back once behind each.
ALTER TABLE revocations
    ADD COLUMN life integer NOT NULL DEFAULT 0,
    DROP CONSTRAINT revocations_once,
    DROP CONSTRAINT revocations_kind_known,
    ADD CONSTRAINT revocations_kind_known CHECK (kind IN ('revoked', 'replaced', 'reinstated'));
CREATE UNIQUE INDEX revocations_once ON revocations (publisher_id, claim_id, life, (kind = 'reinstated'));
