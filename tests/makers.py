"""One small graph of every pattern, around one agent that a check gives: what the conformance suite runs.

Each stands as `make` in the pattern's own test file, and is loaded when it is used, so that a pattern at
fault fails its own checks and no others.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from scripted import Scripted

from graphs.bind import Bindable, bind
from graphs.catalog import CATALOG
from nodes.agent import Bound
from runtime.sync import Graph
from state.agent import Agent

Maker = Callable[[Bindable], Graph]


def scripted(name: str, says: Any, *, output: Any = None, **options: Any) -> Bound:
    """An agent that always says the same, or whatever a script says."""
    script = says if callable(says) else lambda messages, tools: says
    agent = Agent(name=name, responsibility=f"Plays {name}", **({"output": output} if output else {}), **options)
    return bind(agent, Scripted(script=script))


class Lazy(Mapping[str, Any]):
    """Something of each of some patterns, loaded when it is asked for."""

    def __init__(self, names: list[str], load: Callable[[str], Any]) -> None:
        self.names, self.load = names, load

    def __getitem__(self, name: str) -> Any:
        return self.load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


GRAPHS = {e.name: e.graph.partition(":") for e in CATALOG}
MAKERS: Mapping[str, Maker] = Lazy(
    [e.name for e in CATALOG if not e.application], lambda name: import_module(f"test_{name}").make
)
DEFAULTS: Mapping[str, Graph] = Lazy(
    [e.name for e in CATALOG], lambda name: getattr(import_module(GRAPHS[name][0]), GRAPHS[name][2])
)
