"""A cancellation that is reversed: a license lives again, and its publisher's feed says so."""

from keyservice.postgres.migrate import run_sql_beside

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_sql_beside(__file__)
