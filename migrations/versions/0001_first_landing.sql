-- The schema of the tape and of the order side.
--
-- It is distributable from the first migration on: publisher-side tables by publisher_id, order-side tables by order_id,
-- shoppers by shopper_ref, catalogues replicated. Every primary key and unique index therefore contains its table's
-- distribution column, no foreign key crosses two groups, and no table has a trigger.
-- Rows that one claim writes in one transaction carry no foreign keys: each would cost a lookup and a row lock per claim;
-- tests/lab/auditor.sql proves the same facts by anti-joins.

-- ---------------------------------------------------------------------------------------------------- catalogues
CREATE SEQUENCE publisher_ids AS integer;
CREATE SEQUENCE caller_ids AS integer;

CREATE TABLE publishers (
    publisher_id integer PRIMARY KEY,
    handle       text NOT NULL,
    name         text NOT NULL,
    created_at   timestamptz NOT NULL,
    CONSTRAINT publishers_handle_once UNIQUE (handle),
    CONSTRAINT publishers_handle_is_a_slug CHECK (handle ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(handle) <= 63)
);

CREATE TABLE callers (
    caller_id          integer PRIMARY KEY,
    kind               text NOT NULL,
    name               text NOT NULL,
    publisher_id       integer REFERENCES publishers,
    scopes             text[] NOT NULL,
    token_id           text NOT NULL,
    token_hash         bytea NOT NULL,
    validation_profile text NOT NULL DEFAULT 'strict',
    cancel_period_days integer NOT NULL DEFAULT 14,
    created_at         timestamptz NOT NULL,
    revoked_at         timestamptz,
    CONSTRAINT callers_name_once UNIQUE (name),
    CONSTRAINT callers_token_once UNIQUE (token_id),
    CONSTRAINT callers_kind_known CHECK (kind IN ('reseller', 'publisher', 'admin')),
    CONSTRAINT callers_publisher_belongs CHECK ((kind = 'publisher') = (publisher_id IS NOT NULL)),
    CONSTRAINT callers_profile_known CHECK (validation_profile IN ('strict', 'priced', 'lenient')),
    CONSTRAINT callers_cancel_period_positive CHECK (cancel_period_days BETWEEN 0 AND 3650)
);

CREATE TABLE fulfillment_templates (
    template_id   uuid PRIMARY KEY,
    publisher_id  integer NOT NULL REFERENCES publishers,
    name          text NOT NULL,
    quantity_mode text NOT NULL,
    block_size    integer NOT NULL DEFAULT 1,
    source_plan   jsonb NOT NULL,
    created_at    timestamptz NOT NULL,
    CONSTRAINT fulfillment_templates_name_once UNIQUE (publisher_id, name),
    CONSTRAINT fulfillment_templates_mode_known CHECK (quantity_mode IN ('quantity', 'one', 'block')),
    CONSTRAINT fulfillment_templates_block_positive CHECK (block_size BETWEEN 1 AND 10000)
);

CREATE TABLE products (
    product_ref          bigint PRIMARY KEY,
    publisher_id         integer NOT NULL REFERENCES publishers,
    template_id          uuid NOT NULL REFERENCES fulfillment_templates,
    name                 text NOT NULL,
    publisher_product_id text,
    state                text NOT NULL DEFAULT 'active',
    created_at           timestamptz NOT NULL,
    CONSTRAINT products_ref_positive CHECK (product_ref BETWEEN 1 AND 9007199254740991),
    CONSTRAINT products_state_known CHECK (state IN ('active', 'disabled'))
);
CREATE INDEX products_of_publisher ON products (publisher_id);

-- What each service secret must prove at start-up; a wrong keyring is told apart from a damaged one before anything is served.
CREATE TABLE secret_check_values (
    secret_name text PRIMARY KEY,
    check_value bytea NOT NULL,
    created_at  timestamptz NOT NULL
);

-- ---------------------------------------------------------------------------------------------------- publisher side
CREATE SEQUENCE segment_ids AS bigint;
CREATE SEQUENCE data_key_ids AS bigint;

