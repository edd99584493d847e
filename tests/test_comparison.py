"""Two runs held against each other: where they part, what differs from there, and what both cost."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from makers import MAKERS, scripted
from test_cli import motet

from graphs.bind import bind
from motet.session import Session
from runtime.sync import Graph
from state.agent import Agent
from state.comparison import Step, comparable, compared, pairs, written
from state.errors import InputError, ThreadError

made: dict[str, Graph] = {}


def __getattr__(name: str) -> Any:
    if name in made:
        return made[name]
    raise AttributeError(name)


@pytest.fixture
def session() -> Iterator[Session]:
    made.clear()
    with Session("memory://") as opened:
        yield opened


GRAPH = "test_comparison:graph"


def step(number: int, *ran: str, below: Any = None, is_open: bool = False, **wrote: Any) -> Step:
    return Step(number=number, at="", ran=[*ran], wrote=wrote, open=is_open, below=below or {})


def test_the_first_step_at_which_two_runs_part_is_by_routing_or_by_what_was_written() -> None:
    a = [step(1, "plan", plan=1), step(2, "work", results=1), step(3, "write", answer=1)]
    b = [step(1, "plan", plan=1), step(2, "work", results=2), step(3, "ask")]
    first = compared(a, b, ([], []))["first"]
    assert first is not None
    assert (first["number"], first["differs"], first["wrote"]) == (2, "outputs", {"results": (1, 2)})
    assert [p["differs"] for p in pairs(a, b)] == ["", "outputs", "routing"]


def test_a_nested_graph_parts_before_the_step_that_called_it_ends() -> None:
    a = [step(1, "team", answer=1, below={"team": [step(1, "draft", draft=1)]})]
    b = [step(1, "team", answer=2, below={"team": [step(1, "draft", draft=2)]})]
    assert [(p["inside"], p["differs"]) for p in pairs(a, b)] == [("team", "outputs"), ("", "outputs")]


def test_of_a_step_that_did_not_end_only_who_runs_is_compared() -> None:
    assert [p["differs"] for p in pairs([step(1, "a", x=1)], [step(1, "a", is_open=True)])] == [""]
    assert [p["differs"] for p in pairs([step(1, "a", x=1)], [step(1, "b", is_open=True)])] == ["routing"]


def test_what_no_two_runs_share_is_no_difference() -> None:
    assert comparable(HumanMessage("hi", id="1")) == comparable(HumanMessage("hi", id="2"))
    one, two = (AIMessage("", tool_calls=[{"name": "f", "args": {"n": 1}, "id": i}]) for i in ("a", "b"))
    assert comparable(one) == comparable(two)
    assert comparable(one) != comparable(AIMessage("", tool_calls=[{"name": "f", "args": {"n": 2}, "id": "a"}]))
    assert comparable([{"at": 1.7e9}]) == comparable([{"at": 1.8e9}])
    assert comparable({"price": 3.5}) != comparable({"price": 3.6})
    assert written({}, {"turn": 2, "branch": "main-1", "asked": "x", "usage": {}}) == {}
    assert written({}, {"task": {"goal": "x", "turn": 1}}) == written({}, {"task": {"goal": "x", "turn": 2}})


runs = st.lists(st.builds(step, st.just(1), st.sampled_from("ab"), x=st.integers(0, 2), is_open=st.just(False)))


@given(runs, runs)
def test_a_run_is_the_same_as_itself_and_comparing_is_the_same_from_both_sides(a: list[Step], b: list[Step]) -> None:
    assert compared(a, a, ([], []))["same"]
    there, back = list(pairs(a, b)), list(pairs(b, a))
    assert [p["differs"] for p in there] == [p["differs"] for p in back]
    assert all(p["ran"] == q["ran"][::-1] for p, q in zip(there, back, strict=True))
    assert compared(a, b, ([], []))["same"] == (a == b)


async def test_two_threads_are_compared_by_step_call_and_cost(session: Session) -> None:
    made["graph"] = MAKERS["critic"](scripted("worker", "the answer"))
    await session.run(GRAPH, "go", thread="a")
    await session.run(GRAPH, "go", thread="b")
    same = await session.diff("a", "b")
    assert (same.a, same.b, same.found["same"], same.found["calls"]) == ("a@main", "b@main", True, {})
    made["graph"] = MAKERS["critic"](scripted("worker", "another answer"))
    await session.run(GRAPH, "go", thread="c")
    found = (await session.diff("a", "c")).found
    assert found["first"] is not None
    assert (found["first"]["number"], found["first"]["ran"][0]) == (2, ["generate"])
    was, now = found["calls"]["generate/0"]
    assert was is not None
    assert now is not None
    assert (was["answer"]["text"], now["answer"]["text"]) == ("the answer", "another answer")
    assert [c["calls"] for c in found["cost"]] == [2, 2]


async def test_a_branch_is_compared_with_what_it_was_forked_from(session: Session) -> None:
    made["graph"] = MAKERS["critic"](scripted("worker", "the answer"))
    await session.run(GRAPH, "go", thread="t")
    last = next(s for s in await session.history("t") if s.next == ("finish",))
    await session.fork("t", last.id, {"answer": {"text": "changed"}})
    await session.resume("t")
    for names in (("t",), ("t@main", "t@main-1")):
        found = (await session.diff(*names)).found
        assert found["first"] is not None
        assert found["first"]["wrote"]["answer"][1] == {"text": "changed"}
        assert found["calls"] == {}


async def test_a_difference_inside_a_nested_graph_is_found_there(session: Session) -> None:
    for thread, says in (("a", "one"), ("b", "two")):
        inner = MAKERS["critic"](scripted("deep", says))
        made["graph"] = MAKERS["pipeline"](bind(Agent(name="team", responsibility="Works as a team."), inner))
        await session.run(GRAPH, "go", thread=thread)
    first = (await session.diff("a", "b")).found["first"]
    assert first is not None
    assert (first["inside"], first["ran"][0]) == ("team", ["generate"])


async def test_what_cannot_be_compared_is_refused_by_name(session: Session) -> None:
    made["graph"] = MAKERS["critic"](scripted("worker", "the answer"))
    await session.run(GRAPH, "go", thread="t")
    with pytest.raises(InputError, match="'t' was not forked: name what it is to be compared with"):
        await session.diff("t")
    with pytest.raises(ThreadError, match=r"'t' has no branch or step 'side': its branches are main"):
        await session.diff("t", "t@side")
    with pytest.raises(ThreadError, match="no thread is called"):
        await session.diff("t", "u")


def test_diff_says_where_runs_part_and_its_exit_status_is_that_of_diff() -> None:
    made["graph"] = MAKERS["critic"](scripted("worker", "the answer"))
    motet("run", GRAPH, "go", "--thread", "a")
    motet("run", GRAPH, "go", "--thread", "b")
    same = motet("diff", "a", "b")
    assert (same.exit_code, same.stdout) == (0, "a@main and b@main are the same: 5 steps\n")
    made["graph"] = MAKERS["critic"](scripted("worker", "another answer"))
    motet("run", GRAPH, "go", "--thread", "c")
    differs = motet("diff", "a", "c")
    assert differs.exit_code == 1
    assert differs.stdout.startswith("first      step 2 (generate)\n")
    assert "another answer" in differs.stdout
    plain = json.loads(motet("diff", "a", "c", "--json").stdout)
    assert (plain["a"], plain["b"], plain["first"]["number"]) == ("a@main", "c@main", 2)
    made.clear()
