-- Real-time mode. A connector is a publisher's API as data; a key request is one thing that is asked of it.

-- ---------------------------------------------------------------------------------------------------- connectors
CREATE TABLE connectors (
    publisher_id integer NOT NULL REFERENCES publishers,
    connector_id uuid NOT NULL,
    name         text NOT NULL,
    version      integer NOT NULL,
    state        text NOT NULL,
    -- The internal pool that its keys are recorded in. It is never stock.
    pool_id      uuid NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (publisher_id, connector_id),
    CONSTRAINT connectors_name_once UNIQUE (publisher_id, name),
    CONSTRAINT connectors_state_known CHECK (state IN ('draft', 'testing', 'enabled', 'disabled')),
    CONSTRAINT connectors_version_counts CHECK (version >= 1)
);

-- Versions are never changed: an attempt that is repeated is repeated by the version that it was begun with.
CREATE TABLE connector_versions (
    publisher_id  integer NOT NULL,
    connector_id  uuid NOT NULL,
    version       integer NOT NULL,
    document      jsonb NOT NULL,
    created_by    integer NOT NULL,
    created_at    timestamptz NOT NULL,
    -- What the handshake test of this version came to; without a good one it is not enabled.
    handshake_at  timestamptz,
    handshake     jsonb,
    PRIMARY KEY (publisher_id, connector_id, version),
    FOREIGN KEY (publisher_id, connector_id) REFERENCES connectors
);

CREATE TABLE connector_secrets (
    publisher_id integer NOT NULL,
    connector_id uuid NOT NULL,
    name         text NOT NULL,
    wrapped_key  bytea NOT NULL,
    sealed       bytea NOT NULL,
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (publisher_id, connector_id, name),
    FOREIGN KEY (publisher_id, connector_id) REFERENCES connectors
);

-- Where a connector's keys of one day are recorded: one batch, one data key, one segment.
CREATE TABLE connector_days (
    publisher_id integer NOT NULL,
    pool_id      uuid NOT NULL,
    day          date NOT NULL,
    batch_id     uuid NOT NULL,
    segment_id   bigint NOT NULL,
    data_key_id  bigint NOT NULL,
    PRIMARY KEY (publisher_id, pool_id, day)
);

ALTER TABLE pools ADD COLUMN connector_id uuid;

