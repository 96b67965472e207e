-- Batch mode whole. Constraints on large tables are added unvalidated here and validated by the next migration, whose
-- scans hold nobody up.

-- ---------------------------------------------------------------------------------------------------- callers
ALTER TABLE callers
    DROP CONSTRAINT callers_kind_known,
    ADD CONSTRAINT callers_kind_known CHECK (kind IN ('reseller', 'pipeline', 'publisher', 'admin', 'auditor')),
    ADD COLUMN is_sandbox boolean NOT NULL DEFAULT false,
    -- NULL: no limit of its own.
    ADD COLUMN requests_per_second integer,
    ADD COLUMN requests_burst integer,
    ADD COLUMN requests_per_day integer,
    ADD CONSTRAINT callers_sandbox_sells CHECK (NOT is_sandbox OR kind IN ('reseller', 'pipeline')),
    ADD CONSTRAINT callers_limits_positive CHECK (
        requests_per_second BETWEEN 1 AND 1000000 AND requests_burst BETWEEN 1 AND 1000000
        AND requests_per_day BETWEEN 1 AND 2000000000);

-- What a caller has used of its limits, leased by the processes in slices. arrival_at: the theoretical arrival time of
-- the generic cell rate algorithm.
CREATE TABLE caller_usage (
    caller_id  integer PRIMARY KEY REFERENCES callers,
    arrival_at timestamptz NOT NULL,
    day        date NOT NULL,
    used_today bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Ed25519 keys that sign access tokens and statements; the private half is wrapped by a service secret.
CREATE TABLE signing_keys (
    key_id              text PRIMARY KEY,
    purpose             text NOT NULL,
    public_key          bytea NOT NULL,
    wrapped_private_key bytea NOT NULL,
    created_at          timestamptz NOT NULL,
    signs_until         timestamptz NOT NULL,
    verifies_until      timestamptz NOT NULL,
    CONSTRAINT signing_keys_purpose_known CHECK (purpose IN ('tokens', 'statements')),
    CONSTRAINT signing_keys_verify_longer CHECK (created_at < signs_until AND signs_until <= verifies_until)
);

-- ---------------------------------------------------------------------------------------------------- publisher side
ALTER TABLE pools
    DROP CONSTRAINT pools_policy_known,
    ADD CONSTRAINT pools_policy_known CHECK (policy IN ('fifo', 'expiring_first', 'priority')),
    ADD COLUMN is_sandbox boolean NOT NULL DEFAULT false,
    -- A key that expires sooner than in so many days is not stock.
    ADD COLUMN days_left_min integer NOT NULL DEFAULT 0,
    -- How many units that are paid for wait for keys of this pool; they come before new orders.
    ADD COLUMN backordered bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT pools_days_left_possible CHECK (days_left_min BETWEEN 0 AND 3650),
    ADD CONSTRAINT pools_backordered_counts CHECK (backordered >= 0);
CREATE INDEX pools_with_backlog ON pools (publisher_id, pool_id) WHERE backordered > 0;

ALTER TABLE batches
    ADD COLUMN priority integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT batches_priority_possible CHECK (priority BETWEEN -1000000 AND 1000000);

-- withdrawn_count: keys that were withdrawn one by one, or taken off as damaged. withdrawn_ahead: those of them that lie
-- between the cursor and the end; the cursor passes them by.
ALTER TABLE segments
    ADD COLUMN priority integer NOT NULL DEFAULT 0,
    ADD COLUMN withdrawn_count integer NOT NULL DEFAULT 0,
    ADD COLUMN withdrawn_ahead integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT segments_withdrawn_lie_ahead CHECK (withdrawn_ahead BETWEEN 0 AND loaded - next_position + 1),
    ADD CONSTRAINT segments_withdrawn_are_counted CHECK (withdrawn_ahead <= withdrawn_count);

UPDATE segments s
   SET withdrawn_count = c.damaged
  FROM (SELECT publisher_id, segment_id, count(*) AS damaged FROM claims WHERE state = 'withdrawn'
         GROUP BY publisher_id, segment_id) AS c
 WHERE c.publisher_id = s.publisher_id AND c.segment_id = s.segment_id;

-- Units that are paid for and wait for a key, in order of payment: a unit stands in the queue of each pool of its source plan,
-- is counted at each of them, and leaves them all together.
CREATE TABLE backorders (
    publisher_id integer NOT NULL,
    pool_id      uuid NOT NULL,
    unit_id      uuid NOT NULL,
    order_id     uuid NOT NULL,
    paid_at      timestamptz NOT NULL,
    order_number bigint NOT NULL,
    line_number  integer NOT NULL,
    unit_number  integer NOT NULL,
    PRIMARY KEY (publisher_id, unit_id, pool_id)
);
CREATE INDEX backorders_in_turn ON backorders (publisher_id, pool_id, paid_at, order_number, line_number, unit_number);

-- What a publisher must know: keys that are dead though somebody saw them. Written with the revocation itself and numbered
-- afterwards, one by one, so that a reader who goes by the number misses nothing that commits late.
CREATE TABLE revocations (
    publisher_id    integer NOT NULL,
    revocation_id   uuid NOT NULL,
    claim_id        uuid NOT NULL,
    segment_id      bigint NOT NULL,
    position        integer NOT NULL,
    kind            text NOT NULL,
    reason          text NOT NULL,
    happened_at     timestamptz NOT NULL,
    sequence        bigint,
    chain_hash      bytea,
    acknowledged_at timestamptz,
    acknowledged_by integer,
    PRIMARY KEY (publisher_id, revocation_id),
    CONSTRAINT revocations_once UNIQUE (publisher_id, claim_id),
    CONSTRAINT revocations_numbered_once UNIQUE (publisher_id, sequence),
    CONSTRAINT revocations_kind_known CHECK (kind IN ('revoked', 'replaced')),
    CONSTRAINT revocations_numbered_with_hash CHECK ((sequence IS NULL) = (chain_hash IS NULL))
);
CREATE INDEX revocations_unnumbered ON revocations (publisher_id, happened_at, revocation_id) WHERE sequence IS NULL;
CREATE INDEX revocations_unacknowledged ON revocations (publisher_id, sequence) WHERE acknowledged_at IS NULL;

-- Where each publisher's feed of revocations ends.
CREATE TABLE revocation_feeds (
    publisher_id  integer PRIMARY KEY,
    last_sequence bigint NOT NULL,
    last_hash     bytea NOT NULL
);

ALTER TABLE backorders ALTER publisher_id SET STATISTICS 0;
ALTER TABLE revocations ALTER publisher_id SET STATISTICS 0;

INSERT INTO revocations (publisher_id, revocation_id, claim_id, segment_id, position, kind, reason, happened_at)
SELECT publisher_id, gen_random_uuid(), claim_id, segment_id, position, state, coalesce(end_reason, ''), ended_at
  FROM claims
 WHERE state IN ('revoked', 'replaced');

-- ---------------------------------------------------------------------------------------------------- order side
ALTER TABLE orders
    ALTER COLUMN currency DROP NOT NULL,
    ADD COLUMN kind text NOT NULL DEFAULT 'connect',
    -- Until then its keys are held for a payment.
    ADD COLUMN held_until timestamptz,
    ADD COLUMN paid_at timestamptz,
    ADD CONSTRAINT orders_kind_known CHECK (kind IN ('connect', 'cart', 'lean')) NOT VALID;

-- ---------------------------------------------------------------------------------------------------- row-level security
-- Two roles do all the work, chosen per transaction (SET LOCAL ROLE): keyservice_publisher sees one publisher's rows, the one
-- that the transaction names, and nothing when it names none; keyservice_pipeline may cross publishers. FORCE: the owner of
-- the tables sees no row either.
DO $$
DECLARE
    secured text;
BEGIN
    FOR secured IN
        SELECT relname FROM pg_class
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'schema_version'
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', secured);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', secured);
        EXECUTE format('CREATE POLICY pipeline ON %I TO keyservice_pipeline USING (true) WITH CHECK (true)', secured);
    END LOOP;
    FOREACH secured IN ARRAY ARRAY[
        'publishers', 'fulfillment_templates', 'products', 'pools', 'batches', 'data_keys', 'segments', 'keys', 'claims',
        'returned', 'refused_rows', 'dry_run_fingerprints', 'publisher_events', 'backorders', 'revocations',
        'revocation_feeds']
    LOOP
        EXECUTE format(
            'CREATE POLICY publisher ON %I TO keyservice_publisher'
            ' USING (publisher_id = nullif(current_setting(''keyservice.publisher_id'', true), '''')::integer)'
            ' WITH CHECK (publisher_id = nullif(current_setting(''keyservice.publisher_id'', true), '''')::integer)',
            secured);
    END LOOP;
END
$$;
