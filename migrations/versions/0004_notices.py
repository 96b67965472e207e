"""Notices: what callers and publishers are told of by webhook, and how each delivery went."""

from keyservice.postgres.migrate import run_sql_beside

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql_beside(__file__)
