"""The two streams of the command line, and the plainest things to put on them."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

WIDE = 100_000  # columns of what is no terminal: a line stays a line

# Bytes from a document or a model must not drive the terminal, nor hide what a person is to approve.
HIDDEN = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if chr(n) not in "\n\t"}
HIDDEN |= {n: f"\\u{n:04x}" for n in (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)}


def clean(text: str) -> str:
    """A text with its control characters, and those that turn or hide others, made visible."""
    return text.translate(HIDDEN)


def say(text: str, style: str = "") -> None:
    """A line on standard error, never taken for markup."""
    err.print(clean(text), style=style or None, markup=False, soft_wrap=True)


def write(text: str) -> None:
    """A text on standard output as it is, for files and other programs."""
    sys.stdout.write(text + "\n")


def dump(value: Any) -> None:
    """Plain JSON on standard output."""
    write(json.dumps(value, ensure_ascii=False, indent=1, default=str))


def refused(error: Exception, *, as_json: bool) -> int:
    """An error that names what is wrong and how to mend it; the exit status of wrong usage."""
    return _error(str(error), type(error).__name__, 2, as_json)


def broken(error: Exception, *, as_json: bool) -> int:
    """An error that nobody foresaw; the exit status of a failure."""
    return _error(in_one_line(error), type(error).__name__, 5, as_json)


def in_one_line(error: Exception) -> str:
    """Any exception: its kind, the first line of its text, and how to see the rest."""
    said = str(error).strip().partition("\n")[0][:400]
    return f"{type(error).__name__}{': ' + said if said else ''} (MOTET_TRACEBACK=1 shows where)"


def wants_traceback() -> bool:
    """Whether somebody looks for a fault in a graph of their own."""
    return bool(os.environ.get("MOTET_TRACEBACK"))


def _error(said: str, kind: str, status: int, as_json: bool) -> int:
    say(f"error: {' '.join(said.split())}", "red")
    if as_json:
        dump({"error": said, "kind": kind})
    return status


def table(*columns: str, rows: Iterable[Sequence[Any]]) -> Table:
    """A plain table; numbers to the right."""
    made, rows = Table(box=None, pad_edge=False, header_style="bold"), [tuple(row) for row in rows]
    for n, column in enumerate(columns):
        number = bool(rows) and all(isinstance(row[n], int | float) for row in rows)
        made.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(f"{v:,}" if isinstance(v, int) else clean(str(v))) for v in row))
    return made


def show(made: Table, console: Console | None = None) -> None:
    """Print a table: folded into a terminal, each row on one line elsewhere."""
    console = console or out
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDE, highlight=False)
    console.print(made)
