"""What holds for every pattern: each check runs over every entry of the catalogue.

A pattern is covered the day its maker stands in makers.py; a test keeps makers and catalogue equal.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.errors import GraphDrained
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import RunControl
from langgraph.types import Command
from makers import DEFAULTS, MAKERS, scripted
from scripted import Scripted

from graphs.bind import bind
from graphs.catalog import CATALOG
from nodes.agent import Bound
from runtime.book import Book
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import wait
from runtime.travel import at, fork
from state.agent import ABORT, DEGRADE, ESCALATE, Agent, Limits, Text, fallback, retry
from state.errors import ContractError, InputError
from state.record import Record, repeated
from state.tool import Arguments, Tool, ToolContext

OUTCOMES = {"completed", "degraded", "escalated", "rejected", "out_of_budget", "cancelled", "failed"}
patterns = pytest.mark.parametrize("name", sorted(MAKERS))
teams = pytest.mark.parametrize("name", sorted(set(MAKERS) - {"react"}))  # one agent with tools has nobody below it
talkers = pytest.mark.parametrize("name", sorted(set(MAKERS) - {"orchestrator_worker"}))  # its planner sees the talk
everything = pytest.mark.parametrize("name", sorted(DEFAULTS))


class Nothing(Arguments):
    pass


def irreversible(log: list[str]) -> Tool:
    async def run(given: Nothing, context: ToolContext) -> str:
        log.append(context.key)
        return "done"

    return Tool(name="act", description="Acts on the world.", args=Nothing, run=run, effects="irreversible")


def acting(log: list[str]) -> Bound:
    """An agent whose only tool waits for approval."""

    def says(messages: Any, tools: Any) -> Any:
        return "acted" if messages[-1].type == "tool" else [("act", {})]

    agent = Agent(name="actor", responsibility="Acts once.", tools=(irreversible(log),))
    return bind(agent, Scripted(script=says))


def broken(name: str = "broken", **options: Any) -> Bound:
    """An agent whose model always fails."""

    def fails(messages: Any, tools: Any) -> Any:
        raise OSError("the wire is cut")

    return bind(Agent(name=name, responsibility="Fails.", **options), Scripted(script=fails))


async def records(home: Persistence, thread: str = "t", turn: int = 1, branch: str = "main") -> list[Record]:
    return (await Book(home.store, thread=thread, branch=branch, turn=turn).load()).records()


def test_every_pattern_of_the_catalogue_is_checked_here() -> None:
    assert set(DEFAULTS) == {e.name for e in CATALOG}
    assert set(MAKERS) == {e.name for e in CATALOG if not e.application}


@patterns
def test_what_cannot_answer_is_refused_at_build_time(name: str) -> None:
    with pytest.raises(ContractError, match="is no agent"):
        MAKERS[name](42)  # type: ignore[arg-type]


@patterns
async def test_a_task_alone_is_enough(name: str) -> None:
    found = await MAKERS[name](scripted("worker", "the answer")).ainvoke({"task": "what is it?"})
    assert found["outcome"] == "completed"
    assert found["messages"][0].text == "what is it?"
    assert found["messages"][-1].type == "ai"
    assert found["messages"][-1].name


@patterns
async def test_what_it_costs_lies_between_what_was_said_before(name: str) -> None:
    graph = MAKERS[name](scripted("worker", "the answer"))
    bounds, found = calls_of(graph), await graph.ainvoke({"task": "what is it?"})
    made = found["usage"]["total"]["calls"]
    assert bounds.least <= made
    assert bounds.most is None or made <= bounds.most


@everything
async def test_the_default_agents_cost_what_was_said_before(name: str, memory: Persistence) -> None:
    bounds = calls_of(DEFAULTS[name])
    found = await memory.bind(DEFAULTS[name]).ainvoke({"task": "What is the sum of 17 and 25?"}, at("t"))
    made = found["usage"]["total"]["calls"] if "usage" in found else 0
    assert bounds.most is None or made <= bounds.most
    assert found["outcome"] != "completed" or bounds.least <= made


@patterns
async def test_a_typed_task_reaches_the_agents_with_its_constraints(name: str) -> None:
    worker = scripted("worker", "the answer")
    await MAKERS[name](worker).ainvoke({"task": {"goal": "what is it?", "constraints": ["in one word"]}})
    model = worker.by if isinstance(worker.by, Scripted) else None
    assert model is not None
    assert "in one word" in model.calls[0][1].text or name == "critic"


@patterns
async def test_messages_alone_are_enough(name: str) -> None:
    graph = MAKERS[name](scripted("worker", "the answer"))
    found = await graph.ainvoke({"messages": [("user", "hello"), ("assistant", "hi"), ("user", "what is it?")]})
    assert found["outcome"] == "completed"
    assert [m.text for m in found["messages"][:3]] == ["hello", "hi", "what is it?"]
    assert len(found["messages"]) == 4


@everything
@pytest.mark.parametrize(
    "given",
    [{}, {"task": "  "}, {"messages": []}, {"task": {"goal": ""}}, {"task": {"aim": "x"}}, {"task": "caf\udce9"}],
)
async def test_an_empty_or_shapeless_input_is_refused(name: str, given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"empty|Task|cannot be saved"):
        await DEFAULTS[name].ainvoke(given)


@everything
async def test_an_unknown_option_is_refused_by_name(name: str) -> None:
    with pytest.raises((InputError, ValueError), match="speed"):
        await DEFAULTS[name].ainvoke({"task": "go"}, context={"speed": 9})


@patterns
async def test_three_turns_on_a_thread_do_not_see_each_others_leftovers(name: str, memory: Persistence) -> None:
    graph = memory.bind(MAKERS[name](scripted("worker", lambda m, t: f"about {m[1].text.splitlines()[0]}")))
    calls = []
    for turn, given in enumerate([{"task": "one"}, {"messages": [("user", "two")]}, {"task": "three"}], start=1):
        found = await graph.ainvoke(given, at("t"), durability="sync")
        assert found["outcome"] == "completed"
        assert len(found["messages"]) == 2 * turn
        calls.append(found["usage"]["total"]["calls"])
    assert len(set(calls)) == 1
    with pytest.raises(InputError, match="empty"):
        await graph.ainvoke({}, at("t"), durability="sync")
    again = await graph.ainvoke({"task": "four"}, at("t"), durability="sync")
    assert again["outcome"] == "completed"


@patterns
async def test_the_answer_is_typed(name: str) -> None:
    found = await MAKERS[name](scripted("worker", "the answer [a.md#one]")).ainvoke({"task": "what is it?"})
    assert Text.model_validate(found["answer"]).text


@patterns
@pytest.mark.parametrize(
    "limits",
    [{"max_calls": 1}, {"max_tokens": 85}, {"max_seconds": 1e-9}, {"max_usd": 1e-9}],
    ids=lambda v: next(iter(v)),
)
async def test_a_limit_is_an_outcome_with_the_best_answer_so_far(
    name: str, limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, memory: Persistence
) -> None:
    if "max_usd" in limits:
        from runtime import models

        monkeypatch.setattr(models, "prices", lambda: {"scripted": models.Price(10**6, 10**6)})
    worker = scripted("worker", "the answer")
    found = await memory.bind(MAKERS[name](worker)).ainvoke({"task": "go"}, at("t"), context=limits)
    assert found["outcome"] in ("out_of_budget", "degraded", "completed")
    total = found["usage"]["total"]
    assert total["calls"] <= limits.get("max_calls", 10**9)
    assert total["tokens_in"] + total["tokens_out"] <= limits.get("max_tokens", 10**9)
    if name != "react" or not limits.keys() & {"max_calls", "max_tokens"}:  # its one call is within them
        assert found["outcome"] == "out_of_budget"
        assert found["reason"]
    if total["calls"] and name != "orchestrator_worker":
        assert found["answer"] is not None


@patterns
async def test_too_low_a_recursion_limit_from_outside_is_no_traceback_of_an_endless_loop(name: str) -> None:
    graph = MAKERS[name](scripted("worker", "the answer"))
    found = await graph.ainvoke({"task": "go"}, {"recursion_limit": 25})
    assert found["outcome"] in OUTCOMES


@patterns
@pytest.mark.parametrize("policy", [retry(2), DEGRADE, ABORT], ids=lambda p: p.action)
async def test_a_failing_agent_ends_in_an_outcome_that_names_it(name: str, policy: Any) -> None:
    found = await MAKERS[name](broken(on_failure=policy)).ainvoke({"task": "go"})
    assert found["outcome"] in ("degraded", "failed")
    assert "broken" in found["reason"]


@patterns
async def test_a_fallback_answers_for_a_failing_agent(name: str) -> None:
    spare = scripted("spare", "the spare answer")
    found = await MAKERS[name](broken(on_failure=fallback(spare))).ainvoke({"task": "go"})
    assert found["outcome"] == "completed"
    assert found["usage"]["spare"]["calls"] == 1


@patterns
async def test_an_escalation_is_answered_by_a_person_without_calling_the_agent_again(
    name: str, memory: Persistence
) -> None:
    graph = memory.bind(MAKERS[name](broken(on_failure=ESCALATE)))
    waiting = await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    (question,) = waiting["__interrupt__"]
    assert question.value["kind"] == "escalation"
    made = len([r for r in await records(memory) if r["agent"] == "broken" and r["kind"] == "model"])
    answer = Command(resume={"decisions": [{"type": "respond", "message": "by hand"}]})
    found = await graph.ainvoke(answer, at("t"), durability="sync")
    assert found["outcome"] == "completed"
    after = len([r for r in await records(memory) if r["agent"] == "broken" and r["kind"] == "model"])
    assert after == made


@patterns
async def test_a_question_is_asked_once_and_its_effect_happens_once(name: str, memory: Persistence) -> None:
    log: list[str] = []
    graph = memory.bind(MAKERS[name](acting(log)))
    waiting = await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    assert log == []
    (question,) = waiting["__interrupt__"]
    assert question.value["action_requests"][0]["name"] == "act"
    found = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), at("t"), durability="sync")
    assert found["outcome"] == "completed"
    assert len(log) == 1
    assert repeated(await records(memory)) == []


@patterns
@pytest.mark.parametrize("approve", ["auto", "deny"])
async def test_without_a_person_the_policy_decides(name: str, approve: str, memory: Persistence) -> None:
    log: list[str] = []
    found = await memory.bind(MAKERS[name](acting(log))).ainvoke({"task": "go"}, at("t"), context={"approve": approve})
    assert found["outcome"] == "completed"
    assert len(log) == (approve == "auto")


@teams
async def test_a_nested_graph_answers_and_its_usage_is_counted(name: str) -> None:
    inner = MAKERS["critic"](scripted("deep", "from deep inside"))
    found = await MAKERS[name](bind(Agent(name="team", responsibility="Works as a team."), inner)).ainvoke(
        {"task": "go"}
    )
    assert found["outcome"] == "completed"
    assert found["usage"]["deep"]["calls"] == 1
    assert found["usage"]["editor"]["calls"] >= 1


def foreign(calls: int) -> Any:
    """A compiled graph that is not ours and calls a model so many times."""
    model = Scripted(script=lambda m, t: "from abroad")

    async def say(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    async def more(state: MessagesState) -> str:
        return "say" if len(state["messages"]) <= calls else END

    wiring = StateGraph(MessagesState).add_node("say", say).add_edge(START, "say")
    return wiring.add_conditional_edges("say", more, ["say", END]).compile(name="abroad")


@teams
async def test_a_foreign_graph_is_metered_and_stopped_by_the_budget(name: str) -> None:
    graph = MAKERS[name](bind(Agent(name="guest", responsibility="Comes from abroad."), foreign(6)))
    found = await graph.ainvoke({"task": "go"})
    assert found["usage"]["guest"]["calls"] == 6
    short = await graph.ainvoke({"task": "go"}, context={"max_calls": 4})
    assert short["outcome"] == "out_of_budget"
    assert short["usage"]["total"]["calls"] <= 4


@patterns
async def test_what_was_spent_before_a_pause_counts_after_it(name: str, sqlite: Persistence) -> None:
    log: list[str] = []
    graph = sqlite.bind(MAKERS[name](acting(log)))
    await graph.ainvoke({"task": "go"}, at("t"), durability="sync", context={"approve": "ask", "max_calls": 50})
    before = len([r for r in await records(sqlite) if r["kind"] == "model"])
    found = await graph.ainvoke(
        Command(resume={"decisions": [{"type": "approve"}]}), at("t"), durability="sync", context={"max_calls": before}
    )
    assert found["outcome"] == "out_of_budget"
    assert found["usage"]["total"]["calls"] == before


@patterns
async def test_a_drain_stops_at_the_door_and_the_rest_is_done_on_resume(name: str, sqlite: Persistence) -> None:
    control = RunControl()

    def says(messages: Any, tools: Any) -> Any:
        control.request_drain("enough")
        return "the answer"

    worker = scripted("worker", says)
    graph = sqlite.bind(MAKERS[name](worker))
    with pytest.raises(GraphDrained):
        await graph.ainvoke({"task": "go"}, at("t"), durability="sync", control=control)
    found = await graph.ainvoke(None, at("t"), durability="sync")
    assert found["outcome"] == "completed"
    book = await records(sqlite)
    assert repeated(book) == []
    assert len([r for r in book if r["agent"] == "worker" and r["kind"] != "message"]) == 1


@patterns
async def test_a_cancelled_run_leaves_no_open_record_and_can_go_on(name: str, sqlite: Persistence) -> None:
    begun = asyncio.Event()

    class Slow(Scripted):
        async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
            if not begun.is_set():
                begun.set()
                await asyncio.sleep(30)
            return await super()._agenerate(*args, **kwargs)

    slow = bind(Agent(name="slow", responsibility="Takes its time."), Slow(script=lambda m, t: "at last"))
    graph = sqlite.bind(MAKERS[name](slow))
    task = asyncio.ensure_future(graph.ainvoke({"task": "go"}, at("t"), durability="sync"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(r["outcome"] for r in await records(sqlite) if r["kind"] == "model")
    found = await graph.ainvoke(None, at("t"), durability="sync")
    assert found["outcome"] == "completed"
    assert found["usage"]["slow"]["calls"] == 2


CRASH = """
import asyncio, os, sys
from makers import MAKERS, scripted
from runtime.persistence import open_persistence
from runtime.travel import at
name, url, stop = sys.argv[1:]
def says(messages, tools):
    with open(url.removeprefix("sqlite:///") + ".calls", "a") as file:
        file.write("call\\n")
    return "the answer"
