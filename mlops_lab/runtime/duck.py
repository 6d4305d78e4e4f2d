"""What DuckDB's own connection holds, on which `duckdb.sql` and its like work: it belongs to the process."""

from __future__ import annotations

import sys
from typing import Any

from .memory import InputRefused

_HELD = """
select 'the table ' || table_name, database_name, schema_name, table_name from duckdb_tables() where not internal
union all select 'the view ' || view_name, sql, '', '' from duckdb_views() where not internal
union all select 'the database ' || database_name, '', '', '' from duckdb_databases()
where not internal and database_name != 'memory' order by all"""
_CONTENT = 'select count(*), bit_xor(hash(content)) from "{}"."{}"."{}" content'


def get() -> list[Any]:
    """Its tables, each with a digest of its rows, its views and the databases attached to it."""
    ask = sys.modules["duckdb"].sql
    return [
        (what, *place, ask(_CONTENT.format(*place)).fetchall() if place[2] else []) for what, *place in ask(_HELD).fetchall()
    ]


def put(wanted: list[Any]) -> None:
    """Refuse what an earlier step left there, if it isn't what the setup cells have made here, too."""
    if wanted != get():
        left = wanted[0][0] if wanted else "nothing"
        raise InputRefused(
            f"ML201: DuckDB's own connection, on which duckdb.sql works, can't be passed to another step; an earlier one left "
            f"{left} in it. Use a database in a file (duckdb.connect('name.duckdb')), keep tables in variables, or merge the "
            f"two steps."
        )
