-- Notices: what callers and publishers are told of by webhook.
--
-- All three tables are distributed by endpoint_id. Nothing points at an endpoint by a foreign key: recording a notice takes no
-- lock on it.

-- ---------------------------------------------------------------------------------------------------- endpoints
CREATE TABLE webhook_endpoints (
    endpoint_id            uuid PRIMARY KEY,
    -- Whose it is: a caller that sells, or a publisher.
    caller_id              integer REFERENCES callers,
    publisher_id           integer REFERENCES publishers,
    url                    text NOT NULL,
    -- None: all that there are.
    types                  text[] NOT NULL,
    state                  text NOT NULL DEFAULT 'enabled',
    data_key_id            bigint NOT NULL,
    wrapped_key            bytea NOT NULL,
    sealed_secret          bytea NOT NULL,
    -- After a rotation both sign until then.
    sealed_previous_secret bytea,
    previous_until         timestamptz,
    created_at             timestamptz NOT NULL,
    -- Since when nothing was taken there.
    failing_since          timestamptz,
    -- Its receiver asked not to be sent anything before.
    resumes_at             timestamptz,
    gone_at                timestamptz,
    CONSTRAINT webhook_endpoints_have_one_owner CHECK (num_nonnulls(caller_id, publisher_id) = 1),
    CONSTRAINT webhook_endpoints_state_known CHECK (state IN ('enabled', 'disabled', 'gone')),
    CONSTRAINT webhook_endpoints_gone_since CHECK ((state = 'gone') = (gone_at IS NOT NULL)),
    CONSTRAINT webhook_endpoints_previous_ends CHECK ((sealed_previous_secret IS NULL) = (previous_until IS NULL))
);
CREATE INDEX webhook_endpoints_of_caller ON webhook_endpoints (caller_id, endpoint_id) WHERE caller_id IS NOT NULL;
CREATE INDEX webhook_endpoints_of_publisher ON webhook_endpoints (publisher_id, endpoint_id) WHERE publisher_id IS NOT NULL;
CREATE INDEX webhook_endpoints_enabled ON webhook_endpoints (endpoint_id) WHERE state = 'enabled';
CREATE INDEX webhook_endpoints_gone ON webhook_endpoints (gone_at) WHERE gone_at IS NOT NULL;

-- ---------------------------------------------------------------------------------------------------- notices
-- One numbering for all: changes of one thing are serialised by that thing's own row, so its notices are numbered in order.
CREATE SEQUENCE notice_numbers AS bigint;

-- Written in the transaction of what it tells of. The body is kept as it is sent, so that repeats have the same bytes; no key's
-- text is ever in it.
CREATE TABLE notices (
    endpoint_id  uuid NOT NULL,
    notice_id    uuid NOT NULL,
    publisher_id integer,
    number       bigint NOT NULL DEFAULT nextval('notice_numbers'),
    subject      text NOT NULL,
    type         text NOT NULL,
    object_id    text NOT NULL,
    occurred_at  timestamptz NOT NULL,
    recorded_at  timestamptz NOT NULL,
    body         text NOT NULL,
    state        text NOT NULL DEFAULT 'waiting',
    -- When it is sent next; while somebody sends it, when that one is believed to be dead.
    due_at       timestamptz NOT NULL,
    attempts     integer NOT NULL DEFAULT 0,
    -- Failed attempts since it was recorded or replayed: where it stands in the schedule.
    failures     integer NOT NULL DEFAULT 0,
    delivered_at timestamptz,
    PRIMARY KEY (endpoint_id, notice_id),
    CONSTRAINT notices_state_known CHECK (state IN ('waiting', 'delivered', 'failed')),
    CONSTRAINT notices_delivered_when CHECK (state <> 'delivered' OR delivered_at IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX notices_due ON notices (endpoint_id, due_at) WHERE state = 'waiting';
CREATE INDEX notices_in_turn ON notices (endpoint_id, subject, object_id, number) WHERE state = 'waiting';
CREATE INDEX notices_failed ON notices (endpoint_id, recorded_at) WHERE state = 'failed';
CREATE INDEX notices_by_age ON notices (recorded_at);

-- How each attempt went. One whose sender died has no row.
CREATE TABLE notice_deliveries (
    endpoint_id  uuid NOT NULL,
    delivery_id  uuid NOT NULL,
    notice_id    uuid NOT NULL,
    publisher_id integer,
    attempt      integer NOT NULL,
    started_at   timestamptz NOT NULL,
    -- One of the two: what the receiver answered, or why it did not.
    http_status  integer,
    error        text,
    seconds      double precision NOT NULL,
    PRIMARY KEY (endpoint_id, delivery_id),
    CONSTRAINT notice_deliveries_came_to_something CHECK (http_status IS NOT NULL OR error IS NOT NULL)
);
CREATE INDEX notice_deliveries_of_notice ON notice_deliveries (endpoint_id, notice_id);

-- ---------------------------------------------------------------------------------------------------- row-level security
DO $$
DECLARE
    secured text;
BEGIN
    FOREACH secured IN ARRAY ARRAY['webhook_endpoints', 'notices', 'notice_deliveries']
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
   SET scopes = scopes || ARRAY['webhooks:read', 'webhooks:write']
 WHERE (kind = 'reseller'
        AND scopes @> ARRAY['orders:submit', 'orders:read', 'orders:cancel', 'stock:read', 'purchases:read'])
    OR (kind = 'pipeline' AND scopes @> ARRAY['claims:write', 'claims:read', 'keys:search', 'stock:read', 'purchases:read'])
    OR (kind = 'publisher'
        AND scopes @> ARRAY['pools:read', 'pools:write', 'batches:write', 'catalogue:write', 'revocations:read',
                            'revocations:acknowledge', 'statements:read', 'keys:search']);
ALTER TABLE callers FORCE ROW LEVEL SECURITY;