CREATE TABLE pools (
    publisher_id  integer NOT NULL REFERENCES publishers,
    pool_id       uuid NOT NULL,
    name          text NOT NULL,
    policy        text NOT NULL,
    warning_level bigint NOT NULL,
    alert_level   bigint NOT NULL,
    alarm         text NOT NULL DEFAULT 'none',
    state         text NOT NULL DEFAULT 'open',
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (publisher_id, pool_id),
    CONSTRAINT pools_name_once UNIQUE (publisher_id, name),
    CONSTRAINT pools_policy_known CHECK (policy IN ('fifo', 'expiring_first')),
    CONSTRAINT pools_levels_ordered CHECK (0 <= alert_level AND alert_level <= warning_level),
    CONSTRAINT pools_alarm_known CHECK (alarm IN ('none', 'warning', 'alert')),
    CONSTRAINT pools_state_known CHECK (state IN ('open', 'closed'))
);

CREATE TABLE batches (
    publisher_id    integer NOT NULL,
    batch_id        uuid NOT NULL,
    pool_id         uuid NOT NULL,
    state           text NOT NULL,
    is_dry_run      boolean NOT NULL DEFAULT false,
    held_on_arrival boolean NOT NULL DEFAULT false,
    file_name       text,
    file_format     text NOT NULL,
    file_options    jsonb NOT NULL,
    declared_sha256 bytea,
    declared_bytes  bigint,
    -- Where the file stood when the last chunk was committed; a repeated upload is checked against it and goes on behind it.
    sha256          bytea,
    bytes_done      bigint NOT NULL DEFAULT 0,
    rows_done       integer NOT NULL DEFAULT 0,
    last_row_number integer NOT NULL DEFAULT 0,
    verdict_counts  jsonb NOT NULL DEFAULT '{}',
    data_key_id     bigint NOT NULL,
    refusal         text,
    created_by      integer NOT NULL,
    created_at      timestamptz NOT NULL,
    progressed_at   timestamptz NOT NULL,
    finished_at     timestamptz,
    PRIMARY KEY (publisher_id, batch_id),
    FOREIGN KEY (publisher_id, pool_id) REFERENCES pools,
    CONSTRAINT batches_state_known CHECK (state IN ('receiving', 'checked', 'held', 'released', 'withdrawn', 'refused', 'discarded'))
);
CREATE INDEX batches_of_pool ON batches (publisher_id, pool_id, created_at);
CREATE INDEX batches_receiving ON batches (progressed_at) WHERE state = 'receiving';

CREATE TABLE data_keys (
    publisher_id integer NOT NULL,
    data_key_id  bigint NOT NULL,
    batch_id     uuid NOT NULL,
    wrapped      bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (publisher_id, data_key_id)
);

CREATE TABLE segments (
    publisher_id   integer NOT NULL,
    segment_id     bigint NOT NULL,
    pool_id        uuid NOT NULL,
    batch_id       uuid NOT NULL,
    state          text NOT NULL,
    expires_on     date,
    loaded         integer NOT NULL DEFAULT 0,
    next_position  integer NOT NULL DEFAULT 1,
    returned_count integer NOT NULL DEFAULT 0,
    PRIMARY KEY (publisher_id, segment_id),
    FOREIGN KEY (publisher_id, batch_id) REFERENCES batches,
    CONSTRAINT segments_one_per_expiry UNIQUE NULLS NOT DISTINCT (publisher_id, batch_id, expires_on),
    CONSTRAINT segments_state_known CHECK (state IN ('receiving', 'held', 'open', 'exhausted', 'withdrawn')),
    CONSTRAINT segments_cursor_on_the_tape CHECK (next_position BETWEEN 1 AND loaded + 1),
    CONSTRAINT segments_returned_from_behind CHECK (returned_count BETWEEN 0 AND next_position - 1)
) WITH (fillfactor = 50);
CREATE INDEX segments_for_sale ON segments (publisher_id, pool_id) WHERE state = 'open';

CREATE TABLE keys (
    publisher_id     integer NOT NULL,
    segment_id       bigint NOT NULL,
    position         integer NOT NULL,
    row_number       integer NOT NULL,
    sealed           bytea NOT NULL,
    fingerprint      bytea NOT NULL,
    suffix_token     bytea NOT NULL,
    publisher_key_id text,
    notes            bytea,
    mime             text,
    name             text,
    PRIMARY KEY (publisher_id, segment_id, position),
    CONSTRAINT keys_enter_once UNIQUE (publisher_id, fingerprint),
    CONSTRAINT keys_position_counts_from_one CHECK (position >= 1)
);

