"""Handing over to people and to graphs, across turns, crashes and forks."""

from typing import Any

import pytest
from langgraph.types import Command
from makers import scripted
from test_handoff import answered, goes, lookup, person, plays, records, seen, to

from graphs import critic
from graphs.bind import bind
from graphs.handoff import build
from runtime.persistence import Persistence
from runtime.travel import at, fork
from state.agent import Agent
from state.critic import Critique
from state.record import repeated

# People


async def test_a_human_is_the_last_tier_and_gets_the_whole_case(memory: Persistence) -> None:
    log: list[int] = []
    clerk = plays("clerk", [("lookup", {"number": 7})], [to("human", "beyond me", "who pays")], tools=(lookup(log),))
    graph = memory.bind(build([clerk, person()]))
    waiting = await graph.ainvoke({"task": "order 7 is late"}, at("t"), durability="sync")
    (question,) = waiting["__interrupt__"]
    case = str(question.value["case"])
    assert [w for w in ("order 7 is late", "beyond me", "who pays", "order 7 is paid", "clerk") if w not in case] == []
    out = await graph.ainvoke(answered("we pay"), at("t"), durability="sync")
    assert (out["answer"]["text"], out["messages"][-1].name, out["outcome"]) == ("we pay", "human", "completed")
    assert (log, len(seen(clerk))) == ([7], 2)


async def test_the_answer_of_a_human_continues_the_conversation(memory: Persistence) -> None:
    a = plays("a", [to("human")], "as he said")
    graph = memory.bind(build([a, person()], control="return_to_previous"))
    await graph.ainvoke({"task": "help"}, at("t"))
    await graph.ainvoke(answered("we pay"), at("t"))
    out = await graph.ainvoke({"task": "really?"}, at("t"))
    assert out["answer"]["text"] == "as he said"
    assert "we pay" in seen(a)[-1][1].text


async def test_a_human_can_hand_over_and_is_told_when_that_cannot_be(memory: Persistence) -> None:
    a = plays("a", [to("human")], "done")
    graph = memory.bind(build([a, person()]))
    await graph.ainvoke({"task": "help"}, at("t"))
    again = await graph.ainvoke(answered("transfer_to_nobody: you do it"), at("t"))
    assert "you cannot hand over to nobody" in str(again["__interrupt__"][0].value["case"])
    out = await graph.ainvoke(answered("transfer_to_a: ask for the number"), at("t"))
    assert out["answer"]["text"] == "done"
    assert "ask for the number" in seen(a)[-1][1].text


async def test_a_circle_goes_to_a_human(memory: Persistence) -> None:
    graph = memory.bind(build([goes("a", "b"), goes("b", "a"), person()], fallback="human"))
    waiting = await graph.ainvoke({"task": "help"}, at("t"))
    assert "handed round in a circle: a -> b" in str(waiting["__interrupt__"][0].value["case"])
    assert (await graph.ainvoke(answered("stop it"), at("t")))["answer"]["text"] == "stop it"


async def test_a_human_who_declines_ends_the_turn(memory: Persistence) -> None:
    graph = memory.bind(build([goes("a", "human"), person()]))
    await graph.ainvoke({"task": "help"}, at("t"))
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "reject", "message": "no time"}]}), at("t"))
    assert (out["outcome"], "human: declined: no time" in out["reason"]) == ("degraded", True)


# Threads, the book, nesting


async def test_each_autonomous_turn_is_a_checkpoint_and_routing_shows_in_the_state(memory: Persistence) -> None:
    graph = memory.bind(build([goes("a", "b"), goes("b", "c"), plays("c", "done")]))
    await graph.ainvoke({"task": "x"}, at("t"), durability="sync")
    steps = [s.next async for s in graph.aget_state_history(at("t"))]
    assert steps[::-1][1:] == [("begin",), ("a",), ("b",), ("c",), ("finish",), ()][-len(steps) + 1 :]


async def test_after_a_crash_the_agent_in_control_goes_on_and_nobody_is_asked_again(sqlite: Persistence) -> None:
    class Crash(BaseException):
        pass

    fails = [True]

    def crash_once(messages: Any, tools: Any) -> Any:
        if fails.pop() if fails else False:
            raise Crash
        return "done"

    a, b, c = goes("a", "b"), goes("b", "c"), scripted("c", crash_once)
    graph = sqlite.bind(build([a, b, c]))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "x"}, at("t"), durability="sync")
    out = await graph.ainvoke(None, at("t"), durability="sync")
    assert (out["answer"]["text"], len(seen(a)), len(seen(b))) == ("done", 1, 1)
    assert repeated(records(sqlite)) == []
    handed = [(r["agent"], r["to"], r["says"]) for r in records(sqlite) if r["kind"] == "message"]
    assert sorted(handed) == [("a", "b", "handoff"), ("b", "c", "handoff")]


async def test_a_fork_can_give_control_to_somebody_else(memory: Persistence) -> None:
    graph = memory.bind(build([goes("a", "b"), plays("b", "from b"), plays("c", "from c")]))
    await graph.ainvoke({"task": "x"}, at("t"), durability="sync")
    step = await anext(s async for s in graph.aget_state_history(at("t")) if s.next == ("a",))
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], values={"holder": "c"})
    out = await graph.ainvoke(None, at("t"), durability="sync")
    assert (out["answer"]["text"], out["usage"]["total"]["calls"]) == ("from c", 1)


async def test_graphs_and_handoffs_are_agents_too() -> None:
    accept = scripted("editor", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)
    desk = build(
        [
            goes("first", "second"),
            bind(Agent(name="second", responsibility="Writes."), critic.build(plays("author", "draft"), [accept])),
        ]
    )
    outer = build([goes("triage", "desk"), bind(Agent(name="desk", responsibility="Is a desk."), desk)])
    assert "desk" in [name for name, _ in outer.get_subgraphs()]
    out = await outer.ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["outcome"]) == ("draft", "completed")
    assert set(out["usage"]) == {"triage", "first", "author", "editor", "total"}


async def test_a_nested_handoff_is_shown_the_conversation_around_it(memory: Persistence) -> None:
    deep = plays("deep", "done")
    desk = bind(Agent(name="desk", responsibility="Is a desk."), build([goes("first", "deep"), deep]))
    graph = memory.bind(build([desk]))
    await graph.ainvoke({"task": "I am Ann"}, at("t"))
    await graph.ainvoke({"task": "who am I?"}, at("t"))
    assert [w for w in ("I am Ann", "who am I?", "it is theirs") if w not in seen(deep)[1][1].text] == []


def test_the_default_policy_of_an_agent_with_tools_is_kept() -> None:
    bound = plays("clerk", "x", tools=(lookup([]),))
    assert bound.bare.agent is bound.agent
    assert (bound.bare.graph, bound.bare.by, bind(Agent(name="a", responsibility="A.")).bare.by) == (
        None,
        bound.model,
        None,
    )
