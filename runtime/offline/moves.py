"""Which tools the offline model calls next, read from their names, parameters and descriptions."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from runtime.offline import planning, sql
from runtime.offline.arguments import argument
from runtime.offline.evidence import Evidence
from runtime.offline.forms import fill
from runtime.offline.sums import sums
from runtime.offline.text import terms

SEARCHES = re.compile(r"search|find|look\s?up|retriev|passage|document|wiki|knowledge", re.I)
QUERIES = ("query", "q", "question", "search", "search_query", "text", "keywords", "terms", "topic", "input")
HINTS = re.compile(r"quer|wording|search|names", re.I)  # sections of a prompt that say what to search for
TRANSFER = re.compile(r"(?:transfer|hand_?(?:off|over)|delegate|refer)_to_")
PICTURE = re.compile(r"\b(?:chart|plot|graph|draw|diagram|visuali[sz]e)\b", re.I)
OVER_TIME = re.compile(r"\b(?:over time|trend|per (?:year|month|week|day)|by (?:year|month|week|day))\b", re.I)
MOST_SEARCHES = 5  # at once
WIDTH = 12  # passages asked for at once, where the tool lets one say


@dataclass(frozen=True, slots=True)
class Move:
    """One call of a tool."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)


def next_moves(evidence: Evidence, tools: list[dict[str, Any]]) -> list[Move]:
    """The calls to make now, all at once; none when there is enough to answer, or nothing more to try."""
    if evidence.last or not evidence.question.strip():
        return []
    out: list[Move] = []
    if (other := _handed_over(evidence, tools)) is not None:
        return [other]
    for tool in tools:
        made = _for(tool, evidence)
        done = evidence.called(tool["name"])
        out += [move for move in made if move.args not in done]
    return out


def _handed_over(evidence: Evidence, tools: list[dict[str, Any]]) -> Move | None:
    """The transfer to somebody whose description fits the question better than one's own, before anything was tried."""
    others = [tool for tool in tools if TRANSFER.match(tool["name"])]
    if not others or evidence.calls:
        return None
    own = ("", evidence.orders.split("\n\n")[0])
    said = [(tool["name"], f"{TRANSFER.sub('', tool['name'])} {tool.get('description', '')}") for tool in others]
    best = planning.match(evidence.question, [own, *said])
    return next((_filled(tool, {}) for tool in others if tool["name"] == best), None)


def _for(tool: dict[str, Any], evidence: Evidence) -> list[Move]:
    name, question = tool["name"], evidence.question
    schema = tool.get("parameters") or {}
    fields = schema.get("properties", {})
    said = f"{name} {tool.get('description', '')}"
    if "title" in fields and re.search(r"\bchart|\bplot", said, re.I):
        return _drawn(tool, evidence)
    if _sql(name, said, fields):
        at = _text_field(fields, ("sql", "query", "statement"))
        return [_filled(tool, {at: statement}) for statement in sql.statements(question, evidence.results)]
    if not schema.get("required") and re.search(r"\btables?\b|\bcolumns\b", said, re.I):
        return [_filled(tool, {})] if sql.figures(question) else []
    if "expression" in fields or "formula" in fields:
        return [_filled(tool, {_text_field(fields, ("expression", "formula")): s}) for s in sums(question)]
    at = _text_field(fields, QUERIES)
    if at and SEARCHES.search(said):
        return [_filled(tool, {at: query}) for query in _queries(evidence, name)]
    if set(re.split(r"[_\W]+", name.lower())) & set(question.lower().split()) and not evidence.called(name):
        return [_filled(tool, _said(schema, question))] if _meant(tool, question) else []
    return []


def _said(schema: dict[str, Any], task: str) -> dict[str, Any]:
    """What a task says for the fields that a tool must have."""
    fields = {k: v for k, v in schema.get("properties", {}).items() if k in schema.get("required", ())}
    plain = {k: v for k, v in fields.items() if not {"enum", "const", "default", "pattern", "format"} & v.keys()}
    found = {k: argument(k, str(v.get("type", "")), task) for k, v in plain.items()}
    return {k: v for k, v in found.items() if v is not None}


def _drawn(tool: dict[str, Any], evidence: Evidence) -> list[Move]:
    """A chart of the newest SELECT with several rows, where the question asks for a picture."""
    question = evidence.question
    drawable = [
        call["args"]["sql"]
        for call, value in evidence.results
        if "sql" in call["args"] and isinstance(value, dict) and len(value.get("columns") or ()) > 1
    ]
    if not drawable or not PICTURE.search(question) or evidence.called(tool["name"]):
        return []
    kind = "line" if OVER_TIME.search(question) else "bar"
    return [_filled(tool, {"kind": kind, "title": question[:200], "query": drawable[-1]})]


def _sql(name: str, said: str, fields: dict[str, Any]) -> bool:
    speaks = bool(re.search(r"\bsql\b|\bselect\b", said, re.I))
    return "sql" in fields or (speaks and bool(_text_field(fields, ("query", "statement"))))


def _text_field(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((n for n in names if n in fields and fields[n].get("type", "string") == "string"), "")


def _queries(evidence: Evidence, name: str) -> list[str]:
    """First the question, what the prompt says to search for, and its wordings; then, if nothing came, word by word."""
    question, done = evidence.question, evidence.called(name)
    if not done:
        hinted = (text for title, text in evidence.sections.items() if HINTS.search(title))
        given = [line for text in hinted for line in _lines(text)]
        each = planning.parts(question)
        return list(dict.fromkeys([question, *given, *each, *planning.wordings(question)]))[:MOST_SEARCHES]
    if evidence.passages or len(done) > MOST_SEARCHES:
        return []
    return planning.keywords(question).split()[:MOST_SEARCHES]


def _lines(text: str) -> list[str]:
    try:
        data = json.loads(text)
    except ValueError:
        data = text.splitlines()
    lines = [line.strip(" -*") for line in data if isinstance(line, str)] if isinstance(data, list) else []
    return [line for line in lines if line]


def _meant(tool: dict[str, Any], question: str) -> bool:
    """Whether a tool of an unknown kind is what the question asks for: half of its name's words stand there."""
    own = set(terms(re.sub(r"[_\W]+", " ", tool["name"])))
    return bool(own) and len(own & set(terms(question))) * 2 >= len(own)


def _filled(tool: dict[str, Any], known: dict[str, Any]) -> Move:
    schema = tool.get("parameters") or {}

    def propose(name: str, at: dict[str, Any]) -> Any:
        if name in ("limit", "k", "top_k", "n", "max_results", "count"):
            return min(WIDTH, int(at.get("maximum", WIDTH)))
        return None

    needed = {k: v for k, v in schema.get("properties", {}).items()
              if k in known or k in schema.get("required", ()) or propose(k, v) is not None}  # fmt: skip
    slim = {**schema, "properties": needed}
    value = fill(slim, propose, given=known or None, root=schema)
    return Move(tool["name"], value if isinstance(value, dict) else known)
