#!/usr/bin/env bash
# Run once by the postgres image, on an empty data directory: settings, roles, database. The passwords are secrets of the container.
set -euo pipefail

echo "include = '/etc/keyservice/keyservice.conf'" >>"$PGDATA/postgresql.conf"

OWNER_PASSWORD=$(cat /run/secrets/owner_password)
SERVICE_PASSWORD=$(cat /run/secrets/service_password)
BACKUP_PASSWORD=$(cat /run/secrets/backup_password)
export OWNER_PASSWORD SERVICE_PASSWORD BACKUP_PASSWORD
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres --no-psqlrc -f /etc/keyservice/roles.sql
