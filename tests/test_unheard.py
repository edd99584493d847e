"""A request that nobody listens to is made without telling, and is the same request."""

from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableConfig
from scripted import Scripted
from test_react import make as of_react

from graphs.bind import bind
from nodes.unheard import unheard
from runtime.offline import Offline
from state.agent import Agent


class Listener(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.heard: list[str] = []

    async def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.heard.append("start")

    async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.heard.append("end")


def graph_of(model: Any) -> Any:
    return of_react(bind(Agent(name="worker", responsibility="Answers."), model))


@pytest.mark.parametrize("model", [Scripted(script=lambda m, t: "the answer"), Offline()], ids=["scripted", "offline"])
async def test_the_answer_and_its_usage_are_the_same_told_or_untold(model: Any) -> None:
    untold = await graph_of(model).ainvoke({"task": "go"})
    told = await graph_of(model).ainvoke({"task": "go"}, {"callbacks": [Listener()]})
    assert {k: untold[k] for k in ("answer", "outcome", "usage")} == {
        k: told[k] for k in ("answer", "outcome", "usage")
    }


async def test_whoever_listens_hears_of_every_request() -> None:
    listener = Listener()
    config: RunnableConfig = {"callbacks": [listener]}
    await graph_of(Scripted(script=lambda m, t: "the answer")).ainvoke({"task": "go"}, config)
    assert listener.heard == ["start", "end"]


async def test_a_listener_on_the_model_itself_hears_too() -> None:
    listener = Listener()
    await graph_of(Scripted(script=lambda m, t: "the answer", callbacks=[listener])).ainvoke({"task": "go"})
    assert listener.heard == ["start", "end"]


async def test_a_model_with_a_way_of_its_own_is_asked_by_it() -> None:
    class Own(Scripted):
        async def ainvoke(self, *args: Any, **kwargs: Any) -> AIMessage:
            return AIMessage("my own way")

    found = await graph_of(Own(script=lambda m, t: "the answer")).ainvoke({"task": "go"})
    assert found["answer"]["text"] == "my own way"


async def test_rate_limits_hold_and_a_cache_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[bool] = []

    class Limiter(BaseRateLimiter):
        def acquire(self, *, blocking: bool = True) -> bool:
            return True

        async def aacquire(self, *, blocking: bool = True) -> bool:
            waited.append(blocking)
            return True

    model = Scripted(script=lambda m, t: "the answer", rate_limiter=Limiter(), calls=[])
    set_llm_cache(InMemoryCache())
    try:
        for _ in range(2):
            assert (await graph_of(model).ainvoke({"task": "go"}))["answer"]["text"] == "the answer"
    finally:
        set_llm_cache(None)
    assert waited == [True]
    assert len(model.calls) == 1


def test_outside_a_run_nothing_is_known_of_listeners_so_it_is_told() -> None:
    assert not unheard(Scripted(script=lambda m, t: "the answer"))
