"""Models by name: how they are made, what they cost, and budgets that are never passed."""

import asyncio
import json
import random
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send
from openai_server import said, serving
from scripted import Scripted
from typing_extensions import TypedDict

from graphs import react
from graphs.bind import bind
from nodes.agent import call
from runtime import models
from runtime import run as runs
from runtime.book import Book
from runtime.models import Price, model, most_tokens, name_of, names_of, price_of, register
from runtime.persistence import Persistence, open_persistence
from state.agent import Agent, Limits
from state.context import Context
from state.errors import InputError
from state.record import spent
from state.reducers import merge_keys

SPEAKER = Agent(name="speaker", responsibility="Answers.")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*models.SETTINGS, "MOTET_PRICES", "MOTET_MODEL", "MOTET_PLANNER", "MOTET_WORKER", "MOTET_JUDGE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def prices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def put(table: Any) -> None:
        path = tmp_path / f"prices-{random.random()}.json"
        path.write_text(table if isinstance(table, str) else json.dumps(table))
        monkeypatch.setenv("MOTET_PRICES", str(path))

    return put


def test_a_chat_model_has_timeouts_no_retries_of_its_own_and_tells_usage_in_streams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("MOTET_TIMEOUT", "7.5")
    llm: Any = model("openai:gpt-4o-mini")
    assert llm.model_name == "gpt-4o-mini"
    assert llm.request_timeout == 7.5
    assert llm.max_retries == 0
    assert llm.stream_usage is True
    assert llm.use_responses_api is False
    assert llm.temperature == 0
    assert llm.rate_limiter is None
    monkeypatch.setenv("MOTET_RPS", "5")
    limited: Any = model("openai:gpt-4o-mini")
    assert limited.rate_limiter.requests_per_second == 5
    monkeypatch.delenv("MOTET_TIMEOUT")
    usual: Any = model("openai:gpt-4o-mini")
    assert usual.request_timeout == 60


@pytest.mark.parametrize("name", ["o3-mini", "gpt-5", "gpt-6-codex"])
def test_no_temperature_is_sent_to_a_model_that_takes_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    llm: Any = model(f"openai:{name}")
    assert "temperature" not in llm._get_request_payload("hi")


async def test_a_name_that_prefers_another_api_is_still_asked_by_chat_completions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving() as server:
        monkeypatch.setenv("MOTET_BASE_URL", server.url)
        server.will(said("Here."))
        assert (await model("openai:gpt-5-pro", asyncio.get_running_loop()).ainvoke("hi")).text == "Here."
        assert server.requests[0]["path"] == "/v1/chat/completions"


def test_a_model_is_made_once_for_each_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTET_BASE_URL", "http://127.0.0.1:1/v1")
    first = model("openai:m")
    assert model("openai:m") is first
    monkeypatch.setenv("MOTET_BASE_URL", "http://127.0.0.1:2/v1")
    assert model("openai:m") is not first
    monkeypatch.setenv("MOTET_BASE_URL", "http://127.0.0.1:1/v1")
    assert model("openai:m") is first


def test_a_missing_key_is_one_clear_error() -> None:
    with pytest.raises(InputError, match=r"openai:gpt-4o needs a key: set OPENAI_API_KEY, or MOTET_BASE_URL"):
        model("openai:gpt-4o")


async def test_a_missing_key_ends_a_run_without_an_exception() -> None:
    state = await react.build(SPEAKER).ainvoke({"task": "Go"}, context=Context(worker="openai:gpt-4o"))
    assert state["outcome"] == "failed"
    assert "set OPENAI_API_KEY" in state["reason"]
    assert "(sender)" in state["reason"]


@pytest.mark.parametrize("name", ["gpt-4o", "openai:", "opnai:gpt-4o", ""])
def test_an_unknown_model_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=r"known: offline, openai:<model>"):
        model(name)


@pytest.mark.parametrize(("setting", "value"), [("MOTET_TIMEOUT", "soon"), ("MOTET_TIMEOUT", "0"), ("MOTET_RPS", "-1")])
def test_a_setting_that_is_no_number_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv(setting, value)
    with pytest.raises(InputError, match=setting):
        model("openai:m")


def test_a_tier_s_model_comes_from_the_context_then_its_variable_then_the_common_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert name_of("judge", Context()) == "offline"
    monkeypatch.setenv("MOTET_MODEL", "openai:common")
    assert name_of("judge", Context()) == "openai:common"
    monkeypatch.setenv("MOTET_JUDGE", "openai:strict")
    assert name_of("judge", Context()) == "openai:strict"
    assert name_of("judge", Context(judge="offline")) == "offline"
    assert name_of("worker", Context()) == "openai:common"


