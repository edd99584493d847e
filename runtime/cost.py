"""What each compiled graph of the house costs in model calls, by the builder that it and its copies share."""

from typing import Any
from weakref import WeakKeyDictionary

from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

from state.cost import Calls

_declared: WeakKeyDictionary[Any, Calls] = WeakKeyDictionary()


def declare(builder: Any, calls: Calls) -> None:
    """Keep what `calls_of` answers for the graphs that are compiled from this builder."""
    _declared[builder] = calls


def calls_of(graph: Pregel[Any, Any, Any, Any]) -> Calls:
    """The least and the most model calls of a run; for a graph from elsewhere, nothing is known."""
    unknown = Calls(0, None)
    return _declared.get(graph.builder, unknown) if isinstance(graph, CompiledStateGraph) else unknown
