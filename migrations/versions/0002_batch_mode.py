"""Batch mode whole: row-level security, holds and backorders, sandbox, withdrawals, revocation feed, callers' limits."""

from keyservice.postgres.migrate import run_sql_beside

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_sql_beside(__file__)
