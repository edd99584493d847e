"""One pattern described: its figure, its options, its drawing, its cost."""

import importlib
import inspect
from dataclasses import asdict
from typing import Any

from graphs.catalog import entry
from motet.load import load, spec_of


def described(name: str) -> dict[str, Any]:
    """Everything `motet show` shows. Raises InputError for an unknown pattern."""
    module = importlib.import_module(spec_of(name).partition(":")[0])
    known = entry(name)
    about = asdict(known) if known else {"name": name, "sentence": "", "use": "", "avoid": "", "cost": ""}
    build = getattr(module, "build", None)
    return about | {
        "figure": figure(module.__doc__ or ""),
        "options": options(build) if build else [],
        "mermaid": load(name).get_graph(xray=True).draw_mermaid(),
    }


def figure(doc: str) -> str:
    """The indented drawing in a module's docstring."""
    lines = [line for line in doc.splitlines() if line.startswith("    ") or not line.strip()]
    return "\n".join(lines).strip("\n")


def options(build: Any) -> list[dict[str, str]]:
    """The keyword-only options of a build function, with defaults and types."""
    return [
        {"name": p.name, "default": repr(p.default), "type": inspect.formatannotation(p.annotation)}
        for p in inspect.signature(build).parameters.values()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    ]
