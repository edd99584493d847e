"""A simple SELECT for a question over tables, by matching the names of columns; None where none is plain enough."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.offline.ordinary import ORDINARY
from runtime.offline.text import stems, terms

NUMERIC = re.compile(r"int|real|num|float|double|decimal", re.I)
TALLY = re.compile(r"\bhow many\b|\bnumber of\b|\bcount\b", re.I)
ASKS = [
    (function, re.compile(rf"\b(?:{signs})\b", re.I))
    for function, signs in (
        ("AVG", "average|mean|avg"),
        ("SUM", "total|sum|how much|altogether|in all|overall"),
        ("MAX", "maximum|highest|largest|biggest|most|max|latest|newest|longest|greatest"),
        ("MIN", "minimum|lowest|smallest|least|cheapest|min|earliest|oldest|shortest"),
    )
]
ASKING = re.compile(
    "|".join([TALLY.pattern, *(sign.pattern for _, sign in ASKS)])
    + r"|\b(?:rows?|entries|records|draw|chart|plot|graph|diagram|table|per|each|every)\b",
    re.I,
)
VALUES = re.compile(r'SELECT DISTINCT "(.+)" FROM "(.+)" LIMIT \d+')
EXPLAINED = 0.99  # of the words that matter; a SELECT that leaves out a condition would be wrong
SAMPLE = 5  # values up to which a column was only sampled
SHOWN = ("rows", "sample", "samples", "examples", "head")
EACH = re.compile(r"\b(?:per|by|for each|in each|of each|each|every)\s+(\w+)", re.I)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as a tool described it: columns with their types, and the values that some rows show."""

    name: str
    columns: dict[str, str]
    values: dict[str, list[Any]] = field(default_factory=dict)


def figures(question: str) -> bool:
    """Whether the question asks for a count, a sum, an average or an extreme."""
    return bool(TALLY.search(question)) or any(sign.search(question) for _, sign in ASKS)


def tables(value: Any) -> Iterator[Table]:
    """The tables in the result of a tool, whatever it calls its fields."""
    if isinstance(value, dict):
        columns = value.get("columns") or value.get("schema") or value.get("fields")
        name = value.get("name") or value.get("table")
        if isinstance(name, str) and columns:
            typed = _columns(columns)
            yield Table(name, typed, _values(value, typed))
        else:
            for key, part in value.items():
                if isinstance(part, dict) and "columns" in part and "name" not in part:
                    yield from tables({"name": key, **part})
                else:
                    yield from tables(part)
    elif isinstance(value, list):
        for part in value:
            yield from tables(part)


def _columns(columns: Any) -> dict[str, str]:
    if isinstance(columns, dict):
        return {str(k): str(v) for k, v in columns.items()}
    out = {}
    for column in columns:
        if isinstance(column, dict):
            out[str(column.get("name") or column.get("column"))] = str(column.get("type") or "")
        elif isinstance(column, list | tuple):
            out[str(column[0])] = str(column[1]) if len(column) > 1 else ""
        else:
            name, _, kind = str(column).partition(" ")
            out[name] = kind
    return out


def _values(value: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, list[Any]]:
    rows: list[Any] = next((value[k] for k in SHOWN if isinstance(value.get(k), list)), [])
    out: dict[str, list[Any]] = {name: [] for name in columns}
    for row in rows:
        pairs = (
            row.items() if isinstance(row, dict) else zip(columns, row if isinstance(row, list) else (), strict=False)
        )
        for name, cell in pairs:
            out.setdefault(str(name), []).append(cell)
    return out


def known(results: Sequence[tuple[Mapping[str, Any], Any]]) -> list[Table]:
    """The tables that tools described in a conversation, with the values that were asked for since."""
    out = {table.name: table for _, value in results for table in tables(value)}
    for call, value in results:
        asked = VALUES.fullmatch(str(call["args"].get("sql", "")))
        if asked and asked[2] in out and isinstance(value, dict):
            cells = [
                cell for row in value.get("rows") or () for cell in (row.values() if isinstance(row, dict) else row)
            ]
            out[asked[2]].values[asked[1]] = cells
    return list(out.values())


