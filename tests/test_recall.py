"""Answers that may be cached: asked once, booked as hits, never mixed up."""

import pytest
from langchain_core.runnables import RunnableConfig
from scripted import Scripted
from test_pipeline import make as of_pipeline

from graphs.bind import bind
from runtime.persistence import Persistence
from runtime.travel import at
from state.agent import Agent
from state.errors import ContractError


def cached(model: Scripted, **options: str) -> object:
    return bind(Agent(name="worker", responsibility="Answers.", cache=True, **options), model)  # type: ignore[arg-type]


async def test_the_same_question_on_another_thread_is_answered_from_the_cache_and_says_so(memory: Persistence) -> None:
    model = Scripted(script=lambda m, t: "the answer", calls=[])
    graph = memory.bind(of_pipeline(cached(model)))  # type: ignore[arg-type]
    first = await graph.ainvoke({"task": "go"}, at("one"))
    second = await graph.ainvoke({"task": "go"}, at("two"))
    assert len(model.calls) == 1
    assert second["answer"] == first["answer"]
    used = second["usage"]["worker"]
    assert (used["calls"], used["cached"], used["tokens_in"]) == (0, 1, 0)


@pytest.mark.parametrize("changed", ["question", "instructions"])
async def test_another_question_or_another_contract_is_asked_anew(memory: Persistence, changed: str) -> None:
    model = Scripted(script=lambda m, t: "the answer", calls=[])
    first = memory.bind(of_pipeline(cached(model)))  # type: ignore[arg-type]
    await first.ainvoke({"task": "go"}, at("one"))
    options = {"instructions": "Be short."} if changed == "instructions" else {}
    second = memory.bind(of_pipeline(cached(model, **options)))  # type: ignore[arg-type]
    config: RunnableConfig = at("two")
    await second.ainvoke({"task": "stay" if changed == "question" else "go"}, config)
    assert len(model.calls) == 2


async def test_a_failure_is_not_kept(memory: Persistence) -> None:
    said = iter(["", "", "", "the answer"])
    model = Scripted(script=lambda m, t: next(said), calls=[])
    graph = memory.bind(of_pipeline(cached(model)))  # type: ignore[arg-type]
    assert (await graph.ainvoke({"task": "go"}, at("one")))["outcome"] == "failed"
    assert (await graph.ainvoke({"task": "go"}, at("two")))["outcome"] == "completed"


async def test_two_functions_without_a_name_of_their_own_are_never_taken_for_each_other() -> None:
    agent = Agent(name="worker", responsibility="Answers.", cache=True)
    with pytest.raises(ContractError, match="top of a module"):
        bind(agent, lambda task: "one")


def test_what_is_sensitive_or_has_tools_is_not_cached() -> None:
    with pytest.raises(ContractError, match="sensitive"):
        Agent(name="a", responsibility="Answers.", cache=True, sensitive=True)
