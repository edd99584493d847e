"""The door for messages between agents: each one that is delivered stands in the book, once."""

from collections.abc import Iterable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from runtime.run import place_of, run_of, task_id
from state.envelope import Envelope


async def post(envelopes: Iterable[Envelope], *, config: RunnableConfig, runtime: Runtime[Any]) -> None:
    """Write down each envelope that is delivered now; what a node that runs again delivers is there already.

    Raises StorageError when the book cannot be written.
    """
    place = place_of(config)
    book = (await run_of(place, runtime)).book
    for envelope in envelopes:
        visit = f"message/{envelope.id}"
        if book.of(place.path, visit, "message"):
            continue
        record = book.note(
            "message",
            agent=envelope.sender,
            path=place.path,
            visit=visit,
            task=task_id(runtime),
            digest=book.digest(envelope.payload),
            to=envelope.recipient,
            says=envelope.kind,
            causation=envelope.causation,
            **({"at": envelope.sent_at} if envelope.sent_at else {}),
        )
        await book.end(record, "completed", soon=True, content=envelope.payload)
