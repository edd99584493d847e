"""The effects ledger: each call of a tool stands under a key, its intent before it runs and its result after.

The key names the call by what the state says (thread, branch, turn, path, visit), never by the engine's
task ids, so that it is the same after a crash. The ledger is the book's tool records, read by that key:
an intent is a record without an outcome. `tools/guard.py` alone uses it.
"""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runtime.book import Book
from runtime.run import Place
from state.effect import UNKNOWN, Doubt, Standing, result_of, standing
from state.errors import DoubtError
from state.record import Record, record_id
from state.tool import Effects

CUT_OFF = "the process ended before it had a result"


@dataclass(slots=True)
class Effect:
    """One call of a tool, and what the book has of it."""

    book: Book
    place: Place
    visit: str
    agent: str
    name: str
    args: Any
    effects: Effects
    sensitive: bool = False
    digest: str = field(init=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.digest = self.book.digest([self.name, self.args], sensitive=self.sensitive)
        thread = self.place.thread or uuid.uuid4().hex  # two runs that keep no thread are not the same run
        self.key = record_id(thread, self.place.branch, self.place.turn, self.place.path, self.visit, 1, self.name)

    @property
    def attempts(self) -> list[Record]:
        """All that the book has under this key, first to last."""
        return self.book.of(self.place.path, self.visit, "tool")

    @property
    def standing(self) -> Standing:
        """How this call stands."""
        return standing(self.attempts, self.digest, self.effects)

    @property
    def result(self) -> dict[str, Any] | None:
        """The result that the book has of this call."""
        return result_of(self.attempts, self.digest)

    @property
    def doubt(self) -> DoubtError:
        """What is known of a call that may have taken effect."""
        last = [r for r in self.attempts if r["digest"] == self.digest][-1]
        known = Doubt(
            name=self.name,
            args=self.args,
            key=self.key,
            attempt=len(self.attempts),
            began=datetime.fromtimestamp(last["at"], UTC).isoformat(timespec="seconds"),
            why=last.get("reason") or CUT_OFF,
        )
        return DoubtError(self.visit, known)

    async def begin(self) -> Record:
        """Record the intent; it is durable when this returns."""
        record = self._note()
        await self.book.save(record)
        return record

    async def end(self, record: Record, outcome: str, result: dict[str, Any]) -> dict[str, Any]:
        """Record the result, which is given back."""
        fault = {"owner": "receiver", "reason": result["error"]} if "error" in result else {}
        await self.book.end(record, outcome, content=result, **fault)
        return result

    async def lose(self, record: Record, why: str) -> DoubtError:
        """Record that a call ended without saying whether it took effect."""
        await self.book.end(record, UNKNOWN, owner="receiver", reason=why)
        return self.doubt

    async def settle(self, outcome: str, result: dict[str, Any], by: str) -> dict[str, Any]:
        """Record what somebody says of a call that had no result; the attempts before stay as they were."""
        record = self._note()
        if by:
            record["by"] = by
        return await self.end(record, outcome, result)

    def _note(self) -> Record:
        known = {"args": self.args, "sensitive": True} if self.sensitive else {"args": self.args}
        return self.book.note(
            "tool",
            agent=self.agent,
            path=self.place.path,
            visit=self.visit,
            digest=self.digest,
            tool=self.name,
            **known,
        )
