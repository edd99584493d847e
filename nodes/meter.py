"""Counts the model calls of a graph that is not ours, and stops it when a budget is spent."""

import asyncio
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult

from nodes.asked import Asked
from nodes.request import OWN
from runtime.ledger import Hold
from runtime.models import MESSAGE_TOKENS, Price, price_of
from runtime.run import Place
from state.budget import Amount
from state.record import Record


class Meter(BaseCallbackHandler):
    """Books each call before it is made. What a foreign model will say is unknown, so a budget can be
    passed by the calls in flight, and by no more."""

    raise_error = True
    run_inline = True

    def __init__(self, asked: Asked, place: Place) -> None:
        self.asked, self.place = asked, place
        self.loop = asyncio.get_running_loop()
        self.open: dict[UUID, tuple[Record, Hold, Price]] = {}

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Raises BudgetError where nothing is left: the call is not made."""
        if OWN in (tags or ()):
            return
        name = str((metadata or {}).get("ls_model_name") or "unknown")
        price = price_of(name) or Price()
        tokens = sum(len(m.text) // 4 + MESSAGE_TOKENS for batch in messages for m in batch)
        ledger, scopes = self.asked.run.ledger, ("", *self.place.above)
        hold = ledger.take(Amount(1, tokens, price.of(tokens, 0)), scopes)
        record = self.asked.run.book.note(
            "model",
            **self.asked.about() | {"path": self.place.path, "visit": "foreign"},
            model=name,
            tokens_in=tokens,
        )
        self.open[run_id] = (record, hold, price)
        self._save(record)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Settle by what the model reports."""
        if run_id not in self.open:
            return
        record, hold, price = self.open.pop(run_id)
        message = getattr(response.generations[0][0], "message", None)
        said = getattr(message, "usage_metadata", None) or {}
        record["tokens_in"] = said.get("input_tokens", record["tokens_in"])
        record["tokens_out"] = said.get("output_tokens", 0)
        record["cost_microusd"] = price.of(record["tokens_in"], record["tokens_out"])
        record["outcome"] = "completed"
        used = Amount(1, record["tokens_in"] + record["tokens_out"], record["cost_microusd"])
        self.asked.run.ledger.settle(hold, used)
        self._save(record)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A call that failed was made all the same."""
        if run_id not in self.open:
            return
        record, hold, _ = self.open.pop(run_id)
        record["outcome"], record["reason"] = "failed", str(error)[:400]
        self.asked.run.ledger.settle(hold, Amount(1, record["tokens_in"]))
        self._save(record)

    def _save(self, record: Record) -> None:
        """Handlers are plain functions and may run on any thread: the write goes to the run's loop."""
        asyncio.run_coroutine_threadsafe(self.asked.run.book.save(record), self.loop)
