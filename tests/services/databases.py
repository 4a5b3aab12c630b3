"""Databases for tests, each as if it were new.

To copy a database takes longer than most tests. So one that a test has left with the tables it
was given is emptied and given to the next; one with other tables, triggers or settings is dropped.
"""

from __future__ import annotations

from itertools import count

from tests.services.postgres import Postgres

_TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0
"""
_ALONE = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();
"""
_EMPTY = f"""
SET session_replication_role = replica;
DO $$
DECLARE dirty text; sequence record;
BEGIN
  SELECT string_agg(quote_ident(relname), ', ') INTO dirty FROM ({_TABLES}) AS tables;
  IF dirty IS NOT NULL THEN EXECUTE 'TRUNCATE ' || dirty || ' CASCADE'; END IF;
  FOR sequence IN SELECT * FROM pg_sequences WHERE last_value IS NOT NULL LOOP
    PERFORM setval(
      format('%I.%I', sequence.schemaname, sequence.sequencename)::regclass,
      sequence.start_value, false
    );
  END LOOP;
END $$;
"""
_NUMBERS = """
SELECT string_agg(
  format('SELECT setval(%L, %s);', format('%I.%I', schemaname, sequencename), last_value), ' '
) FROM pg_sequences WHERE last_value IS NOT NULL
"""
_SHAPE = """
SELECT md5(string_agg(part, E'\\n' ORDER BY part)) FROM (
  SELECT concat_ws(' ', relname, relkind, attnum, attname,
                   format_type(atttypid, atttypmod), attnotnull, attidentity) AS part
  FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
  WHERE relnamespace = 'public'::regnamespace AND attnum > 0
  UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, pg_get_expr(adbin, adrelid))
  FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
  UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
  UNION ALL SELECT concat_ws(' ', pg_get_triggerdef(oid), tgenabled)
  FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT concat_ws(' ', proname, prosrc)
  FROM pg_proc WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'
  UNION ALL SELECT array_to_string(setconfig, ' ')
  FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase
  WHERE datname = current_database()
) AS parts
"""


class Databases:
    """Copies of a template that has the tables, and the rows that come with them."""

    def __init__(self, postgres: Postgres, template: str) -> None:
        self._postgres = postgres
        self._template = template
        self._shape = postgres.sql(_SHAPE, template)
        self._rows = "".join(self._row_of(name) for name in postgres.sql(_TABLES, template).split())
        self._rows += postgres.sql(_NUMBERS, template)
        self._clean: list[str] = []
        self._numbers = count(1)

    def take(self) -> str:
        """The name of a database that nobody uses."""
        if self._clean:
            return self._clean.pop()
        name = f"xrouter_copy_{next(self._numbers)}"
        self._postgres.sql(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return name

    def give_back(self, name: str) -> None:
        """Whoever is still connected is cut off."""
        if self._cleaned(name):
            self._clean.append(name)
        else:
            self._postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def _cleaned(self, name: str) -> bool:
        try:
            said = self._postgres.sql(f"{_ALONE}{_EMPTY}{self._rows}{_SHAPE}", name)
        except AssertionError:  # a table that has rows of ours is gone
            return False
        return said.rpartition("\n")[2] == self._shape

    def _row_of(self, table: str) -> str:
        """The statement that fills it as it was."""
        rows = self._postgres.sql(f"SELECT json_agg({table}) FROM {table}", self._template)
        quoted = rows.replace("'", "''")
        found = f"json_populate_recordset(NULL::{table}, '{quoted}')"
        return f"INSERT INTO {table} SELECT * FROM {found};"
