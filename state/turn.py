"""The channels that every pattern shares, and what settles one turn of a thread.

A turn is one question and what came of it. `begin` settles it (nodes/turn.py), roles work, `finish`
closes it; a thread holds many turns, and no turn sees the leftovers of the one before.
"""

from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.managed import RemainingSteps
from pydantic import ValidationError
from typing_extensions import TypedDict

from state.agent import Outcome, Reply
from state.errors import InputError
from state.plain import unsavable
from state.task import Task
from state.transcript import Transcript

KEPT = 50  # messages a thread carries on; once it has twice as many, the older ones go to the archive
UNBOUND = 1_000_000
LONGEST = 200_000  # characters of one task
LASTING = "lasting"  # on a channel's annotation, Annotated[T, LASTING]: the next turn goes on with what it holds


class Given(TypedDict, total=False):
    """What a caller gives: either is enough. `task` is a string or a Task as a mapping."""

    messages: Transcript
    task: str | dict[str, Any] | None


class Result(TypedDict, total=False):
    """What a caller gets, and all that a pattern used as an agent hands up."""

    messages: Transcript
    answer: dict[str, Any] | None
    outcome: str
    reason: str
    usage: dict[str, Any]


class Turn(Given, Result, total=False):
    """What every pattern's state begins with. One writer at a time, but for `messages`.

    `author` is the agent whose answer it is; `asked` is the id of the message that began the turn.
    """

    turn: int
    branch: str
    author: str
    asked: str
    remaining_steps: RemainingSteps


def settle(state: Turn) -> Task:
    """The task of a new turn: one given now, else the newest human message that was not yet answered.

    Raises InputError when neither is there, or when it is too long, not a Task, or cannot be saved.
    """
    given = state.get("task")
    if isinstance(given, dict) and given.get("turn"):
        given = None  # left by the turn before
    if given is None:
        newest = next((m for m in reversed(state.get("messages") or []) if m.type == "human"), None)
        if newest is not None and (newest.id is None or newest.id != state.get("asked")):
            given = newest.text
    if given is None or (isinstance(given, str) and not given.strip()):
        raise InputError("the input is empty: give `task` (a string or a Task), or a human message in `messages`")
    try:
        task = Task(goal=given.strip()) if isinstance(given, str) else Task.model_validate(given)
    except ValidationError as error:
        raise InputError(f"`task` is not a Task: {explain(error)}") from error
    if not task.goal.strip():
        raise InputError("the task's goal is empty: say what is to be done")
    if fault := unsavable(task.model_dump()):
        raise InputError(f"`task` cannot be saved: {fault}")
    try:
        task.model_dump_json()
    except ValueError as error:
        raise InputError(f"`task` cannot be saved: {error}; give plain data") from error
    if len(task.goal) > LONGEST:
        raise InputError(
            f"the task has {len(task.goal):,} characters; at most {LONGEST:,} are taken: "
            "put long material into a file of the documents folder, and ask about it"
        )
    return task


def steps_left(state: Turn) -> int:
    """Super-steps until the engine's limit.

    While a saved state is changed from outside, the engine always says 2. That is no limit, and a run
    that really has no more left can no longer be ended well.
    """
    left = state.get("remaining_steps")
    return UNBOUND if left is None or left <= 2 else left


def explain(error: ValidationError) -> str:
    """A validation error in one line: where, and what was expected."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors())


def reasons(*parts: str | None) -> str:
    """Reasons in one line; those that are empty are left out."""
    return "; ".join(filter(None, parts))


def task_of(state: Turn) -> Task:
    """The settled task of this turn, fit to be handed on."""
    return Task.model_validate({**(state.get("task") or {}), "turn": 0})  # type: ignore[dict-item]  # settled: no text


def concluded(reply: Reply, *, best: dict[str, Any] | None = None) -> dict[str, Any]:
    """The update that ends a turn with a reply; without an output, `best` is the answer so far."""
    return {
        "answer": reply.output if reply.ok else best,
        "outcome": reply.outcome if reply.ok or best is None else weaker(reply.outcome),
        "reason": reply.reason,
        "author": reply.agent,
    }


def ended(outcome: Outcome, reason: str, *, answer: dict[str, Any] | None = None, author: str = "") -> dict[str, Any]:
    """The update that ends a turn on a pattern's own word."""
    return {"answer": answer, "outcome": outcome, "reason": reason, "author": author}


def weaker(outcome: Outcome) -> Outcome:
    """The outcome of a turn that has an answer although its last call brought none."""
    return outcome if outcome in ("out_of_budget", "cancelled", "escalated", "rejected") else "degraded"


def last_words(messages: list[BaseMessage], most: int = 12, longest: int = 2000) -> list[dict[str, str]]:
    """The newest words of people and agents as plain data, for a prompt: who said what, cut where it is long."""
    said = [(m.name or ("user" if m.type == "human" else "assistant"), m.text) for m in messages if m.text.strip()]
    return [{"from": who, "text": text[:longest]} for who, text in said[-most:]]
