"""What a tool loop remembers within a turn, and its pure decisions."""

import json
from typing import Any, Literal

from state.effect import Doubt, undecided
from state.tool import Tool
from state.transcript import Transcript
from state.turn import Turn


class State(Turn, total=False):
    """`scratch` is the exchange between model and tools; `decisions` are a person's, by the place of the call.

    `doubts` are calls that may have taken effect, by visit; with what a person says of them once they have.
    """

    scratch: Transcript
    steps: int
    decisions: dict[str, Any]
    doubts: dict[str, Doubt]


def same_call(call: dict[str, Any]) -> str:
    """What makes two calls identical: the tool and its arguments."""
    return json.dumps([call["name"], call["args"]], sort_keys=True, default=str)


def irreversible(calls: list[dict[str, Any]], tools: tuple[Tool, ...]) -> list[dict[str, Any]]:
    """The calls of a batch that wait for approval."""
    waits = {t.name for t in tools if t.effects == "irreversible"}
    return [c for c in calls if c["name"] in waits]


def next_move(
    calls: list[dict[str, Any]], tools: tuple[Tool, ...], steps: int, most: int, remaining: int
) -> Literal["gate", "act", "finish"]:
    """Where a model's turn leads: its calls to the tools, by way of the gate where one cannot be undone."""
    if not calls or steps >= most or remaining < 4:
        return "finish"
    return "gate" if irreversible(calls, tools) else "act"


def after_tools(state: State) -> Literal["gate", "think"]:
    """Where the tools lead: back to the gate with what may have taken effect, else to the model."""
    return "gate" if undecided(state.get("doubts")) else "think"
