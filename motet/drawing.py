"""One pattern described: its figure, its options, its drawing, its cost."""

import inspect
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from graphs.catalog import entry
from motet.load import load
from runtime.cost import calls_of
from state.record import Record
from state.sequence import sequence

FIELDS = ("sentence", "use", "avoid", "cost", "latency", "talk")


def described(name: str) -> dict[str, Any]:
    """Everything `motet show` shows. Raises InputError for an unknown pattern."""
    graph, known = load(name), entry(name)
    module = sys.modules[(known.graph if known else name).partition(":")[0]]
    about = asdict(known) if known else dict.fromkeys(FIELDS, "") | {"name": name}
    build = getattr(module, "build", None)
    return about | {
        "figure": figure(module.__doc__ or ""),
        "calls": str(calls_of(graph)),
        "options": options(build) if known and build else [],
        "mermaid": graph.get_graph(xray=True).draw_mermaid(),
    }


def figure(doc: str) -> str:
    """The indented drawing in a module's docstring."""
    lines = [line for line in doc.splitlines() if line.startswith("    ") or not line.strip()]
    return "\n".join(lines).strip("\n")


def diagram(records: Iterable[Record], pattern: str) -> str:
    """Who said what to whom in a run, as a Mermaid sequence diagram."""
    lines = [
        f"    {_named(said.sender)}{'-->>' if said.answer else '->>'}{_named(said.recipient)}: {_named(said.what)}"
        for said in sequence(records, pattern)
    ]
    return "\n".join(["sequenceDiagram", *lines])


def _named(text: str) -> str:
    """A text that ends no line of a diagram: Mermaid takes ; and # for signs of its own."""
    return re.sub(r"[^\w /~.,:-]+", "_", text) or "_"


def options(build: Any) -> list[dict[str, Any]]:
    """What a build function takes: name, default (None where there is none), and type, in short."""
    return [
        {"name": p.name, "default": None if p.default is p.empty else _default(p.default), "type": _type(p.annotation)}
        for p in inspect.signature(build).parameters.values()
    ]


def _default(value: Any) -> str:
    named = getattr(value, "name", getattr(value, "__name__", None))
    return named if isinstance(named, str) else repr(value)


def _type(annotation: Any) -> str:
    from graphs.bind import Bindable  # brings the engine

    if annotation == Bindable:
        return "agent, graph or function"
    if annotation == Bindable | None:
        return "agent, graph, function or None"
    return _short(annotation).replace(_short(Bindable), "Bindable")


def _short(annotation: Any) -> str:
    """A type without the modules that its parts come from."""
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", inspect.formatannotation(annotation))