def test_several_models_after_another_serve_a_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    assert names_of("judge", Context(judge="openai:a, openai:b")) == ("openai:a", "openai:b")
    monkeypatch.setenv("MOTET_JUDGE", "openai:c,")
    assert names_of("judge", Context()) == ("openai:c",)
    assert names_of("worker", Context(worker=",")) == ("offline",)


def test_a_registered_model_answers_to_its_name() -> None:
    register("mine", lambda: Scripted(script=lambda m, t: "ok"))
    assert model("mine") is model("mine")
    assert model("mine").invoke("hi").text == "ok"


@given(
    st.integers(0, 10**7), st.integers(0, 10**7), st.decimals("0", "1000", places=6), st.decimals("0", "1000", places=6)
)
def test_a_cost_is_exact_to_the_millionth_and_rounded_up(tokens_in: int, tokens_out: int, i: Any, o: Any) -> None:
    cost = Price(int(i * 10**6), int(o * 10**6)).of(tokens_in, tokens_out)
    exact = tokens_in * i + tokens_out * o  # dollars per million tokens times tokens is microdollars
    assert exact <= cost < exact + 1


def test_a_price_is_found_with_and_without_its_prefix(prices: Any) -> None:
    prices({"gpt-4o": [2.5, 10], "openai:mini": [0.15, 0.6]})
    assert price_of("openai:gpt-4o") == price_of("gpt-4o") == Price(2_500_000, 10_000_000)
    assert price_of("mini") == price_of("openai:mini") == Price(150_000, 600_000)
    assert price_of("unknown") is None
    assert price_of("offline") == Price()


@pytest.mark.parametrize(
    "table",
    ["{", "[]", {"m": 1}, {"m": [1]}, {"m": [1, -2]}, {"m": ["a", 1]}, '{"m": [1, NaN]}', '{"m": [1, Infinity]}'],
)
def test_a_price_table_that_does_not_fit_is_refused_by_its_path(prices: Any, table: Any) -> None:
    prices(table)
    with pytest.raises(InputError, match=r"the price table .*prices-"):
        price_of("m")


async def test_a_missing_price_table_ends_a_run_without_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTET_PRICES", "/nowhere/prices.json")
    state = await react.build(bind(SPEAKER, Scripted(script=lambda m, t: "ok"))).ainvoke({"task": "Go"})
    assert state["outcome"] == "failed"
    assert "/nowhere/prices.json" in state["reason"]


async def test_a_call_s_cost_stands_in_the_usage_to_the_millionth(prices: Any) -> None:
    prices({"scripted": [3, 15]})
    llm = Scripted(script=lambda m, t: "ok", tokens=(1001, 7))
    state = await react.build(bind(SPEAKER, llm)).ainvoke({"task": "Go"}, context=Context(max_usd=1))
    assert state["usage"]["total"]["cost_microusd"] == 1001 * 3 + 7 * 15


async def test_a_budget_in_money_without_a_price_is_refused_with_the_mend() -> None:
    llm = Scripted(script=lambda m, t: "ok")
    state = await react.build(bind(SPEAKER, llm)).ainvoke({"task": "Go"}, context=Context(max_usd=1))
    assert state["outcome"] == "failed"
    assert "needs the price of scripted: add it to the table that MOTET_PRICES names" in state["reason"]
    assert llm.calls == []


def test_a_prompt_is_never_reserved_below_its_bytes() -> None:
    text = "日本語 🎻" * 50
    assert most_tokens(Bytes(), [HumanMessage(text)], []) >= len(text.encode())


async def test_an_agent_that_may_say_little_reserves_no_more_than_that() -> None:
    agent = Agent(name="speaker", responsibility="Answers.", limits=Limits(tokens_per_call=8))
    db = open_persistence("memory://")
    graph = db.bind(react.build(bind(agent, Scripted(script=lambda m, t: "ok"))))
    state = await graph.ainvoke(
        {"task": "Go"}, {"configurable": {"thread_id": "little"}}, context=Context(max_tokens=20)
    )
    assert state["outcome"] == "completed"
    [run] = [r for k, r in runs._runs.items() if k[1] == "little"]
    assert run.ledger.idle


class Bytes(BaseChatModel):
    @property
    def _llm_type(self) -> str:
        return "bytes"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError


