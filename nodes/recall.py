"""Answers of agents that may be cached, kept in the store by content: the same input is not asked twice."""

from typing import Any

from nodes.asked import Asked, plain
from state.agent import Reply
from state.record import digest

ANSWERS = ("answers",)


def key_of(asked: Asked, who: str) -> str:
    """What an answer depends on: the contract's words, who answers, and the input."""
    agent = asked.agent
    said = [agent.name, agent.responsibility, agent.instructions, agent.output.model_json_schema()]
    return digest([said, who, asked.given.model_dump(mode="json")])


async def recall(asked: Asked, who: str) -> Reply | None:
    """The kept answer to this very input, booked as a hit that cost nothing; None where there is none."""
    store = asked.runtime.store
    kept = await store.aget(ANSWERS, key_of(asked, who)) if store is not None else None
    if kept is None:
        return None
    reply = Reply(**kept.value)
    record = await asked.run.book.start("model", **asked.about(), model=who, cached=True)
    await asked.run.book.end(record, "completed", **asked.shown(reply))
    return reply


async def keep(asked: Asked, who: str, reply: Reply) -> None:
    """Keep a good answer for the next time; nothing of a run in which somebody is sensitive."""
    if asked.runtime.store is not None and not asked.place.veiled and reply.outcome == "completed" and reply.ok:
        value: dict[str, Any] = plain(reply) | {"usage": {}}
        await asked.runtime.store.aput(ANSWERS, key_of(asked, who), value, index=False)
