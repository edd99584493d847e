"""From a name to a graph: a pattern of the catalogue, or anybody's "module:attribute"."""

import difflib
import importlib
import sys
from pathlib import Path
from typing import Any

from graphs.catalog import CATALOG, entry
from state.errors import InputError


def load(name: str) -> Any:
    """The compiled graph of a name. Raises InputError where there is none, with the nearest names."""
    from runtime.sync import Graph  # the engine takes a second to import, which `motet patterns` should not pay

    spec, owned = _spec(name), entry(name) is None
    graph = _attribute(name, spec, owned=owned)
    if not isinstance(graph, Graph):
        raise InputError(
            f"{name!r} is a {type(graph).__name__}, not a graph of ours: build one around it, for example with "
            "graphs.pipeline.build"
        )
    return graph


def _spec(name: str) -> str:
    found = entry(name)
    if found is not None:
        return found.graph
    module, is_, attribute = name.partition(":")
    if is_ and all(part.isidentifier() for part in (*module.split("."), attribute)):
        return name
    if is_:
        raise InputError(f"{name!r} does not fit; write MODULE:ATTRIBUTE, for example my_team.graphs:graph")
    names = [e.name for e in CATALOG]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names
    raise InputError(
        f"no pattern is called {name!r}; did you mean {' or '.join(near)}? `motet patterns` lists all; "
        "a graph of your own is MODULE:ATTRIBUTE"
    )


def _attribute(name: str, spec: str, *, owned: bool) -> Any:
    module, _, attribute = spec.partition(":")
    here = str(Path.cwd())
    if owned and here not in sys.path:
        sys.path.append(here)  # last, so that no folder of the user's shadows a package
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        where = f" in {here} or among the installed packages" if owned else ""
        raise InputError(f"{name!r} cannot be loaded: {error}{where}") from error
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        raise InputError(f"{name!r} cannot be loaded: {module} raised {type(error).__name__}: {error}") from error
    if not hasattr(loaded, attribute):
        have = [n for n, v in vars(loaded).items() if hasattr(v, "get_graph") and not isinstance(v, type)]
        hint = f"it has {', '.join(have)}" if have else "no graph is in it"
        raise InputError(f"{name!r} cannot be loaded: {module} has no {attribute!r}; {hint}")
    return getattr(loaded, attribute)