class Spender(BaseChatModel):
    """Uses at random at most what was reserved for it, and takes its time."""

    seed: int = 0
    prompt: int = 40

    @property
    def _llm_type(self) -> str:
        return "spender"

    def count_tokens(self, messages: Any, tools: Any) -> int:
        return self.prompt

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        dice = random.Random(f"{self.seed} {messages[-1].text}")
        await asyncio.sleep(dice.choice([0, 0, 0.001]))
        if dice.random() < 0.1:
            raise ConnectionResetError("lost")
        i, o = (
            dice.randint(0, self.prompt),
            dice.choice([1, kwargs["max_tokens"], dice.randint(0, kwargs["max_tokens"])]),
        )
        message = AIMessage("said", usage_metadata={"input_tokens": i, "output_tokens": o, "total_tokens": i + o})
        return ChatResult(generations=[ChatGeneration(message=message)])


class Many(TypedDict, total=False):
    turn: int
    branch: str
    ends: Annotated[dict[str, str], merge_keys]


def many(llm: BaseChatModel, most: int, half: asyncio.Event | None = None) -> Any:
    """Thirty calls at once, then thirty more; the second half fails once, to be resumed."""
    bound = bind(Agent(name="w", responsibility="Works.", limits=Limits(tokens_per_call=most)), llm)

    async def work(sent: dict[str, Any], config: RunnableConfig, runtime: Runtime[Context]) -> dict[str, Any]:
        if sent["half"] == 2 and half is not None and not half.is_set():
            raise RuntimeError("killed between the halves")
        reply = await call(bound, {"goal": f"{sent['n']}"}, visit=f"w/0/{sent['n']}", config=config, runtime=runtime)
        return {"ends": {str(sent["n"]): reply.outcome}}

    def send(part: int) -> Any:
        async def out(state: Many) -> list[Send]:
            return [Send(f"work{part}", {"n": n, "half": part}) for n in range(30 * (part - 1), 30 * part)]

        return out

    async def nothing(state: Many) -> dict[str, Any]:
        return {}

    return (
        StateGraph(Many, context_schema=Context)
        .add_node("first", nothing)
        .add_node("work1", work)
        .add_node("second", nothing)
        .add_node("work2", work)
        .add_edge(START, "first")
        .add_conditional_edges("first", send(1), ["work1"])
        .add_edge("work1", "second")
        .add_conditional_edges("second", send(2), ["work2"])
        .add_edge("work2", END)
        .compile()
    )


async def _spent(db: Persistence) -> Any:
    return spent((await Book(db.store, thread="t", branch="main", turn=1).load()).records())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    limit=st.integers(50, 6000),
    most=st.integers(1, 500),
    at_once=st.integers(1, 40),
    money=st.booleans(),
)
def test_a_budget_is_never_passed_by_parallel_calls_also_after_a_resume(
    monkeypatch: pytest.MonkeyPatch, prices: Any, seed: int, limit: int, most: int, at_once: int, money: bool
) -> None:
    prices({"spender": [1.7, 3.3]})
    monkeypatch.setattr("nodes.request.pause", lambda error, attempt: 0.0)
    bound = {"max_usd": limit / 1e6} if money else {"max_tokens": limit}
    context = Context(max_concurrency=at_once, **bound)  # type: ignore[arg-type]  # one of two limits

    async def go() -> None:
        db, half = open_persistence("memory://"), asyncio.Event()
        graph = db.bind(many(Spender(seed=seed), most, half))
        config: Any = {"configurable": {"thread_id": "t"}}
        with pytest.raises(RuntimeError, match="killed"):
            await graph.ainvoke({"turn": 1, "branch": "main"}, config, context=context)
        before = await _spent(db)
        half.set()
        state = await graph.ainvoke(None, config, context=context)
        after = await _spent(db)
        for used in (before, after):
            assert (used.microusd if money else used.tokens) <= limit
        assert after.calls >= before.calls
        assert len(state["ends"]) == 60
        assert set(state["ends"].values()) <= {"completed", "out_of_budget", "degraded"}

    asyncio.run(go())


async def test_a_budget_that_suffices_stops_nobody() -> None:
    db, half = open_persistence("memory://"), asyncio.Event()
    half.set()
    graph = db.bind(many(Scripted(script=lambda m, t: "ok", tokens=(40, 5)), 10, half))
    config: Any = {"configurable": {"thread_id": "t"}}
    context = Context(max_tokens=60 * 45 + 5)
    state = await graph.ainvoke({"turn": 1, "branch": "main"}, config, context=context)
    assert set(state["ends"].values()) == {"completed"}
    assert (await _spent(db)).tokens == 60 * 45
