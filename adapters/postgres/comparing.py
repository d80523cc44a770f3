"""Two tables of a view, row by row: how many differ, in which columns, and which for example."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from psycopg import Connection, sql
from psycopg.rows import tuple_row

from adapters.postgres.tables import Table, names
from projections.view import Key

EXAMPLES = 5


class Differences(NamedTuple):
    """What the table before and the one after it say differently, of what both can say."""

    only_before: int
    only_after: int
    changed: int
    columns: Mapping[str, int]
    """In how many of the changed rows each of these columns differs."""
    gone: Sequence[str]
    """Columns that only the one before has, or that were of another type."""
    new: Sequence[str]
    """Columns that only the one after has, or that are of another type."""
    examples: Sequence[Key]

    @property
    def rows(self) -> int:
        return self.only_before + self.only_after + self.changed


def compare(connection: Connection[Any], before: Table, after: Table) -> Differences:
    """Both as the caller's transaction sees them."""
    was, becomes = _columns(connection, before), _columns(connection, after)
    key = after.view.key
    common = [name for name, type_ in becomes.items() if was.get(name) == type_ and name not in key]
    sides = sql.SQL("FROM {} AS b FULL JOIN {} AS a USING ({}) WHERE ROW({}) IS DISTINCT FROM ROW({})").format(
        before.name, after.name, names(key), _of("b", ["position", *common]), _of("a", ["position", *common])
    )
    counts = sql.SQL(", ").join(
        sql.SQL("count(*) FILTER (WHERE b.{0} IS DISTINCT FROM a.{0} AND {1})").format(sql.Identifier(name), _BOTH)
        for name in common
    )
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            sql.SQL(
                "SELECT count(*) FILTER (WHERE a.position IS NULL), count(*) FILTER (WHERE b.position IS NULL),"
                " count(*) FILTER (WHERE {}), {} {}"
            ).format(_BOTH, counts, sides)
        )
        [(only_before, only_after, changed, *differing)] = cursor
        examples: list[Key] = []
        if only_before or only_after or changed:
            query = sql.SQL("SELECT {0} {1} ORDER BY {0} LIMIT %s").format(names(key), sides)
            examples = cursor.execute(query, (EXAMPLES,)).fetchall()
    return Differences(
        only_before,
        only_after,
        changed,
        {name: count for name, count in zip(common, differing, strict=True) if count},
        [name for name in was if name not in common and name not in key],
        [name for name in becomes if name not in common and name not in key],
        examples,
    )


# Every row has a position, so that a side without one has no row.
_BOTH = sql.SQL("a.position IS NOT NULL AND b.position IS NOT NULL")


def _of(side: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(side, name) for name in columns)


def _columns(connection: Connection[Any], table: Table) -> dict[str, str]:
    """As the database has them: an older program may have made the table."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (table.name.as_string(connection),),
        )
        return dict(cursor)
