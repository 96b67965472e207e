"""Alembic's entry: keyservice.postgres.migrate hands the open connection over, inside its advisory lock."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=True,
    version_table="schema_version",
)
with context.begin_transaction():
    context.run_migrations()
