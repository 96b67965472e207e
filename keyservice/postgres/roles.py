"""The two roles that do all the work, taken on per transaction: tenancy once more, in the database itself."""

from typing import Final

PUBLISHER: Final = "keyservice_publisher"
"""Sees the rows of the one publisher that its transaction names, and none when it names none."""

PIPELINE: Final = "keyservice_pipeline"
"""Claims, orders and workers: may cross publishers."""

WORKING_ROLES: Final = (PUBLISHER, PIPELINE)

# Scoped to the transaction, so that a pooler may hand the connection to somebody else behind it.
TAKE_ON_PIPELINE: Final = f"SET LOCAL ROLE {PIPELINE}"


def take_on_publisher(publisher_id: int) -> str:
    """What a transaction says first that is made for this publisher."""
    return f"SET LOCAL ROLE {PUBLISHER}; SET LOCAL keyservice.publisher_id = '{publisher_id:d}'"
