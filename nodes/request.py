"""One request to a chat model: budget, concurrency, deadline, transient retries, and its record."""

import asyncio
import json
import math
from collections import OrderedDict
from typing import Any

from langchain_core.exceptions import ModelError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig, ensure_config
from langgraph.errors import GraphBubbleUp, GraphDrained

from nodes.asked import Asked
from nodes.heard import Heard, broken_off
from nodes.unheard import ask, unheard
from runtime.breaker import Admission
from runtime.failures import TRIES, failure_of, held_against, pause, turned_away
from runtime.ledger import UNLIMITED, Hold
from runtime.models import Price, identity, model, most_tokens, names_of, price_of, priced, prices, ready, shown
from state.agent import Reply
from state.budget import Amount
from state.errors import BreakerError, BudgetError, EndpointError, InputError, MotetError, OutputError
from state.record import Record

OWN = "motet:counted"  # on the door's own requests, so that a meter around a foreign graph does not count them again
LEAST = 64  # tokens of output without which a request is not worth making

BOUND = 256  # models with their tools, remembered
_bound: OrderedDict[tuple[Any, ...], tuple[BaseChatModel, list[dict[str, Any]], Any]] = OrderedDict()


class Request:
    """Asks one model for one answer, as often as it takes; every attempt has its record.

    `send` leaves the record of its last attempt open: `close` ends it with the reply that came of
    it, `fail` with the reason why the message was of no use.
    """

    def __init__(self, asked: Asked, llm: BaseChatModel | None, tools: list[dict[str, Any]]) -> None:
        self.asked, self.tools = asked, tools
        agent, context = asked.agent, asked.run.context
        self.name, *self.others = names_of(agent.tier, context) if llm is None else (called(llm),)
        self.own, self.price = llm, Price()
        self.llm: BaseChatModel
        self.prepared = False
        self.scopes = ("", f"agent:{agent.name}", *asked.place.above, asked.place.below(asked.visit).path)
        if agent.limits.tokens_per_run is not None:
            asked.run.limit_agent(agent.name, agent.limits.tokens_per_run)
        self.record: Record | None = None

    async def send(self, messages: list[AnyMessage]) -> AIMessage:
        """The model's next message, or that of the next one where a model fails for good.

        Raises BudgetError, or the last failure once retrying is over.
        """
        while True:
            if not self.prepared:
                await self._prepare()
            try:
                return await self._retried(messages)
            except (GraphBubbleUp, BudgetError, asyncio.CancelledError):
                raise
            except Exception as error:
                its_own = isinstance(error, BreakerError | EndpointError) or not isinstance(error, MotetError)
                if not self.others or not its_own or self.asked.left() <= 0:
                    raise
                self.name, self.prepared = self.others.pop(0), False

    async def _retried(self, messages: list[AnyMessage]) -> AIMessage:
        """One model's message. Raises its last failure."""
        most = self.asked.agent.limits.seconds
        for attempt in range(TRIES):
            try:
                return await self._attempt(messages)
            except (GraphBubbleUp, BudgetError, BreakerError, asyncio.CancelledError):
                raise
            except Exception as error:
                fault = failure_of(error, at=self.asked.agent.name)
                wait = pause(error, attempt)
                if not fault.retryable or wait is None or attempt + 1 == TRIES or wait >= min(most, self.asked.left()):
                    raise
                if not self.asked.run.may_retry():
                    raise
                await asyncio.sleep(wait)
        raise AssertionError("the loop above returns or raises")

    async def close(self, reply: Reply) -> Reply:
        """End the last attempt's record well; the reply says what the whole call used."""
        assert self.record is not None
        reply.usage.update(self._used())
        await self.asked.run.book.end(self.record, "completed", soon=True, **self.asked.shown(reply))
        return reply

    async def fail(self, reason: str) -> None:
        """End the last attempt's record: it was answered, and paid for, but of no use."""
        assert self.record is not None
        await self.asked.run.book.end(self.record, "refused", owner="receiver", reason=reason[:400])

    async def _prepare(self) -> None:
        """Find the model and its price. The first time of all is done on a thread: it reads files."""
        loop = asyncio.get_running_loop()
        if self.own is None and not ready(self.name, loop):
            await asyncio.to_thread(model, self.name, loop)
        if not priced():
            await asyncio.to_thread(prices)
        self.llm = self.own or model(self.name, loop)
        price = price_of(self.name)
        if price is None and self.asked.run.context.max_usd is not None:
            raise InputError(
                f"a budget in dollars needs the price of {self.name}: add it to the table that MOTET_PRICES names, "
                "or give the budget in tokens"
            )
        self.price, self.prepared = price or Price(), True

    async def _attempt(self, messages: list[AnyMessage]) -> AIMessage:
        asked, run = self.asked, self.asked.run
        async with run.room.place(asked.left()):
            if asked.runtime.drain_requested:
                raise GraphDrained(asked.runtime.drain_reason or "shutdown")
            asked.seconds_left(math.inf)
            with Admission(f"model {shown(self.name)}", *identity(self.name, self.llm)) as admission:
                return await self._made(messages, admission)

    async def _made(self, messages: list[AnyMessage], admission: Admission) -> AIMessage:
        asked, run, own = self.asked, self.asked.run, self.asked.agent.limits.seconds
        tokens_in = most_tokens(self.llm, messages, self.tools)  # type: ignore[arg-type]  # AnyMessage is BaseMessage
        hold, cap = await self._reserve(tokens_in)
        seconds = min(own, asked.left())
        if seconds <= 0:
            run.ledger.settle(hold, Amount())
            raise BudgetError("the time is up")
        record = self.record = run.book.note(
            "model",
            **asked.about(),
            model=shown(self.name),
            tokens_in=tokens_in,
            tokens_out=cap,
            cost_microusd=self.price.of(tokens_in, cap),
        )
        message, used = None, Amount(1, tokens_in, self.price.of(tokens_in, 0))
        asked.tell("started")
        try:
            await run.book.save(record)
            message = await self._ask(messages, cap, seconds)
            admission.well = True
            used = self._settle(record, message, tokens_in, cap)
            return self._usable(message, cap)
        except BaseException as error:
            if message is None:
                in_time = seconds == own or not isinstance(error, TimeoutError)  # else the run was out of time
                admission.well = False if in_time and isinstance(error, Exception) and held_against(error) else None
                used = Amount(1) if turned_away(error) else used
                record["tokens_in"], record["tokens_out"], record["cost_microusd"] = used.tokens, 0, used.microusd
            await run.book.end(record, **_blame(error, asked.agent.name))
            raise
        finally:
            run.ledger.settle(hold, used)
            asked.tell("ended")
            if (nearly := run.warning()) is not None:
                asked.runtime.stream_writer({"budget": nearly})

    async def _ask(self, messages: list[AnyMessage], cap: int, seconds: float) -> AIMessage:
        options: dict[str, Any] = {"max_tokens": cap}
        if self.tools:
            options |= self._tools()
        try:
            async with asyncio.timeout(seconds):
                message = await (
                    ask(self.llm, messages, options) if unheard(self.llm) else self._told(messages, options)
                )
        except ModelError:
            raise
        except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            raise EndpointError(f"{self.name} answered with something that is no answer: {error}"[:400]) from error
        if not isinstance(message, AIMessage):
            raise EndpointError(f"{self.name} answered with a {type(message).__name__}")
        if broken_off(message):
            raise ConnectionError(f"the stream of {self.name} broke off before its end")
        return message

    async def _told(self, messages: list[AnyMessage], options: dict[str, Any]) -> AIMessage:
        """The request as traces and streams hear of it: under the agent's name, with its tags and its place."""
        agent, heard = self.asked.agent, Heard()
        config: RunnableConfig = {
            "run_name": agent.name,
            "tags": [OWN, f"agent:{agent.name}", f"tier:{agent.tier}"],
            "metadata": {
                "agent": agent.name,
                "tier": agent.tier,
                "visit": self.asked.visit,
                "path": self.asked.place.path,
            },
        }
        if self.tools:
            config["callbacks"] = heard.beside(ensure_config().get("callbacks"))
        return heard.exactly(await self.llm.ainvoke(messages, config, **options))

    def _tools(self) -> dict[str, Any]:
        """The options by which this model takes tools, as its own `bind_tools` makes them."""
        agent = self.asked.agent
        own = agent.output.__name__
        structured = self.tools[-1]["function"]["name"] == own
        choice = None if not structured else own if self.asked.history is None else "any"
        key = (id(self.llm), choice, *map(id, self.tools))
        if (known := _bound.get(key)) is None:
            bound = self.llm.bind_tools(self.tools, tool_choice=choice) if choice else self.llm.bind_tools(self.tools)
            known = _bound[key] = (self.llm, self.tools, bound.kwargs)  # type: ignore[attr-defined]  # a RunnableBinding
            if len(_bound) > BOUND:
                _bound.popitem(last=False)
        return dict(known[2])

    def _settle(self, record: Record, message: AIMessage, tokens_in: int, cap: int) -> Amount:
        said = message.usage_metadata
        record["tokens_in"] = said["input_tokens"] if said else tokens_in
        record["tokens_out"] = said["output_tokens"] if said else min(cap, _most_said(message))
        record["cost_microusd"] = self.price.of(record["tokens_in"], record["tokens_out"])
        return Amount(1, record["tokens_in"] + record["tokens_out"], record["cost_microusd"])

    def _usable(self, message: AIMessage, cap: int) -> AIMessage:
        """Cut and refused answers are failures: no repair mends them."""
        why = message.response_metadata.get("finish_reason")
        refusal = message.additional_kwargs.get("refusal")
        if why == "length" and cap < self.asked.agent.limits.tokens_per_call:
            raise BudgetError(f"the answer was cut at the {cap} tokens that were left")
        if why == "length":
            raise OutputError(
                f"the answer was cut at {cap} tokens: raise limits.tokens_per_call of {self.asked.agent.name}"
            )
        if refusal or why == "content_filter":
            raise OutputError(f"{self.name} refused: {refusal or why}")
        return message

    async def _reserve(self, tokens_in: int) -> tuple[Hold, int]:
        """Hold the most this request can use; its output is cut to what is left, as long as that is worth it."""
        ledger, most = self.asked.run.ledger, self.asked.agent.limits.tokens_per_call
        while True:
            cap = min(most, *self._affordable(tokens_in))
            if cap < (least := min(LEAST, most)):
                hold = ledger.take(Amount(1, tokens_in + least, self.price.of(tokens_in, least)), self.scopes)
                ledger.settle(hold, Amount())  # by a rounding it would have fit
                raise BudgetError("what is left of the budget does not pay for an answer")
            try:
                want = Amount(1, tokens_in + cap, self.price.of(tokens_in, cap))
                left = self.asked.left()
                async with asyncio.timeout(None if left == math.inf else left):
                    return await ledger.reserve(want, self.scopes), cap
            except TimeoutError as error:
                raise BudgetError("the time is up: it went by in waiting for what others may give back") from error
            except BudgetError:
                if min(most, *self._affordable(tokens_in)) >= cap:
                    raise

    def _affordable(self, tokens_in: int) -> tuple[int, ...]:
        """Tokens of output that what is left of each limit pays for."""
        out = [1 << 30]
        for scope in self.scopes:
            left = self.asked.run.ledger.left(scope)
            if left is UNLIMITED:
                continue
            if left.tokens is not None:
                out.append(left.tokens - tokens_in)
            if left.microusd is not None and self.price.tokens_out:
                out.append((left.microusd - 1 - self.price.of(tokens_in, 0)) * 1_000_000 // self.price.tokens_out)
        return tuple(out)

    def _used(self) -> dict[str, int]:
        attempts = self.asked.run.book.of(self.asked.place.path, self.asked.visit, "model")
        return {
            "calls": len(attempts),
            "tokens_in": sum(r["tokens_in"] for r in attempts),
            "tokens_out": sum(r["tokens_out"] for r in attempts),
            "cost_microusd": sum(r["cost_microusd"] for r in attempts),
        }


def _blame(error: BaseException, at: str) -> dict[str, Any]:
    """How a record ends that brought nothing."""
    if isinstance(error, asyncio.CancelledError):
        return {"outcome": "cancelled", "owner": "environment", "reason": "cancelled"}
    fault = failure_of(error, at=at)
    return {"outcome": "failed", "owner": fault.owner, "reason": fault.message}


def _most_said(message: AIMessage) -> int:
    """An upper bound of an answer's tokens, for servers that do not tell."""
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    return len(message.text.encode("utf-8", "replace")) + (len(json.dumps(calls, default=str)) if calls else 0)


def called(llm: BaseChatModel) -> str:
    """The name of a chat model that somebody brought."""
    known = vars(llm)  # a pydantic model searches long for what it does not have
    return str(known.get("model_name") or known.get("model") or getattr(type(llm), "model_name", None) or llm._llm_type)
