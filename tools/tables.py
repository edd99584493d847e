"""Two tools over the tables of the run's folder: what there is, and one read-only SQL query over it.

CSV and TSV files are tables named after their files; the tables of an SQLite file stand behind its name
and a dot.
"""

import asyncio
import difflib
import re
import sqlite3
import time
from typing import Any

from pydantic import Field

from state.errors import DocumentError, StorageError, ToolError
from state.tool import Arguments, Tool, ToolContext
from tools import sandbox
from tools.sandbox import Result
from tools.workbook import Table, Workbook, workbook_of

SECONDS = 10.0  # a query may run
SHOWN_TABLES, SHOWN_COLUMNS, SAMPLE = 30, 60, 2
TIMEOUT = 300.0  # seconds; the first look at large files loads them


class TablesArguments(Arguments):
    """Which tables to list."""

    containing: str = Field("", max_length=200, description="Only tables whose name or file holds this; empty: all")


class QueryArguments(Arguments):
    """What to query."""

    sql: str = Field(
        min_length=1, max_length=sandbox.LONGEST_SQL, description="One SELECT (or WITH … SELECT) for SQLite"
    )
    limit: int = Field(100, ge=1, le=1_000, description="Rows wanted, at most")


async def tables(arguments: TablesArguments, context: ToolContext) -> dict[str, Any]:
    """What there is to query.

    {"tables": [{"name", "file", "columns": [{"name", "type", "unit"?}], "rows", "sample": two rows}],
    "total": of all tables, "skipped": [{"file", "reason"}]}
    """
    return await asyncio.to_thread(_tables, arguments, context)


async def query(arguments: QueryArguments, context: ToolContext) -> dict[str, Any]:
    """The rows of a SELECT: {"columns": names, "rows": lists of values, "truncated": whether there was more}."""
    result = await asyncio.to_thread(select, arguments.sql, context, limit=arguments.limit)
    return {"columns": result.columns, "rows": result.rows, "truncated": result.truncated}


def select(sql: str, context: ToolContext, *, limit: int) -> Result:
    """Runs one SELECT over the tables that the context's user may see; blocks. Raises ToolError."""
    book = _workbook(context)
    statement = sql.strip().removesuffix(";")
    if not re.match(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(?:select|with|values)\b", statement, re.IGNORECASE | re.DOTALL):
        raise ToolError("only one SELECT or WITH … SELECT is run here", suggestion=_hint(book, sql))
    seconds = SECONDS if context.deadline is None else min(SECONDS, context.deadline - time.time())
    deadline = time.monotonic() + seconds
    try:
        with book.connected(statement, deadline=deadline) as connection:
            return sandbox.select(connection, statement, limit=limit)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        if time.monotonic() > deadline:
            raise ToolError(
                f"the query ran longer than {max(seconds, 0):.0f} seconds",
                suggestion="filter or aggregate earlier, and join on equal keys",
            ) from error
        raise ToolError(f"SQLite refuses the query: {error}", suggestion=_hint(book, sql)) from error


def _tables(arguments: TablesArguments, context: ToolContext) -> dict[str, Any]:
    book = _workbook(context)
    wanted = arguments.containing.lower()
    chosen = [table for table in book.tables if wanted in table.name.lower() or wanted in table.file.lower()]
    return {
        "tables": [_described(book, table) for table in chosen[:SHOWN_TABLES]],
        "total": len(book.tables),
        "skipped": [{"file": file, "reason": reason} for file, reason in book.skipped[:SHOWN_TABLES]],
    }


def _workbook(context: ToolContext) -> Workbook:
    if context.docs is None:
        raise ToolError(
            "this run has no folder of documents, so there are no tables",
            suggestion="answer without tables and say so, or ask for a run with a folder: --docs or MOTET_DOCS",
        )
    try:
        return workbook_of(context.docs, user=context.user)
    except DocumentError as error:
        raise ToolError(str(error), suggestion="answer without tables and say that there are none") from error
    except StorageError as error:
        raise ToolError(str(error), retryable=True) from error


def _described(book: Workbook, table: Table) -> dict[str, Any]:
    sql = f"SELECT * FROM {_quoted(table.name)} LIMIT {SAMPLE}"
    try:
        with book.connected(sql, deadline=time.monotonic() + 1) as connection:
            sample = [row[:SHOWN_COLUMNS] for row in sandbox.select(connection, sql, limit=SAMPLE).rows]
    except sqlite3.Error:
        sample = []  # a broken view, say: the table's columns are still worth telling
    columns = [
        {"name": column.name, "type": column.type} | ({"unit": column.unit} if column.unit else {})
        for column in table.columns[:SHOWN_COLUMNS]
    ]
    return {"name": table.name, "file": table.file, "columns": columns, "rows": table.rows, "sample": sample}


def _quoted(name: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split(".", 1))


def _hint(book: Workbook, sql: str) -> str:
    """The tables there are, those the statement may have meant first, with their columns."""
    if not book.tables:
        return "there are no tables in this folder; use search for its documents"
    words = re.findall(r"\w+", sql.lower())
    near = {name for word in words for name in difflib.get_close_matches(word, [t.name.lower() for t in book.tables])}
    ranked = sorted(book.tables, key=lambda table: table.name.lower() not in near)
    told = [f"{table.name}({', '.join(column.name for column in table.columns[:20])})" for table in ranked[:8]]
    return "the tables are " + "; ".join(told) + ("; …" if len(ranked) > 8 else "")


TABLES = Tool(
    name="tables",
    description=(
        "Lists the tables among the documents (CSV, TSV and SQLite files) with their columns, types, units, number"
        " of rows and two sample rows. Use it before the first query, to learn the names. Not for text: search finds"
        ' that. Example: {"containing": "sales"}'
    ),
    args=TablesArguments,
    run=tables,
    timeout=TIMEOUT,
)

QUERY = Tool(
    name="query",
    description=(
        "Runs one read-only SELECT of SQLite over the tables and returns its rows. Use it to filter, join, count, sum"
        " or average; let SQL do the sums. Not for changing anything, nor for text documents (use search). Numbers"
        " with a unit are stored without it: 12% is 12."
        ' Example: {"sql": "SELECT region, sum(revenue) AS revenue FROM sales GROUP BY region ORDER BY 2 DESC"}'
    ),
    args=QueryArguments,
    run=query,
    timeout=TIMEOUT,
)
