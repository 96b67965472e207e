-- The database and its roles, made by a superuser of a PostgreSQL of your own (15 to 18), before the first start. It may be run
-- again: what is there stays, and a password becomes that of the environment where one is given.
--
--   OWNER_PASSWORD=… SERVICE_PASSWORD=… BACKUP_PASSWORD=… psql "$SUPERUSER/postgres" -v ON_ERROR_STOP=1 -f roles.sql
--
-- Another name for the database: -v database=…
\set QUIET 1
\pset tuples_only on
\pset format unaligned
\if :{?database}
\else
\set database keyservice
\endif
-- A password in a statement must not stand in the server's log.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET password_encryption = 'scram-sha-256';

SELECT format('CREATE ROLE %I NOINHERIT', wanted)
  FROM unnest(ARRAY['keyservice_owner', 'keyservice_service', 'keyservice_backup', 'keyservice_publisher', 'keyservice_pipeline'])
       AS wanted
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted)
\gexec

-- Owns the tables and migrates them; the service never logs in as it.
ALTER ROLE keyservice_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
-- What the service logs in as. It has no right to any row: each of its transactions takes one of the next two on.
ALTER ROLE keyservice_service LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
-- Sees the rows of one publisher, the one that the transaction names.
ALTER ROLE keyservice_publisher NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
-- Orders, claims and what runs beside the requests; may cross publishers.
ALTER ROLE keyservice_pipeline NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
-- From PostgreSQL 16 on a membership is inherited if its member inherits when it is granted: this one does not.
GRANT keyservice_publisher, keyservice_pipeline TO keyservice_service;
-- Row-level security is forced, also upon the owner: only a role that is exempt from it dumps all rows. It reads and no more.
ALTER ROLE keyservice_backup LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS;
GRANT pg_read_all_data TO keyservice_backup;

\getenv owner_password OWNER_PASSWORD
\if :{?owner_password}
ALTER ROLE keyservice_owner PASSWORD :'owner_password';
\endif
\getenv service_password SERVICE_PASSWORD
\if :{?service_password}
ALTER ROLE keyservice_service PASSWORD :'service_password';
\endif
\getenv backup_password BACKUP_PASSWORD
\if :{?backup_password}
ALTER ROLE keyservice_backup PASSWORD :'backup_password';
\endif

SELECT format('CREATE DATABASE %I OWNER keyservice_owner TEMPLATE template0 ENCODING ''UTF8''', :'database')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database')
\gexec
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO keyservice_service, keyservice_backup;
