"""What a blackboard remembers besides its board, and its decisions: who acts next, and when it is over. Pure.

A round is one look at the board, the sources that act on it as it is, and the settling of what they
wrote. What happened is told in `log`, one event each: {"round", "source", "what", "entries", "why",
"flaw"}, where `what` is picked, wrote, unchanged, refused, retries, lost, resolved, failed or stopped,
and a flaw is what the turn must answer for, unless the same source did better later.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from langgraph.channels.delta import DeltaChannel
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from state.board import Board, Seat
from state.reducers import merge_keys
from state.turn import Result, Turn, reasons

Event = dict[str, Any]


class Pick(BaseModel):
    """A controller's word on whose turn it is."""

    model_config = ConfigDict(extra="forbid")

    next: str = Field(description="The name of the source that should act now")
    reason: str = Field("", description="Why, in one sentence")


def joined(have: Sequence[Event], new: Iterable[Sequence[Event]]) -> list[Event]:
    """The log with more events behind it."""
    return [*have, *(event for some in new for event in some)]


class Memory(TypedDict, total=False):
    """What is remembered of one source.

    `runs` counts its activations, `idle` those in a row that changed nothing, `seen` is the revision of
    the board that the last of these saw; `tries` counts the writes lost in a row, and `until` is the round
    before which it does not read again; `out` says why it is not asked any more, `told` what was refused.
    """

    runs: int
    idle: int
    seen: int
    tries: int
    until: int
    out: str
    told: str


class Shown(Result, total=False):
    """What a caller sees besides the answer."""

    board: dict[str, Any]
    log: Annotated[list[Event], DeltaChannel(joined)]


class State(Turn, Shown, total=False):
    """`offers` is written by all sources of a round at once, each under its name.

    `revision` counts the changes of the board, `newest` are the entries of the last one, `ready` the
    sources that are triggered and `chosen` those that act; `conflicts` wait for the resolver. `over` says
    how the work ended, where a synthesizer has the last word.
    """

    round: int
    revision: int
    activations: int
    newest: list[str]
    ready: list[str]
    chosen: list[str]
    offers: Annotated[dict[str, Any], merge_keys]
    memory: dict[str, Any]
    conflicts: list[dict[str, Any]]
    over: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How often sources act, in all and at once; how often one acts in vain, and reads again after it lost."""

    max_activations: int
    at_once: int | None
    max_retries: int
    max_idle: int


def look(
    seats: Sequence[Seat], state: State, bounds: Bounds, goal: Callable[[Board], bool] | None, left: bool
) -> dict[str, Any]:
    """Who is triggered now, as `ready`, with `chosen` of them; or how the work is `over`.

    Losers who wait are waited for when nobody else wants to act. `left` says whether the engine has
    steps for another round.
    """
    board, memory = state.get("board") or {}, state.get("memory") or {}
    now, done = (state.get("round") or 0) + 1, state.get("activations") or 0
    held, fault = (False, "") if goal is None else _asked(goal, board)
    new = [event(now, "the goal", "failed", why=f"the goal failed: {fault}", flaw=True)] if fault else []
    if held:
        return {"round": now, "over": ending("", state["log"])}
    wanting = []
    for one in seats:
        mine = memory.get(one.name, {})
        if mine.get("out") or mine.get("seen") == state["revision"]:
            continue
        wants, fault = _asked(one.trigger, board)
        if wants:
            wanting.append(one)
        elif fault:
            new.append(event(now, one.name, "failed", why=f"{one.name}: its trigger failed: {fault}", flaw=True))
            memory = {**memory, one.name: {**mine, "out": fault}}
    now = max(now, min((memory.get(s.name, {}).get("until", 0) for s in wanting), default=0))
    wanting = [s for s in wanting if memory.get(s.name, {}).get("until", 0) <= now]
    out = {"round": now, "memory": memory, "log": new}
    if not wanting:
        unmet = "" if goal is None else "nothing triggers any more, and the goal does not hold"
        return out | {"over": ending(unmet, [*state["log"], *new])}
    if done >= bounds.max_activations or not left:
        why = "there was more to do" if left else "no steps are left"
        return out | {"over": ending(f"stopped after {done} activation(s): {why}", [*state["log"], *new])}
    ranked = sorted(wanting, key=lambda s: (-s.priority, memory.get(s.name, {}).get("runs", 0)))
    most = bounds.max_activations - done
    return out | {"ready": [s.name for s in ranked], "chosen": [s.name for s in ranked[: bounds.at_once][:most]]}


def ending(unmet: str, log: Sequence[Event]) -> dict[str, Any]:
    """How the work ended, as {"outcome", "reason"}: degraded by what was not reached, and by what went wrong."""
    reason = reasons(unmet, flaws(log))
    return {"outcome": "degraded" if reason else "completed", "reason": reason}


def event(now: int, source: str, what: str, entries: Sequence[str] = (), *, why: str = "", flaw: bool = False) -> Event:
    """One line of the log."""
    return {"round": now, "source": source, "what": what, "entries": list(entries), "why": why, "flaw": flaw}


def flaws(log: Iterable[Event]) -> str:
    """What went wrong and was not mended, by the last word on each source."""
    last = {e["source"]: e for e in log if e["what"] != "stopped"}
    return "; ".join(e["why"] for e in last.values() if e["flaw"])


def settled_answer(state: State, entry: str | None) -> tuple[dict[str, Any] | None, str, str]:
    """The answer from the board with its author: that entry, else the newest; and what is wrong with it."""
    board = state.get("board") or {}
    newest = [e for e in state.get("newest") or () if e in board]
    missing = f"there is no entry {entry!r}" if entry is not None and entry not in board else ""
    name = entry if entry is not None and entry in board else newest[-1] if newest else None
    if name is None:
        return None, "", missing
    value = board[name]["value"]
    if not isinstance(value, dict):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        value = {"text": text, "citations": board[name]["evidence"], "confidence": None}
    return value, board[name]["by"], missing


def _asked(question: Callable[[Board], bool], board: Board) -> tuple[bool, str]:
    """What a function of the user's says of the board, or how it failed on what it did not foresee."""
    try:
        return bool(question(board)), ""
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"[:200]
