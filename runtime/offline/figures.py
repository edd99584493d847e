"""What tables and calculators returned, as quotes: each row or result word for word, with where it comes from.

What was computed stands in no passage, so its reference is a file or a tool, without a section.
"""

import re
from typing import Any

from runtime.offline.evidence import Evidence
from runtime.offline.quoting import Quote
from runtime.offline.sql import VALUES

MOST_ROWS = 8
FROM = re.compile(r'\bfrom\s+("[^"]+"(?:\."[^"]+")?|[\w.]+)', re.I)


def computed(evidence: Evidence) -> list[Quote]:
    """The results of calculations and SELECTs in this conversation; empty when there were none."""
    out = []
    files = _files(evidence)
    for call, value in evidence.results:
        if not isinstance(value, dict) or "error" in value:
            continue
        args = call["args"]
        statement = str(args.get("sql") or args.get("query") or args.get("statement") or "")
        if "expression" in args and "result" in value:
            out.append(Quote(f"{args['expression']} = {value['result']}", call["name"], 2.0, 1.0))
        elif isinstance(value.get("rows"), list) and not VALUES.fullmatch(statement) and (text := _rows(value)):
            table = next((m[1].replace('"', "") for m in FROM.finditer(statement)), "")
            out.append(Quote(text, files.get(table) or table or call["name"], 2.0, 1.0, sql=statement))
    return out


def told(evidence: Evidence) -> list[Quote]:
    """What others computed, as the prompt tells it."""
    given = [p for p in evidence.passages if "#" not in p.reference and p.sure is None]
    return list(dict.fromkeys(Quote(p.text, p.reference, 2.0, 1.0) for p in given))


def charts(evidence: Evidence) -> list[dict[str, Any]]:
    """The pictures that a tool drew, under the titles they were asked for."""
    return [
        {"file": value["file"], "title": call["args"].get("title") or value["file"]}
        for call, value in evidence.results
        if isinstance(value, dict) and "points" in value and isinstance(value.get("file"), str)
    ]


def _files(evidence: Evidence) -> dict[str, str]:
    """The file behind each table, as the list of tables told."""
    lists = (value.get("tables") for _, value in evidence.results if isinstance(value, dict))
    return {str(t.get("name")): str(t.get("file") or t.get("name")) for found in lists for t in found or ()}


def _rows(value: dict[str, Any]) -> str:
    columns = value.get("columns") or []
    lines = []
    for row in value["rows"][:MOST_ROWS]:
        pairs = row.items() if isinstance(row, dict) else zip(columns, row, strict=False)
        lines.append("; ".join(f"{name}: {cell}" for name, cell in pairs if cell is not None))
    return " | ".join(line for line in lines if line)
