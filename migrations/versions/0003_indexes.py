"""Indexes on large tables, one by one and beside the traffic, and the checks that were added unvalidated."""

from keyservice.postgres.migrate import create_index_beside_traffic, validate_constraint

revision = "0003"
down_revision = "0002"

INDEXES = {
    # "The last five characters" of support, and a publisher's own ids.
    "keys_by_suffix": "keys (publisher_id, suffix_token)",
    "keys_by_publisher_key_id": "keys (publisher_id, publisher_key_id) WHERE publisher_key_id IS NOT NULL",
    # How many keys of a package were canceled or renewed.
    "claims_dead": "claims (publisher_id, segment_id, state) WHERE state IN ('revoked', 'replaced')",
    "orders_held": "orders (held_until) WHERE held_until IS NOT NULL",
}


def upgrade() -> None:
    for name, columns in INDEXES.items():
        create_index_beside_traffic(name, columns)
    validate_constraint("orders", "orders_kind_known")
