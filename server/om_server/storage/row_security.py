"""Row-level security of PostgreSQL: a policy for every table of organizations, and two roles.

It is no numbered migration: it looks at the tables that are there, so that one which a later migration
adds is guarded by the same run of `migrate`. Why it is as it is: docs/decisions/0008-row-level-security.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.storage.tenancy import EVERYBODY, SETTING

if TYPE_CHECKING:
    import peewee

    from om_server.storage.database import Database

#: The server's role sees what its transaction says; the worker's sees all.
SERVER_ROLE = "om_server"
WORKER_ROLE = "om_worker"

#: What the roles may do with tables that no tenant has a business with; with all others all but DDL.
_NARROW = {
    "migrations": "SELECT",
    "incarnations": "SELECT",
    "key_lookups": "SELECT, INSERT",
    "edges": "SELECT, INSERT, UPDATE",
}
_BROAD = "SELECT, INSERT, UPDATE, DELETE"

# A sub-select is evaluated once for a statement, a bare function call once for each row.
_SETTING = f"(SELECT NULLIF(current_setting('{SETTING}', true), ''))"
_OWN_ROWS = f"organization_id = {_SETTING} OR {_SETTING} = '{EVERYBODY}'"

_TABLES = """
SELECT c.relname, c.relrowsecurity,
  EXISTS (SELECT FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attname = 'organization_id' AND NOT a.attisdropped),
  ARRAY(SELECT p.polname::text FROM pg_policy p WHERE p.polrelid = c.oid)
FROM pg_class c
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace
ORDER BY c.relname
"""

# Roles belong to the whole server, so that another database's migration may make them at the same time.
_MAKE_ROLE = """
DO $$ BEGIN
  CREATE ROLE {role} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""
_ROLES = "SELECT rolname FROM pg_roles WHERE rolname IN (%s, %s)"
_MAY_MAKE = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"


def secure(database: Database) -> None:
    """Guard what is not guarded yet, within the transaction of `migrate`. SQLite has nothing like it.

    Where the roles are missing and may not be made, the tables are guarded all the same, and whoever
    makes the roles runs `migrate` again.
    """
    if not database.supports_row_locks:
        return
    engine = database.engine
    roles = _roles(engine)
    (schema,) = engine.execute_sql("SELECT quote_ident(current_schema())").fetchone()
    for role in roles:
        engine.execute_sql(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    for table, guarded, tenant, policies in engine.execute_sql(_TABLES).fetchall():
        for role in roles:
            engine.execute_sql(f'GRANT {_NARROW.get(table, _BROAD)} ON "{table}" TO {role}')
        if not tenant:
            continue
        if not guarded:
            engine.execute_sql(f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY')
        if "own_rows" not in policies:
            engine.execute_sql(f'CREATE POLICY own_rows ON "{table}" USING ({_OWN_ROWS})')
        if "every_row" not in policies and WORKER_ROLE in roles:
            engine.execute_sql(f'CREATE POLICY every_row ON "{table}" TO {WORKER_ROLE} USING (true)')


def unguarded(database: Database) -> list[str]:
    """Name the tables of organizations that have no policy, or whose policies are not in force."""
    rows = database.read(lambda: database.engine.execute_sql(_TABLES).fetchall())
    return [
        table
        for table, guarded, tenant, policies in rows
        if tenant and not (guarded and "own_rows" in policies)
    ]


def _roles(engine: peewee.Database) -> list[str]:
    wanted = (SERVER_ROLE, WORKER_ROLE)
    found = {row[0] for row in engine.execute_sql(_ROLES, wanted).fetchall()}
    if found != set(wanted) and engine.execute_sql(_MAY_MAKE).fetchone()[0]:
        for role in wanted:
            engine.execute_sql(_MAKE_ROLE.format(role=role))
        found = set(wanted)
    return sorted(found)