worker = scripted("worker", says)
graph = open_persistence(url).bind(MAKERS[name](worker))
async def main():
    async for _ in graph.astream({"task": "go"}, at("t"), durability="sync", stream_mode="updates"):
        if os.path.exists(url.removeprefix("sqlite:///") + ".calls") and stop == "after":
            os._exit(9)
asyncio.run(main())
"""


@patterns
def test_a_killed_run_resumes_without_calling_a_finished_agent_again(name: str, tmp_path: Path) -> None:
    from runtime.persistence import open_persistence

    url = f"sqlite:///{tmp_path / 'crash.db'}"
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{here}:{here.parent}"}
    ran = subprocess.run(
        [sys.executable, "-c", CRASH, name, url, "after"], env=environment, capture_output=True, check=False, timeout=60
    )
    assert ran.returncode == 9, ran.stderr.decode()
    home = open_persistence(url)
    worker = scripted("worker", "never asked again")
    found = home.bind(MAKERS[name](worker)).invoke(None, at("t"), durability="sync")
    assert found["outcome"] == "completed"
    book = wait(records(home))
    assert repeated(book) == []
    calls = [r["outcome"] for r in book if r["agent"] == "worker" and r["kind"] != "message"]
    assert calls in (["completed"], ["", "completed"])  # called again only where the kill cut the first call off
    assert len((tmp_path / "crash.db.calls").read_text().split()) == 1
    home.close()


@patterns
async def test_a_fork_goes_its_own_way_and_repeats_nothing_before_it(name: str, memory: Persistence) -> None:
    graph = memory.bind(MAKERS[name](scripted("worker", lambda m, t: f"about {m[1].text.splitlines()[0]}")))
    first = await graph.ainvoke({"task": "one"}, at("t"), durability="sync")
    steps = [s async for s in graph.aget_state_history(at("t"))]
    last = next(s for s in steps if s.next == ("finish",))
    branch = await fork(
        graph, "t", last.config["configurable"]["checkpoint_id"], values={"answer": {"text": "changed"}}
    )
    assert branch == "main-1"
    found = await graph.ainvoke(None, at("t"), durability="sync")
    assert found["answer"] == {"text": "changed"}
    assert found["usage"] == first["usage"]
    assert len(await records(memory)) == len(await records(memory, branch=branch))


@patterns
async def test_a_fork_before_a_turn_began_makes_every_call_anew_under_a_branch_of_its_own(
    name: str, memory: Persistence
) -> None:
    graph = memory.bind(MAKERS[name](scripted("worker", "the answer")))
    await graph.ainvoke({"task": "one"}, at("t"), durability="sync")
    await graph.ainvoke({"task": "two"}, at("t"), durability="sync")
    usage = (await graph.aget_state(at("t"))).values["usage"]
    steps = [s async for s in graph.aget_state_history(at("t"))]
    second, first = [s for s in steps if s.next == ("begin",)]
    branches = []
    for step in (first, first, second):
        branches.append(await fork(graph, "t", step.config["configurable"]["checkpoint_id"]))
        found = await graph.ainvoke(None, at("t"), durability="sync")
        assert (found["outcome"], found["usage"]) == ("completed", usage)
        assert (await graph.aget_state(at("t"))).values["branch"] == branches[-1]
    assert branches == ["main-1", "main-2", "main-3"]


@patterns
async def test_sync_and_async_give_the_same(name: str) -> None:
    graph = MAKERS[name](scripted("worker", "the answer"))
    one = await asyncio.to_thread(graph.invoke, {"task": "go"})
    two = await graph.ainvoke({"task": "go"})
    streamed = await asyncio.to_thread(lambda: list(graph.stream({"task": "go"}, stream_mode="values")))
    batched = await asyncio.to_thread(graph.batch, [{"task": "go"}, {"task": "go"}])
    for other in (two, streamed[-1], *batched):
        assert {k: other[k] for k in ("answer", "outcome", "usage")} == {
            k: one[k] for k in ("answer", "outcome", "usage")
        }


@patterns
@pytest.mark.parametrize("mode", ["values", "updates", "messages", "custom", "tasks", "checkpoints"])
async def test_every_streaming_mode_yields(name: str, mode: Any, memory: Persistence) -> None:
    graph = memory.bind(MAKERS[name](scripted("worker", "the answer")))
    parts = [p async for p in graph.astream({"task": "go"}, at("t"), stream_mode=mode, subgraphs=True)]
    assert parts
    if mode == "messages":
        assert any(m.text == "the answer" for _, (m, _) in parts)
    if mode == "custom":
        assert {"started", "ended"} <= {p["call"] for _, p in parts if "call" in p}


@patterns
async def test_channels_hold_plain_data_that_survives_a_strict_serializer(name: str, memory: Persistence) -> None:
    graph = memory.bind(MAKERS[name](scripted("worker", "the answer")))
    await graph.ainvoke({"task": "go"}, at("t"))
    values = (await graph.aget_state(at("t"))).values
    strict = JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None)
    back = strict.loads_typed(strict.dumps_typed(values))
    assert back == values


@everything
def test_the_schemas_are_there_for_every_client(name: str) -> None:
    graph = DEFAULTS[name]
    given = graph.get_input_jsonschema()
    assert {"messages", "task"} <= set(given["properties"])
    assert {"messages", "answer", "outcome", "reason", "usage"} <= set(graph.get_output_jsonschema()["properties"])
    context = graph.get_context_jsonschema()
    assert context is not None
    assert {"planner", "docs", "max_tokens", "user"} <= set(context["properties"])
    assert graph.name == name


@everything
async def test_the_default_graph_does_something_sensible_without_a_key(name: str, tmp_path: Path) -> None:
    (tmp_path / "facts.md").write_text("# Tides\n\nThe tide rises twice a day, every 12 hours and 25 minutes.\n")
    found = await DEFAULTS[name].ainvoke({"task": "How often does the tide rise?"}, context={"docs": str(tmp_path)})
    assert found["outcome"] in ("completed", "degraded", "rejected")
    assert found["messages"][-1].text


@patterns
async def test_the_book_has_every_call(name: str, memory: Persistence) -> None:
    asked: list[str] = []
    worker = scripted("worker", lambda m, t: asked.append("call") or "the answer")
    found = await memory.bind(MAKERS[name](worker)).ainvoke({"task": "go"}, at("t"))
    book = await records(memory)
    assert len([r for r in book if r["agent"] == "worker" and r["kind"] == "model"]) == len(asked)
    assert found["usage"]["total"]["calls"] == len([r for r in book if r["kind"] == "model"])
    assert all(r["outcome"] and r["latency_ms"] >= 0 and r["model"] for r in book if r["kind"] == "model")


@patterns
async def test_one_compiled_graph_serves_many_threads_at_once(name: str, sqlite: Persistence) -> None:
    graph = sqlite.bind(MAKERS[name](scripted("worker", lambda m, t: f"about {m[1].text.splitlines()[0]}")))
    found = await asyncio.gather(
        *(graph.ainvoke({"task": f"number {n}"}, at(f"thread-{n}"), durability="sync") for n in range(10))
    )
    assert {f["outcome"] for f in found} == {"completed"}
    assert [f["messages"][0].text for f in found] == [f"number {n}" for n in range(10)]
    assert len({f["usage"]["total"]["calls"] for f in found}) == 1


@patterns
async def test_an_agent_that_answers_nothing_fails_aloud(name: str) -> None:
    found = await MAKERS[name](scripted("worker", AIMessage(""), limits=Limits(repairs=1))).ainvoke({"task": "go"})
    assert found["outcome"] in ("failed", "degraded")
    assert "empty" in found["reason"]


@patterns
async def test_a_human_message_that_was_answered_is_not_answered_again(name: str, memory: Persistence) -> None:
    graph = memory.bind(MAKERS[name](scripted("worker", "the answer")))
    await graph.ainvoke({"messages": [HumanMessage("go", id="m1")]}, at("t"))
    with pytest.raises(InputError, match="empty"):
        await graph.ainvoke({"messages": [HumanMessage("go", id="m1")]}, at("t"))


@talkers
async def test_a_later_turn_sees_what_was_said_before(name: str, memory: Persistence) -> None:
    seen: list[str] = []

    def says(messages: Any, tools: Any) -> str:
        seen.append(messages[1].text)
        return "the answer"

    graph = memory.bind(MAKERS[name](scripted("worker", says)))
    await graph.ainvoke({"messages": [("user", "My name is Ann.")]}, at("t"))
    await graph.ainvoke({"messages": [("user", "What is my name?")]}, at("t"))
    assert any("What is my name?" in text and "My name is Ann." in text for text in seen)