-- ---------------------------------------------------------------------------------------------------- key requests
-- One row for each thing that is asked of a publisher: a key, or that one is cancelled, renewed, … It is committed before the
-- first byte leaves. next_at: when somebody has to look at it again, also because whoever is at it has been for too long.
CREATE TABLE key_requests (
    publisher_id         integer NOT NULL,
    key_request_id       uuid NOT NULL,
    -- The publisher's name for what this is about: that of the request which created it.
    license_ref          uuid NOT NULL,
    connector_id         uuid NOT NULL,
    connector_version    integer NOT NULL,
    operation            text NOT NULL,
    order_id             uuid NOT NULL,
    line_number          integer NOT NULL,
    unit_ids             uuid[] NOT NULL,
    plan_step            integer NOT NULL DEFAULT 0,
    is_test              boolean NOT NULL DEFAULT false,
    reason               text NOT NULL DEFAULT '',
    -- Whether the next source may have its turn while nobody knows what this one has done.
    accepts_surplus      boolean NOT NULL DEFAULT false,
    -- The claim whose key does not work and is replaced by the one that is asked for.
    replaces_claim_id    uuid,
    state                text NOT NULL,
    attempt              integer NOT NULL DEFAULT 0,
    fence                bigint NOT NULL DEFAULT 0,
    next_at              timestamptz,
    give_up_at           timestamptz NOT NULL,
    fall_back_at         timestamptz,
    request_sha256       bytea,
    refusal              text,
    error_code           text,
    error_message        text,
    http_status          integer,
    publisher_license_id text,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    settled_at           timestamptz,
    PRIMARY KEY (publisher_id, key_request_id),
    CONSTRAINT key_requests_operation_known CHECK (operation IN ('create', 'cancel', 'renew', 'upgrade', 'pause', 'resume')),
    CONSTRAINT key_requests_state_known CHECK (state IN (
        'planned', 'sending', 'accepted', 'unknown', 'held', 'issued', 'acknowledged', 'refused', 'unsupported', 'failed',
        'abandoned')),
    CONSTRAINT key_requests_settled_are_left_alone CHECK (settled_at IS NULL OR next_at IS NULL),
    CONSTRAINT key_requests_open_are_looked_at CHECK (
        next_at IS NOT NULL OR state NOT IN ('planned', 'sending', 'accepted', 'unknown'))
) WITH (fillfactor = 80);
CREATE INDEX key_requests_due ON key_requests (publisher_id, connector_id, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX key_requests_of_license ON key_requests (publisher_id, license_ref);
CREATE INDEX key_requests_of_order ON key_requests (publisher_id, order_id);
CREATE INDEX key_requests_held ON key_requests (publisher_id, updated_at) WHERE state IN ('held', 'failed', 'refused', 'unsupported');

CREATE TABLE key_request_attempts (
    publisher_id   integer NOT NULL,
    key_request_id uuid NOT NULL,
    fence          bigint NOT NULL,
    operation      text NOT NULL,
    started_at     timestamptz NOT NULL,
    ended_at       timestamptz NOT NULL,
    outcome        text NOT NULL,
    refusal        text,
    error_code     text,
    error_message  text,
    http_status    integer,
    seconds        double precision NOT NULL,
    PRIMARY KEY (publisher_id, key_request_id, fence)
);

-- Keys that came when nobody wanted them any more. They lie on the tape, taken off; what became of them stands here.
CREATE TABLE surplus_keys (
    publisher_id   integer NOT NULL,
    surplus_id     uuid NOT NULL,
    key_request_id uuid NOT NULL,
    segment_id     bigint NOT NULL,
    position       integer NOT NULL,
    state          text NOT NULL,
    reason         text NOT NULL,
    created_at     timestamptz NOT NULL,
    settled_at     timestamptz,
    PRIMARY KEY (publisher_id, surplus_id),
    CONSTRAINT surplus_keys_state_known CHECK (state IN ('open', 'voiding', 'voided', 'pooled', 'kept'))
);
CREATE INDEX surplus_keys_of_request ON surplus_keys (publisher_id, key_request_id);

-- What an answer said beside the key, sealed like one: publishers put keys there too.
CREATE TABLE license_data (
    publisher_id integer NOT NULL,
    license_ref  uuid NOT NULL,
    segment_id   bigint NOT NULL,
    sealed       bytea NOT NULL,
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (publisher_id, license_ref)
);

ALTER TABLE claims ADD COLUMN key_request_id uuid;

ALTER TABLE connectors ALTER publisher_id SET STATISTICS 0;
ALTER TABLE key_requests ALTER publisher_id SET STATISTICS 0;
ALTER TABLE key_request_attempts ALTER publisher_id SET STATISTICS 0;
ALTER TABLE surplus_keys ALTER publisher_id SET STATISTICS 0;
ALTER TABLE license_data ALTER publisher_id SET STATISTICS 0;

-- ---------------------------------------------------------------------------------------------------- row-level security
DO $$
DECLARE
    secured text;
BEGIN
    FOREACH secured IN ARRAY ARRAY[
        'connectors', 'connector_versions', 'connector_secrets', 'connector_days', 'key_requests', 'key_request_attempts',
        'surplus_keys', 'license_data']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', secured);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', secured);
        EXECUTE format('CREATE POLICY pipeline ON %I TO keyservice_pipeline USING (true) WITH CHECK (true)', secured);
        EXECUTE format(
            'CREATE POLICY publisher ON %I TO keyservice_publisher'
            ' USING (publisher_id = nullif(current_setting(''keyservice.publisher_id'', true), '''')::integer)'
            ' WITH CHECK (publisher_id = nullif(current_setting(''keyservice.publisher_id'', true), '''')::integer)',
            secured);
    END LOOP;
END
$$;

-- ---------------------------------------------------------------------------------------------------- scopes
-- Whoever had all rights of its kind has the new ones of its kind too. The owner sees the rows only while it is not forced.
ALTER TABLE callers NO FORCE ROW LEVEL SECURITY;
UPDATE callers
   SET scopes = scopes || CASE kind
                              WHEN 'auditor' THEN ARRAY['connectors:read', 'key-requests:read']
                              ELSE ARRAY['connectors:read', 'connectors:write', 'key-requests:read', 'key-requests:decide']
                          END
 WHERE (kind = 'publisher'
        AND scopes @> ARRAY['pools:read', 'pools:write', 'batches:write', 'catalogue:write', 'revocations:read',
                            'revocations:acknowledge', 'statements:read', 'keys:search'])
    OR (kind = 'admin'
        AND scopes @> ARRAY['purchases:read', 'pools:read', 'pools:write', 'batches:write', 'catalogue:write', 'revocations:read',
                            'statements:read', 'keys:search', 'publishers:write', 'callers:read', 'callers:write'])
    OR (kind = 'auditor' AND scopes @> ARRAY['pools:read', 'purchases:read', 'revocations:read', 'statements:read']);
ALTER TABLE callers FORCE ROW LEVEL SECURITY;