CREATE TABLE claims (
    publisher_id integer NOT NULL,
    claim_id     uuid NOT NULL,
    segment_id   bigint NOT NULL,
    position     integer NOT NULL,
    unit_id      uuid,
    order_id     uuid,
    state        text NOT NULL,
    claimed_at   timestamptz NOT NULL,
    disclosed_at timestamptz,
    ended_at     timestamptz,
    end_reason   text,
    PRIMARY KEY (publisher_id, claim_id),
    CONSTRAINT claims_state_known CHECK (state IN ('held', 'issued', 'replaced', 'revoked', 'released', 'withdrawn')),
    CONSTRAINT claims_disclosed_never_released CHECK (state <> 'released' OR disclosed_at IS NULL),
    CONSTRAINT claims_live_has_unit CHECK (unit_id IS NOT NULL OR state IN ('withdrawn', 'released'))
);
CREATE UNIQUE INDEX claims_position_taken ON claims (publisher_id, segment_id, position) WHERE state <> 'released';
CREATE UNIQUE INDEX claims_unit_live ON claims (publisher_id, unit_id) WHERE state IN ('held', 'issued');

CREATE TABLE returned (
    publisher_id integer NOT NULL,
    segment_id   bigint NOT NULL,
    position     integer NOT NULL,
    PRIMARY KEY (publisher_id, segment_id, position)
);

CREATE TABLE refused_rows (
    publisher_id     integer NOT NULL,
    batch_id         uuid NOT NULL,
    row_number       integer NOT NULL,
    verdict          text NOT NULL,
    reason           text,
    earlier_row      integer,
    publisher_key_id text,
    PRIMARY KEY (publisher_id, batch_id, row_number)
);

-- A dry run tells duplicates inside its file by this index and leaves nothing behind.
CREATE TABLE dry_run_fingerprints (
    publisher_id integer NOT NULL,
    batch_id     uuid NOT NULL,
    fingerprint  bytea NOT NULL,
    row_number   integer NOT NULL,
    PRIMARY KEY (publisher_id, batch_id, fingerprint)
);

CREATE TABLE publisher_events (
    publisher_id integer NOT NULL,
    event_id     uuid NOT NULL,
    pool_id      uuid,
    batch_id     uuid,
    caller_id    integer,
    name         text NOT NULL,
    facts        jsonb NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (publisher_id, event_id)
);

-- Statistics about publishers would tell the planner that one it has not met yet has hardly a row, and it would then read all
-- of that publisher's keys through an index that only begins with publisher_id. Without them it takes the index that fits.
ALTER TABLE keys ALTER publisher_id SET STATISTICS 0;
ALTER TABLE claims ALTER publisher_id SET STATISTICS 0;
ALTER TABLE segments ALTER publisher_id SET STATISTICS 0;
ALTER TABLE returned ALTER publisher_id SET STATISTICS 0;
ALTER TABLE refused_rows ALTER publisher_id SET STATISTICS 0;
ALTER TABLE dry_run_fingerprints ALTER publisher_id SET STATISTICS 0;
ALTER TABLE publisher_events ALTER publisher_id SET STATISTICS 0;

-- ---------------------------------------------------------------------------------------------------- shoppers
CREATE TABLE shoppers (
    shopper_ref uuid PRIMARY KEY,
    wrapped_key bytea NOT NULL,
    created_at  timestamptz NOT NULL
);

-- ---------------------------------------------------------------------------------------------------- order side
CREATE SEQUENCE order_numbers AS bigint START 100000001;

