"""What a replayed run is answered with instead of a call, and what a run leaves in the book for that."""

from dataclasses import replace
from typing import Any

from langgraph.pregel import Pregel

from nodes.asked import Asked, plain
from nodes.prompt import voice_of
from runtime.replay import recording
from state.agent import Failure, Reply
from state.record import Kind, spent


def is_ours(graph: Pregel[Any, Any, Any, Any]) -> bool:
    """Whether a graph shares the channels of the house, and so keeps its calls in the book."""
    return "outcome" in graph.channels and "task" in graph.channels


def replayed(asked: Asked, kind: Kind) -> Reply | None:
    """What this call was answered with then; None where this run is no replay, but is made.

    An input with a deadline is never the same again: its digest is not held against the record's.
    """
    if (book := recording()) is None or book is not asked.run.book:
        return None
    timed = getattr(asked.given, "deadline", None) is not None
    path, visit = asked.place.path, asked.visit
    digest = "" if timed else asked.digest
    said, made = book.recorded(kind, path=path, visit=visit, digest=digest, voice=voice_of(asked.agent))
    scopes = ("", f"agent:{asked.agent.name}", *asked.place.above, asked.place.below(visit).path)
    asked.run.ledger.spend(spent(made), scopes)
    reply = Reply(**said)
    return replace(reply, error=Failure(**said["error"])) if said.get("error") else reply


async def kept(asked: Asked, kind: Kind, reply: Reply) -> Reply:
    """Leave a failed reply in the book, on the record of the attempt, or on a note where no attempt was made."""
    book = asked.run.book
    attempts = book.of(asked.place.path, asked.visit, kind)
    if attempts and attempts[-1]["outcome"] and "content" not in attempts[-1]:
        attempts[-1]["content"] = plain(reply)
        await book.save(attempts[-1])
    elif kind != "graph":
        note = book.note("note", **asked.about())
        await book.end(note, reply.outcome, reason=reply.reason, content=plain(reply))
    return reply
