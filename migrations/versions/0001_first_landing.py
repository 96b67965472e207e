"""The schema of the tape and of the order side."""

from keyservice.postgres.migrate import run_sql_beside

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql_beside(__file__)