def statements(question: str, results: Sequence[tuple[Mapping[str, Any], Any]]) -> list[str]:
    """What to query next: the answer, where every word that matters is explained by a table; else its values."""
    found = known(results)
    if not found or not figures(question):
        return []
    table = max(found, key=lambda t: (_explained(question, t), -len(t.columns)))
    share = _explained(question, table)
    if share >= EXPLAINED:
        return [statement] if (statement := select(question, table)) else []
    unseen = [c for c in table.columns if not _numeric(table, c) and len(table.values.get(c, ())) <= SAMPLE]
    return (
        [f"SELECT DISTINCT {quoted(c)} FROM {quoted(table.name)} LIMIT 200" for c in unseen[:6]] if share >= 0.3 else []
    )


def _explained(question: str, table: Table) -> float:
    """The share of the words that matter which the table's name, columns or values hold."""
    named = {t for name in (table.name, *table.columns) for t in _stems(name)}
    shown = {t for cells in table.values.values() for cell in cells if isinstance(cell, str) for t in stems(cell)}
    matter = [t for t in terms(ASKING.sub(" ", question)) if t not in ORDINARY or t in named]
    return sum(t in named or t in shown for t in matter) / len(matter) if matter and named & set(matter) else 0.0


def select(question: str, table: Table) -> str | None:
    """One SELECT: an aggregate over the column the question names, filtered by the values it names."""
    wanted = set(terms(question))
    group = _grouped(question, table)
    where = _filters(question, table, without=group)
    measured = [c for c in _named(table, wanted) if _numeric(table, c) and c != group]
    function = next((f for f, sign in ASKS if sign.search(question)), None)
    if TALLY.search(question) and not (function and measured):
        what, label = "COUNT(*)", "count"
    elif function and measured:
        what, label = f"{function}({quoted(measured[0])})", f"{function.lower()}_{measured[0]}"
        if function in ("MAX", "MIN") and not group:
            order = "DESC" if function == "MAX" else "ASC"
            at = quoted(measured[0])
            more = f" AND {at} IS NOT NULL" if where else f" WHERE {at} IS NOT NULL"
            return f"SELECT * FROM {quoted(table.name)}{where}{more} ORDER BY {at} {order} LIMIT 1"
    else:
        return None
    head = f"{quoted(group)}, " if group else ""
    tail = f" GROUP BY {quoted(group)} ORDER BY 2 DESC" if group else ""
    return f"SELECT {head}{what} AS {quoted(label)} FROM {quoted(table.name)}{where}{tail}"


def _named(table: Table, wanted: set[str]) -> list[str]:
    """Columns that share words with the question, the best first."""
    share = {c: len(set(_stems(c)) & wanted) / len(set(_stems(c)) or {""}) for c in table.columns}
    return sorted((c for c in table.columns if share[c]), key=lambda c: -share[c])


def _numeric(table: Table, column: str) -> bool:
    shown = [v for v in table.values.get(column, []) if v is not None]
    return bool(NUMERIC.search(table.columns[column])) or (
        bool(shown) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in shown)
    )


def _grouped(question: str, table: Table) -> str | None:
    for match in EACH.finditer(question):
        found = [c for c in table.columns if set(stems(match[1])) & set(_stems(c))]
        if found:
            return found[0]
    return None


def _filters(question: str, table: Table, *, without: str | None) -> str:
    """Values of text columns that stand in the question, word for word."""
    low = _spaced(question)
    conditions = []
    for column in table.columns:
        shown = dict.fromkeys(v for v in table.values.get(column, []) if isinstance(v, str) and v.strip())
        hit = [v for v in shown if _spaced(v) in low]
        if hit and column != without:
            text = max(hit, key=len).replace("'", "''")
            conditions.append(f"{quoted(column)} = '{text}' COLLATE NOCASE")
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _spaced(text: str) -> str:
    return " ".join(["", *re.findall(r"\w+", text.lower()), ""])


def _stems(name: str) -> list[str]:
    return stems(re.sub(r"(?<=[a-z])(?=[A-Z])|[_\W]+", " ", name))


def quoted(name: str) -> str:
    """A name as SQL takes any name."""
    return '"' + name.replace('"', '""') + '"'
