"""What a conversation holds for the offline model: the question, and the passages it may quote."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from runtime.offline.text import flat

CITED = re.compile(r"\[([^\[\]\s]+#[^\[\]\s]+)\]")
ADMITTED = "I found nothing"  # how this model begins when it has nothing to quote, which is nothing to quote either
FIGURE = re.compile(r"\s*\(from ([\w./-]+\.\w+|[a-z_]+)\)\s*")  # where this model says that a result is from
SILENT = "I have nothing to add"  # how it speaks where it was told not to repeat what was said
MENDING = re.compile(r"^That does not fit: ")
HEADING = re.compile(r"^## +(.+)$", re.MULTILINE)
ASIDE = (
    "constraints",
    "success",
    "if it cannot be done",
    "instructions",
    "workers",
    "search for",
    "part of",
    "missing",
    "participants",
    "your part",
    "refused",
)  # sections of a prompt that are orders, not material
ASKED = ("question", "task", "goal")  # a section of that name is what is asked; the words above it are orders
TEXTS = ("quote", "text", "content", "passage", "sentence", "answer", "body", "snippet")
SOURCES = ("reference", "citation", "source", "url", "id")
LABELS = ("heading", "title", "name")
LISTED = re.compile(r"^\s*[-*] +[`*]*([A-Za-z][\w .-]{0,63}?)[`*]*\s*[:—–]\s*(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with the reference to cite it by; `rank` is its place in the result it came in, from 0.

    `sure` is how sure the one was who gave it, if it says.
    """

    reference: str
    text: str
    heading: str = ""
    rank: int = 0
    batch: int = 0
    sure: float | None = None


@dataclass(slots=True)
class Evidence:
    """All that a conversation offers. `counts` is in how many passages of all a word occurs, where a tool told it."""

    question: str = ""
    orders: str = ""
    sections: dict[str, str] = field(default_factory=dict)
    passages: list[Passage] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    size: int = 0
    calls: list[dict[str, Any]] = field(default_factory=list)
    results: list[tuple[dict[str, Any], Any]] = field(default_factory=list)
    last: bool = False

    def called(self, name: str) -> list[dict[str, Any]]:
        """The arguments of the calls of a tool so far."""
        return [call["args"] for call in self.calls if call["name"] == name]


def gather(messages: Sequence[BaseMessage]) -> Evidence:
    """Read a conversation: the newest question that is no repair, its sections, and what tools returned since."""
    out = Evidence(orders="\n".join(m.text for m in messages if isinstance(m, SystemMessage)))
    asked = [n for n, m in enumerate(messages) if isinstance(m, HumanMessage) and not MENDING.match(m.text)]
    if not asked:
        return out
    _opening(out, messages[asked[-1]].text)
    out.last = "no more tools" in messages[asked[-1]].text.lower()
    by_id: dict[str, dict[str, Any]] = {}
    for message in messages[asked[-1] :]:
        if isinstance(message, AIMessage):
            calls = [{"name": c["name"], "args": c["args"]} for c in message.tool_calls]
            out.calls += calls
            by_id.update({c["id"] or "": call for c, call in zip(message.tool_calls, calls, strict=True)})
        elif isinstance(message, ToolMessage):
            _result(out, by_id.get(message.tool_call_id) or {"name": message.name or "", "args": {}}, message)
    return out


def _opening(out: Evidence, text: str) -> None:
    """A Task under headings, or JSON, or just a question."""
    data = _json(text)
    if isinstance(data, dict) and data:
        out.question = _asked(data)
        out.sections = {name: _words(value) for name, value in data.items()}
        values: Iterable[tuple[str, Any]] = data.items()
    else:
        head, *rest = HEADING.split(text)
        out.question = head.strip()
        out.sections = dict(zip(rest[::2], (part.strip() for part in rest[1::2]), strict=True))
        out.question = next((out.sections[n] for n in ASKED if n in out.sections), out.question)
        values = [(name, _parsed(part)) for name, part in out.sections.items() if name.lower() not in ASIDE]
    for name, value in values:
        if value != out.question and name.lower() not in ASKED:
            out.passages += found(
                value, default="given#" + re.sub(r"[^\w.-]+", "-", name).strip("-"), batch=len(out.results)
            )


def _asked(data: dict[str, Any]) -> str:
    for name in (*ASKED, "query", "input", "text"):
        if isinstance(value := data.get(name), str) and value.strip():
            return value
    return max((v for v in data.values() if isinstance(v, str)), key=len, default="")


def _result(out: Evidence, call: dict[str, Any], message: ToolMessage) -> None:
    value = _parsed(message.text)
    if isinstance(value, dict) and "value" in value:
        value = value["value"]
    elif isinstance(value, dict) and "error" in value:
        value = {"error": value["error"]}
    out.results.append((call, value))
    if isinstance(value, dict):
        counts = value.get("words")
        if isinstance(counts, dict):
            out.counts |= {str(k): int(v) for k, v in counts.items() if isinstance(v, int)}
        size = value.get("of")
        out.size = max(out.size, size if isinstance(size, int) else 0)
        if "error" in value or "tables" in value or "rows" in value:
            return  # nothing to quote: what tables hold is computed, not cited
    default = f"{call['name'] or 'tool'}#result-{len(out.results)}"
    out.passages += found(value, default=default, batch=len(out.results))


def found(value: Any, *, default: str, batch: int = 0) -> Iterator[Passage]:
    """Every text with a source in plain data, in order; a bare text has the default source, or the one it names."""
    for rank, (reference, heading, text, sure) in enumerate(_texts(value, default)):
        yield Passage(reference, text, heading, rank, batch, sure)


Found = tuple[str, str, str, float | None]


def _texts(value: Any, default: str) -> Iterator[Found]:
    if isinstance(value, str):
        yield from _cited(value, default)
    elif isinstance(value, dict):
        text = next((value[k] for k in TEXTS if isinstance(value.get(k), str) and value[k].strip()), None)
        named = ((k, value[k]) for k in SOURCES if isinstance(value.get(k), str))
        source = next((said for k, said in named if "#" in said or (k == "citation" and said)), None)
        if text is not None and source is not None:
            label = next((value[k] for k in LABELS if isinstance(value.get(k), str)), "")
            sure = value.get("confidence")
            yield source.strip("[]"), label, text, sure if isinstance(sure, int | float) else None
        else:
            for part in value.values():
                yield from _texts(part, default)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part, default)


def _cited(text: str, default: str) -> Iterator[Found]:
    """A text apart at its citations: what stands before one is from there."""
    if text.startswith((ADMITTED, SILENT)) or (text.count(" ") < 2 and not CITED.search(text)):
        return  # names, ids and states are no sentences
    *parts, rest = CITED.split(text)
    for said, source in zip(parts[::2], parts[1::2], strict=True):
        if said.strip():
            yield source, "", said.strip(), None
    *results, rest = FIGURE.split(rest) if FIGURE.search(rest) else [rest]
    yield from ((source, "", said.strip(), None) for said, source in zip(results[::2], results[1::2], strict=True))
    if rest.strip(" .\n") and not rest.strip().startswith(ADMITTED):
        yield default, "", rest.strip(), None


def _parsed(text: str) -> Any:
    data = _json(text)
    return text if data is None else data


def _json(text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def listed(text: str) -> list[tuple[str, str]]:
    """The `- name: what it is for` lines of a text, or the pairs of a JSON object of texts."""
    data = _json(text)
    if isinstance(data, dict):
        return [(name, flat(said)) for name, said in data.items() if isinstance(said, str)]
    return [(m[1], flat(m[2])) for m in LISTED.finditer(text)]
