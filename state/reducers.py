"""Channel reducers: pure, the same however writes are batched, plain data in and out."""

from collections.abc import Mapping
from typing import Any

from langgraph.graph.message import _messages_delta_reducer as merge_messages  # the one the engine gives ids for

__all__ = ["merge_keys", "merge_messages"]


def merge_keys(have: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> dict[str, Any]:
    """Keys of the later write win; different keys never collide, so parallel writers of their own keys are safe."""
    return {**(have or {}), **(new or {})}
