"""Build-time checks of a graph's wiring."""

from typing import Any

from langgraph.graph import StateGraph


def lint(builder: StateGraph[Any, Any, Any, Any], name: str) -> None:
    """Refuse what compiles silently and fails later."""
