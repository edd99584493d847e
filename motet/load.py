"""From a name to a graph: a pattern of the catalogue, or anybody's "module:attribute"."""

import difflib
import importlib
import sys
from pathlib import Path
from typing import Any

from graphs.catalog import CATALOG, entry
from state.errors import InputError


def spec_of(name: str) -> str:
    """The "module:attribute" of a name. Raises InputError with the nearest names for an unknown one."""
    if ":" in name:
        return name
    found = entry(name)
    if found is None:
        names = [e.name for e in CATALOG]
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names
        raise InputError(f"no pattern is called {name!r}; did you mean {' or '.join(near)}? `motet patterns` lists all")
    return found.graph


def load(name: str) -> Any:
    """The compiled graph of a name. Raises InputError where there is none."""
    from runtime.sync import Graph  # the engine takes a second to import, which `motet patterns` should not pay

    module, _, attribute = spec_of(name).partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        graph = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{name!r} cannot be loaded: {error}; give a pattern's name, or MODULE:ATTRIBUTE") from error
    if not isinstance(graph, Graph):
        raise InputError(f"{name!r} is a {type(graph).__name__}, not a graph made by one of our build functions")
    return graph
