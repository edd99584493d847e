"""The first and the last node of every pattern: one settles a turn, the other closes it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels.base import BaseChannel
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.types import Overwrite

from runtime.run import context_of, place_of, run_of
from state.answers import in_words
from state.errors import InputError
from state.record import digest, timeline, usage_by_agent
from state.turn import KEPT, LASTING, Turn, last_words, settle
from state.usage import total

Node = Callable[..., Awaitable[dict[str, Any]]]

ARCHIVE = "archive"
EARLIER = "the conversation so far"  # under this name the roles that see the whole task see what was said before


def begin(schema: type) -> Node:
    """The node that takes the task, refuses an empty input, and clears what the turn before left.

    `schema` is the pattern's state: all its own channels start empty, but for those marked LASTING. A
    folder of documents that is named must be there. Messages older than the newest `KEPT` go to the
    archive in the store, so that a thread's turns do not grow slower.
    """
    empty = {name: value for name, value in _empties(schema).items() if name not in get_type_hints(Turn)}

    async def begin(state: Turn, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        task = settle(state)
        await _check_folder(context_of(runtime).docs_folder())
        turn = (state.get("turn") or 0) + 1
        messages = state.get("messages") or []
        newest = next((m for m in reversed(messages) if m.type == "human"), None)
        update: dict[str, Any] = {}
        if newest is None or newest.text.strip() != task.goal or newest.id == state.get("asked"):
            newest = HumanMessage(task.goal, id=digest([place_of(config).path, turn, task.goal]))
            update["messages"] = [newest]
        if earlier := last_words([m for m in messages if m.id != newest.id]):
            task = task.model_copy(update={"context": {EARLIER: earlier, **task.context}})
        if len(messages) > 2 * KEPT and runtime.store is not None:  # without one, nothing may leave the thread
            await _archive(runtime.store, messages[:-KEPT], place_of(config).thread)
            update["messages"] = Overwrite([*messages[-KEPT:], *update.get("messages", [])])
        return {
            **empty,
            **update,
            "task": task.model_copy(update={"turn": turn}).model_dump(mode="json"),
            "asked": newest.id,
            "turn": turn,
            "branch": state.get("branch") or "main",
            "answer": None,
            "outcome": "",
            "reason": "",
            "author": "",
            "usage": {},
        }

    return begin


def finish() -> Node:
    """The node that closes a turn: the answer becomes a message under its author's name, the book its usage."""

    async def finish(state: Turn, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        place = place_of(config)
        run = await run_of(place, runtime)
        answer, outcome, reason = state.get("answer"), state.get("outcome") or "failed", state.get("reason") or ""
        if answer is None and outcome in ("completed", "degraded"):
            outcome, reason = "failed", reason or "nobody answered"
        said = in_words(answer) if answer is not None else f"{outcome}: {reason}"
        message = AIMessage(
            said,
            name=state.get("author") or (config.get("metadata") or {}).get("pattern"),
            id=digest(["answer", place.path, state.get("turn"), state.get("asked"), said]),
            response_metadata={"outcome": outcome, "reason": reason},
        )
        used = usage_by_agent(timeline(run.book.under(place.path)))
        return {
            "messages": [message],
            "outcome": outcome,
            "reason": reason,
            "usage": {**used, "total": total(used.values())},
        }

    return finish


async def _check_folder(folder: Path | None) -> None:
    if folder is not None and not await asyncio.to_thread(folder.is_dir):
        raise InputError(f"no such folder: {folder}; give the path of an existing folder of documents as `docs`")


async def _archive(store: BaseStore, messages: list[Any], thread: str) -> None:
    plain = {"messages": [m.model_dump(mode="json") for m in messages]}
    await store.aput((ARCHIVE, digest(thread)), digest([m.id for m in messages]), plain, index=False)


def _empties(schema: type) -> dict[str, Any]:
    """What each channel of a state holds when nothing was written to it yet; those that last are left out."""
    hints = get_type_hints(schema, include_extras=True).items()
    return {name: _empty(hint) for name, hint in hints if LASTING not in getattr(hint, "__metadata__", ())}


def _empty(hint: Any) -> Any:
    bare = hint.__origin__ if hasattr(hint, "__metadata__") else hint
    made = get_origin(bare) or bare
    value: Any = made() if made in (list, dict, int, str, float, bool) else None
    reduced = any(isinstance(m, BaseChannel) or callable(m) for m in getattr(hint, "__metadata__", ()))
    return Overwrite(value) if reduced else value
