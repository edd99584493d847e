"""The channel that transcripts stand in: only what was added is saved, and a whole copy now and then."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated, Any

from langchain_core.messages import AnyMessage, BaseMessage, RemoveMessage
from langgraph._internal._typing import MISSING  # what the engine's channels hold before their first value
from langgraph.channels.delta import DeltaChannel

from state.reducers import merge_messages

LEAST = 20
ID = attrgetter("id")


class TranscriptChannel(DeltaChannel[list[AnyMessage]]):
    """A delta channel that saves a whole copy once as many updates came as it has messages.

    Each copy is then paid for by the updates before it: all copies together are at most twice the
    transcript, and loading it reads at most as many updates as it has messages, however long the
    thread has lived. A fixed frequency has only one of the two.
    """

    __slots__ = ()

    @property
    def snapshot_frequency(self) -> int:
        """Updates until the next copy."""
        return LEAST if self.value is MISSING else max(LEAST, len(self.value))

    @snapshot_frequency.setter
    def snapshot_frequency(self, _: Any) -> None:
        """The engine copies channels with the frequency of the moment, which means nothing here."""

    def update(self, values: Sequence[Any]) -> bool:
        """As the reducer does, but new messages are appended without an index of all that are there."""
        if not values:
            return False
        new = [m for value in values if type(value) is list for m in value]
        ids = {m.id for m in new if isinstance(m, BaseMessage) and not isinstance(m, RemoveMessage)} - {None}
        plain = self.value is not MISSING and bool(new) and all(type(value) is list for value in values)
        if plain and len(ids) == len(new) and ids.isdisjoint(map(ID, self.value)):
            self.value = [*self.value, *new]
            return True
        return super().update(values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TranscriptChannel) and self.reducer is other.reducer

    __hash__ = None  # type: ignore[assignment]  # as every channel: compared, never a key


Transcript = Annotated[list[AnyMessage], TranscriptChannel(merge_messages)]
