"""An own PostgreSQL for a service on one machine. Made for Linux: without /proc it cannot find orphaned servers."""

from keyservice.postgres.embedded.server import EmbeddedPostgres
from keyservice.postgres.embedded.supervisor import RestartPolicy

__all__ = ["EmbeddedPostgres", "RestartPolicy"]