CREATE TABLE orders (
    order_id             uuid PRIMARY KEY,
    order_number         bigint NOT NULL DEFAULT nextval('order_numbers'),
    caller_id            integer NOT NULL,
    partner_order_number text NOT NULL,
    body_fingerprint     bytea NOT NULL,
    shopper_ref          uuid,
    status               text NOT NULL,
    life_cycle_status    text NOT NULL,
    currency             text NOT NULL,
    total_amount         numeric(18, 4),
    is_test              boolean NOT NULL DEFAULT false,
    ordered_at           timestamptz NOT NULL,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    db_version           bigint NOT NULL DEFAULT 1,
    canceled_at          timestamptz,
    cancellation_reason  integer,
    cancellation_comment bytea,
    document             jsonb NOT NULL,
    CONSTRAINT orders_status_known CHECK (status IN (
        'CREATED', 'PAYMENT_PENDING', 'PAYMENT_REFUSED', 'FRAUD_PENDING', 'PENDING', 'PENDING_WITH_ERROR', 'PARTIAL_COMPLETED',
        'COMPLETED', 'CANCEL_PENDING', 'ABORTED', 'CANCELED', 'CANCELED_WITH_ERROR', 'PARTIAL_CANCELED', 'FORCE_COMPLETED',
        'FORCE_CANCELED')),
    CONSTRAINT orders_life_cycle_status_known CHECK (life_cycle_status IN (
        'PREBILLING_PENDING', 'PREBILLING_FAILED', 'WAITING_FOR_PAYMENT', 'PAYMENT_PENDING', 'INVOICE_PENDING',
        'ELECTRONIC_INVOICE_PENDING', 'ENDUSER_PENDING', 'SUBSCRIPTION_PENDING', 'FULFILLMENT_PENDING',
        'EMAILCONFIRMATION_PENDING', 'COMPLETED_WITH_ERROR', 'COMPLETED', 'CANCEL_PENDING', 'CANCELED_WITH_ERROR', 'CANCELED',
        'FORCE_COMPLETED', 'FORCE_CANCELED', 'FORCE_ABORTED'))
) WITH (fillfactor = 90);
CREATE INDEX orders_by_number ON orders (order_number);
CREATE INDEX orders_of_shopper ON orders (shopper_ref, created_at);

-- Everything personal of an order, sealed under its shopper's own key: erasure is the loss of that key.
CREATE TABLE order_people (
    order_id    uuid PRIMARY KEY,
    shopper_ref uuid NOT NULL,
    sealed      bytea NOT NULL
);

CREATE TABLE line_items (
    order_id     uuid NOT NULL,
    line_number  integer NOT NULL,
    line_item_id uuid NOT NULL,
    publisher_id integer NOT NULL,
    product_ref  bigint NOT NULL,
    template_id  uuid NOT NULL,
    quantity     integer NOT NULL,
    unit_count   integer NOT NULL,
    document     jsonb NOT NULL,
    PRIMARY KEY (order_id, line_number)
);

-- One row per unit (unit_number 1, 2, 3 …). A line with several units has one more, unit_number 0, which is the
-- LineItemData of the line; the others are then its sub line item data. A unit's row names the claim it lives on.
CREATE TABLE line_item_data (
    order_id           uuid NOT NULL,
    line_item_data_id  uuid NOT NULL,
    line_number        integer NOT NULL,
    unit_number        integer NOT NULL,
    publisher_id       integer NOT NULL,
    claim_id           uuid,
    fulfillment_status text NOT NULL,
    updated_at         timestamptz NOT NULL,
    db_version         bigint NOT NULL DEFAULT 1,
    document           jsonb,
    PRIMARY KEY (order_id, line_item_data_id),
    CONSTRAINT line_item_data_status_known CHECK (fulfillment_status IN (
        'NONE', 'INITIALIZED', 'CREATION_PENDING', 'CREATION_FAILURE', 'CREATION_SCHEDULED', 'CREATION_ACCEPTED',
        'CANCEL_PENDING', 'CANCEL_FAILURE', 'CANCEL_ACCEPTED')),
    CONSTRAINT line_item_data_accepted_has_claim CHECK (
        unit_number = 0 OR claim_id IS NOT NULL OR fulfillment_status <> 'CREATION_ACCEPTED')
) WITH (fillfactor = 90);

CREATE TABLE order_events (
    order_id          uuid NOT NULL,
    event_id          uuid NOT NULL,
    line_item_data_id uuid,
    caller_id         integer,
    name              text NOT NULL,
    status            text NOT NULL,
    source            text NOT NULL,
    message           text,
    metadata          jsonb NOT NULL DEFAULT '{}',
    created_at        timestamptz NOT NULL,
    PRIMARY KEY (order_id, event_id)
);
