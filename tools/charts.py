"""A tool that draws a chart: from rows it is given, or from a query over the run's tables."""

import asyncio
import hashlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import Field

from state.errors import ToolError
from state.tool import Arguments, Tool, ToolContext
from tools.drawing import Format, Horizontal, Kind, Picture, drawn
from tools.names import slug
from tools.tables import select

MOST_POINTS = 1_000  # rows; bars beyond 150 could not be told apart
MOST_BARS, MOST_SERIES = 150, 8

Cell = str | int | float | None


class ChartArguments(Arguments):
    """What to draw, from rows or from a query."""

    kind: Kind = Field(description="bar compares, line shows a course, scatter shows how two numbers go together")
    title: str = Field(min_length=1, max_length=200, description="What the chart shows, as a reader would say it")
    x: str = Field(
        "", max_length=100, description="What the x axis shows, with its unit; empty: the first column's name"
    )
    y: str = Field("", max_length=100, description="What the y axis shows, with its unit; empty: the column's name")
    columns: list[str] = Field(
        default_factory=list,
        max_length=MOST_SERIES + 1,
        description="Names: what is along x, then each series of numbers",
    )
    rows: list[list[Cell]] = Field(
        default_factory=list,
        max_length=MOST_POINTS,
        description="One row for each point: its place on x, then its numbers",
    )
    query: str = Field("", max_length=20_000, description="Instead of columns and rows: a SELECT over the run's tables")
    format: Format = Field("png", description="png for looking at, svg for printing")


async def chart(arguments: ChartArguments, context: ToolContext) -> dict[str, Any]:
    """Draws, and writes the file: {"file": its name within the run's output folder, "points": drawn}."""
    return await asyncio.to_thread(_chart, arguments, context)


def _chart(arguments: ChartArguments, context: ToolContext) -> dict[str, Any]:
    if context.out is None:
        raise ToolError(
            "this run has no folder to write files to", suggestion="give the numbers as a table in the text"
        )
    columns, rows = _data(arguments, context)
    picture = _picture(arguments, columns, rows)
    content = json.dumps([arguments.model_dump(), columns, rows], sort_keys=True, default=str)
    digest = hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=5).hexdigest()
    # Letters, digits and hyphens only: whatever the title says, the file stays in the folder.
    name = f"{slug(arguments.title, limit=50) or 'chart'}-{digest}.{arguments.format}"
    _write(context.out, name, drawn(picture, form=arguments.format))
    points = sum(value is not None for values in picture.series.values() for value in values)
    return {"file": name, "points": points}


def _data(arguments: ChartArguments, context: ToolContext) -> tuple[list[str], list[list[Any]]]:
    if bool(arguments.query) == bool(arguments.rows):
        raise ToolError("a chart needs either rows or a query", suggestion="give columns and rows, or query alone")
    if not arguments.query:
        return arguments.columns, arguments.rows
    result = select(arguments.query, context, limit=MOST_POINTS)
    if result.truncated:
        raise ToolError(
            f"the query gives more than the {MOST_POINTS} rows that can be drawn",
            suggestion="aggregate, or add a LIMIT",
        )
    return result.columns, result.rows


def _picture(arguments: ChartArguments, columns: list[str], rows: list[list[Any]]) -> Picture:
    if len(columns) < 2:
        raise ToolError(
            "a chart needs a column for x and at least one of numbers",
            suggestion='for example columns ["month", "revenue"] and rows [["Jan", 1200], ["Feb", 1350]]',
        )
    if not rows:
        raise ToolError("there are no rows to draw", suggestion="check the query's filter with the query tool")
    if len(columns) - 1 > MOST_SERIES:
        raise ToolError(f"more than {MOST_SERIES} series", suggestion="draw the most important ones, or several charts")
    if arguments.kind == "bar" and len(rows) * (len(columns) - 1) > MOST_BARS:
        raise ToolError(f"more than {MOST_BARS} bars", suggestion="aggregate, keep the largest, or draw a line")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise ToolError(
                f"row {number} has {len(row)} values for {len(columns)} columns",
                suggestion="give each row one value for each column, null where there is none",
            )
    xs = [_place(row[0]) for row in rows]
    if arguments.kind == "scatter" and not all(isinstance(x, int | float) for x in xs):
        raise ToolError("a scatter chart needs numbers along x", suggestion="use a bar or a line for named places")
    series: dict[str, list[float | None]] = {}
    for at, column in enumerate(columns[1:], start=1):
        name = column if column not in series else f"{column} ({at})"
        series[name] = [_number(row[at], column, number) for number, row in enumerate(rows, start=1)]
    y_label = arguments.y or (columns[1] if len(columns) == 2 else "")
    return Picture(arguments.kind, arguments.title, arguments.x or columns[0], y_label, xs, series)


def _place(value: Any) -> Horizontal:
    if isinstance(value, int | float) and not isinstance(value, bool) and _drawable(value):
        return value
    return "" if value is None else str(value)


def _number(value: Any, column: str, row: int) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not _drawable(value):
        raise ToolError(
            f"{column!r} holds {str(value)[:60]!r} in row {row}, which is no number to draw",
            suggestion="put names in the first column and plain numbers in the others",
        )
    return float(value)


def _drawable(value: float) -> bool:
    return math.isfinite(value) if isinstance(value, float) and abs(value) < 1e100 else abs(value) < 1e100


def _write(folder: Path, name: str, content: bytes) -> None:
    """Whole or not at all; a link of that name is replaced, not followed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=folder, prefix=".chart-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            Path(draft).chmod(0o644)
            Path(draft).replace(folder / name)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ToolError(f"cannot write {name}: {error.strerror}", retryable=True) from error


CHART = Tool(
    name="chart",
    description=(
        "Draws a bar, line or scatter chart, writes it to a file for the report and returns the file's name. Use it"
        " when a comparison or a course over time is clearer as a picture; draw straight from the tables with query"
        " where you can. Not for one or two numbers: say them."
        ' Example: {"kind": "bar", "title": "Revenue by region, 2024", "y": "EUR",'
        ' "columns": ["region", "revenue"], "rows": [["North", 1200], ["South", 950]]}'
    ),
    args=ChartArguments,
    run=chart,
    effects="idempotent",
    timeout=60.0,
)
