import asyncio
import time
from typing import Any

import pytest
from costs import formula
from langgraph.types import Command
from makers import scripted
from pydantic import BaseModel
from scripted import Scripted

from graphs import blackboard
from graphs.bind import Bindable, bind
from graphs.blackboard import Source, build
from nodes.agent import Bound
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import fork
from state.agent import PERSON, Agent, Text
from state.arbitration import Ruling
from state.blackboard import Pick
from state.board import Contribution, when
from state.cost import Calls
from state.errors import ContractError
from state.record import Record, repeated


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    name = bind(who).agent.name
    return blackboard.build(
        [who, Source(who=scripted("clerk", "noted"), trigger=when(name, without="clerk"))], answer=name
    )


CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Crash(BaseException):
    pass


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Does {name}.", **options)


def writes(name: str, entries: Any, **options: Any) -> Bound:
    """A source that contributes entries: a mapping of them, or a function of the board to one."""

    def function(task: Any) -> Any:
        made = entries(task.context) if callable(entries) else entries
        return {"entries": [{"entry": e, "value": v, "evidence": [f"by {name}"]} for e, v in made.items()]}

    return bind(agent(name, output=Contribution, **options), function)


def adds(name: str, *, entry: str = "count", **options: Any) -> Source:
    """A source that reads a number and writes the next, once in all."""
    who = writes(name, lambda board: {entry: board.get(entry, 0) + 1, f"done-{name}": True})
    return Source(who=who, trigger=when(without=f"done-{name}"), writes=[entry, f"done-{name}"], **options)


def breaks(name: str, **options: Any) -> Bound:
    def broken(task: Any) -> Any:
        raise ValueError("out of ink")

    return bind(agent(name, **options), broken)


def calls(bound: Bound) -> list[Any]:
    assert isinstance(bound.by, Scripted)
    return bound.by.calls


def told(out: dict[str, Any], what: str) -> list[tuple[str, list[str]]]:
    return [(e["source"], e["entries"]) for e in out["log"] if e["what"] == what]


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


# The board and who may write what


async def test_entries_are_typed_and_versioned_with_author_and_evidence() -> None:
    twice = Source(
        who=writes("clerk", lambda board: {"total": board.get("total", 0) + 1}),
        trigger=lambda board: board.get("total", {"value": 0})["value"] < 2,
        writes={"total": int},
    )
    out = await build([twice]).ainvoke({"task": "count"})
    assert out["board"] == {"total": {"value": 2, "version": 2, "by": "clerk", "kind": "int", "evidence": ["by clerk"]}}
    assert (out["answer"]["text"], out["outcome"]) == ("2", "completed")


async def test_what_the_task_says_opens_the_board() -> None:
    source = writes("clerk", lambda board: {"double": 2 * board["number"]})
    graph = build([Source(who=source, trigger=when("number", without="double"), writes=["double"])], answer="double")
    out = await graph.ainvoke({"task": {"goal": "double it", "context": {"number": 21}}})
    assert (out["board"]["number"]["by"], out["answer"]["text"]) == ("task", "42")


async def test_a_source_acts_when_its_trigger_holds_and_sees_the_board() -> None:
    last, first = scripted("last", "conclusion"), scripted("first", "a clue [a.md#x]")
    graph = build([Source(who=last, trigger=when("first", without="last")), first])
    out = await graph.ainvoke({"task": {"goal": "who did it?", "constraints": ["be fair"]}})
    assert (out["answer"]["text"], out["outcome"], out["messages"][-1].name) == ("conclusion", "completed", "last")
    assert told(out, "wrote") == [("first", ["first"]), ("last", ["last"])]
    assert out["board"]["first"]["evidence"] == ["a.md#x"]
    assert [w for w in ("who did it?", "be fair", "a clue") if w not in calls(last)[0][1].text] == []


async def test_a_write_outside_of_what_was_declared_is_refused_recorded_and_told() -> None:
    seen: list[Any] = []

    def both(board: Any) -> Any:
        seen.append(board.get("refused"))
        return {"mine": len(seen), "yours": 7}

    source = Source(who=writes("a", both), trigger=lambda board: len(seen) < 2, writes=["mine"])
    out = await build([source]).ainvoke({"task": "go"})
    assert set(out["board"]) == {"mine"}
    assert seen == [None, "may not write 'yours': it declared mine"]
    assert (out["outcome"], out["reason"]) == ("degraded", "a: may not write 'yours': it declared mine")
    assert len(told(out, "refused")) == 2


async def test_a_value_of_another_type_is_refused_with_what_is_wrong() -> None:
    class Fact(BaseModel):
        subject: str

    source = Source(who=writes("a", {"fact": {"topic": "x"}}), writes={"fact": Fact})
    out = await build([source]).ainvoke({"task": "go"})
    assert (out["outcome"], out["board"]) == ("failed", {})
    assert "fact is no Fact: subject: Field required" in out["reason"]


async def test_a_pattern_of_names_may_be_declared() -> None:
    source = Source(who=writes("a", {"fact.1": "x", "rumour": "y"}), trigger=when(without="fact.1"), writes=["fact.*"])
    out = await build([source]).ainvoke({"task": "go"})
    assert set(out["board"]) == {"fact.1"}


async def test_an_agent_of_a_form_of_its_own_writes_it_whole() -> None:
    class Hours(BaseModel):
        opens: int

    out = await build(
        [Source(who=bind(agent("a", output=Hours), lambda task: {"opens": 9}), writes=["hours"])]
    ).ainvoke({"task": "when?"})
    assert (out["answer"], out["board"]["hours"]["kind"]) == ({"opens": 9}, "Hours")


# Who acts


async def test_the_highest_priority_acts_and_the_order_decides_between_equals() -> None:
    team = [scripted("a", "x"), scripted("b", "y"), Source(who=scripted("c", "z"), priority=5)]
    out = await build(team).ainvoke({"task": "go"})
    assert [s for s, _ in told(out, "wrote")] == ["c", "a", "b"]


async def test_equals_take_turns() -> None:
    def counting(name: str) -> Source:
        who = writes(name, lambda board: {name: board.get(name, 0) + 1})
        return Source(who=who, trigger=lambda board: True, writes=[name])

    out = await build([counting("a"), counting("b")], max_activations=6).ainvoke({"task": "go"})
    assert [s for s, _ in told(out, "wrote")] == ["a", "b"] * 3


async def test_an_agent_may_pick_who_acts_and_is_not_asked_where_there_is_no_choice() -> None:
    chief = scripted("chief", [("Pick", {"next": "b", "reason": "nearer"})], output=Pick)
    out = await build([scripted("a", "x"), scripted("b", "y")], controller=chief).ainvoke({"task": "go"})
    assert [s for s, _ in told(out, "wrote")] == ["b", "a"]
    assert told(out, "picked") == [("chief", ["b"])]
    assert [w for w in ("go", "Plays a", "Plays b") if w not in calls(chief)[0][1].text] == []
    assert (len(calls(chief)), out["outcome"]) == (1, "completed")


async def test_a_pick_of_nobody_falls_to_priority_and_is_recorded() -> None:
    chief = scripted("chief", [("Pick", {"next": "z"})], output=Pick)
    out = await build([scripted("a", "x"), scripted("b", "y")], controller=chief).ainvoke({"task": "go"})
    assert [s for s, _ in told(out, "wrote")] == ["a", "b"]
    assert next(e["why"] for e in out["log"] if e["what"] == "picked").startswith("chief named 'z', who is not")
    assert out["outcome"] == "completed"


async def test_a_controller_that_fails_is_named_and_priority_decides() -> None:
    out = await build([scripted("a", "x"), scripted("b", "y")], controller=breaks("chief", output=Pick)).ainvoke(
        {"task": "go"}
    )
    assert (len(out["board"]), out["outcome"], "chief: out of ink" in out["reason"]) == (2, "degraded", True)


async def test_all_who_are_triggered_may_act_at_once() -> None:
    async def works(task: Any) -> str:
        await asyncio.sleep(0.2)
        return "done"

    began = time.monotonic()
    out = await build([bind(agent(name), works) for name in "abcd"], at_once=None).ainvoke({"task": "go"})
    assert time.monotonic() - began < 0.7
    assert {e["round"] for e in out["log"]} == {1}


# How it ends


async def test_it_ends_when_the_goal_holds_whoever_still_wants_to_act() -> None:
    out = await build([adds(name) for name in "abcd"], goal=lambda board: "done-b" in board).ainvoke({"task": "go"})
    assert (out["board"]["count"]["value"], out["outcome"]) == (2, "completed")


async def test_it_ends_when_nothing_triggers_and_says_if_the_goal_does_not_hold() -> None:
    out = await build([scripted("a", "x")], goal=when("never")).ainvoke({"task": "go"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "x")
    assert out["reason"] == "nothing triggers any more, and the goal does not hold"


async def test_activations_are_bounded_with_the_best_answer_so_far() -> None:
    ever = Source(who=writes("a", lambda b: {"n": b.get("n", 0) + 1}), trigger=lambda board: True, writes=["n"])
    out = await build([ever], max_activations=7).ainvoke({"task": "go"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "7")
    assert out["reason"] == "stopped after 7 activation(s): there was more to do"


async def test_the_engines_limit_is_an_outcome_too() -> None:
    ever = Source(who=writes("a", lambda b: {"n": b.get("n", 0) + 1}), trigger=lambda board: True, writes=["n"])
    out = await build([ever]).ainvoke({"task": "go"}, {"recursion_limit": 25})
    assert (out["outcome"], "no steps are left" in out["reason"]) == ("degraded", True)


async def test_a_source_that_changes_nothing_sits_out_until_the_board_changes() -> None:
    idle = Source(who=scripted("idle", "the same"), trigger=lambda board: True)
    out = await build([idle, Source(who=scripted("b", "x"), priority=-1)]).ainvoke({"task": "go"})
    assert (out["outcome"], told(out, "unchanged")) == ("completed", [("idle", []), ("idle", [])])


async def test_a_source_that_triggers_forever_without_changing_the_board_is_stopped() -> None:
    count = writes("count", lambda b: {"n": b.get("n", 0) + 1})
    works = Source(who=count, trigger=lambda b: b.get("n", {"value": 0})["value"] < 9, writes=["n"])
    idle = Source(who=scripted("idle", "the same"), trigger=lambda board: True)
    out = await build([idle, works], max_idle=2).ainvoke({"task": "go"})
    assert (len(told(out, "unchanged")), told(out, "stopped")) == (2, [("idle", [])])
    assert (out["board"]["n"]["value"], out["outcome"]) == (9, "completed")


async def test_a_source_that_fails_is_named_and_the_others_go_on() -> None:
    out = await build([breaks("a"), scripted("b", "x")]).ainvoke({"task": "go"})
    assert (out["outcome"], out["answer"]["text"], out["reason"]) == ("degraded", "x", "a: out of ink")


@pytest.mark.parametrize("goal", [None, lambda board: board["gone"]])
async def test_a_trigger_or_goal_that_fails_is_named(goal: Any) -> None:
    source = Source(who=scripted("a", "x"), trigger=when(without="a") if goal else lambda board: board["gone"])
    out = await build([source, scripted("b", "y")], goal=goal).ainvoke({"task": "go"})
    assert out["outcome"] == "degraded"
    assert f"{'the goal' if goal else 'a: its trigger'} failed: KeyError: 'gone'" in out["reason"]


async def test_a_budget_that_is_spent_keeps_the_board() -> None:
    out = await build([scripted("a", "x"), scripted("b", "y")]).ainvoke({"task": "go"}, context={"max_calls": 1})
    assert (out["outcome"], out["answer"]["text"], set(out["board"])) == ("out_of_budget", "x", {"a"})
    chief = scripted("chief", [("Pick", {"next": "b"})], output=Pick)
    graph = build([scripted("a", "x"), scripted("b", "y"), scripted("c", "z")], controller=chief, answer="b")
    out = await graph.ainvoke({"task": "go"}, context={"max_calls": 2})
    assert (out["outcome"], out["answer"]["text"]) == ("out_of_budget", "y")


# The answer


async def test_the_answer_is_an_entry_or_what_an_agent_writes_from_the_board() -> None:
    team = [scripted("a", "from a"), scripted("b", "from b")]
    assert (await build(team, answer="a").ainvoke({"task": "go"}))["answer"]["text"] == "from a"
    writer = scripted("writer", "in sum")
    out = await build(team, answer=writer).ainvoke({"task": "why?"})
    assert (out["answer"]["text"], out["outcome"], out["messages"][-1].name) == ("in sum", "completed", "writer")
    assert [w for w in ("why?", "from a", "from b") if w not in calls(writer)[0][1].text] == []


async def test_without_its_entry_the_newest_is_the_answer_and_that_is_said() -> None:
    out = await build([scripted("a", "x")], answer="verdict").ainvoke({"task": "go"})
    assert (out["outcome"], out["answer"]["text"], out["reason"]) == ("degraded", "x", "there is no entry 'verdict'")


async def test_a_synthesizer_that_fails_leaves_the_newest_entry() -> None:
    out = await build([scripted("a", "x")], answer=breaks("writer")).ainvoke({"task": "go"})
    assert (out["outcome"], out["answer"]["text"], out["reason"]) == ("degraded", "x", "writer: out of ink")


# Threads and nesting


async def test_a_second_turn_sees_nothing_of_the_first(memory: Persistence) -> None:
    who = scripted("a", "x")
    graph = memory.bind(build([who]))
    await graph.ainvoke({"task": {"goal": "one", "context": {"secret": "red"}}}, CONFIG)
    out = await graph.ainvoke({"task": "two"}, CONFIG)
    assert (set(out["board"]), len(out["log"]), len(calls(who))) == ({"a"}, 1, 2)


async def test_after_a_crash_among_the_sources_those_who_acted_do_not_act_again(sqlite: Persistence) -> None:
    first, count = scripted("a", "x"), []

    async def crash_once(task: Any) -> str:
        count.append(1)
        if len(count) == 1:
            await asyncio.sleep(0.2)
            raise Crash
        return "y"

    graph = sqlite.bind(build([first, bind(agent("b"), crash_once)], at_once=None))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (set(out["board"]), len(calls(first)), len(count)) == ({"a", "b"}, 1, 2)
    assert (out["outcome"], repeated(records(sqlite))) == ("completed", [])


async def test_a_board_that_was_changed_under_a_source_is_found_by_its_version(memory: Persistence) -> None:
    graph = memory.bind(build([adds("a"), adds("b")], max_retries=3))
    await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    steps = [s async for s in graph.aget_state_history(CONFIG) if s.next == ("post",)]
    entry = {"value": 10, "version": 5, "by": "hand", "kind": "int", "evidence": []}
    await fork(graph, "t", steps[-1].config["configurable"]["checkpoint_id"], values={"board": {"count": entry}})
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["board"]["count"]["value"], out["board"]["count"]["version"]) == (12, 7)
    assert told(out, "retries") == [("a", ["count", "done-a"])]


async def test_a_pattern_is_a_source_and_a_blackboard_is_an_agent() -> None:
    inner = build([scripted("deep", "from inside")])
    outer = build([bind(agent("team"), inner), Source(who=scripted("b", "y"), trigger=when("team", without="b"))])
    assert "team" in [name for name, _ in outer.get_subgraphs()]
    out = await outer.ainvoke({"task": "x"})
    assert out["board"]["team"]["value"]["text"] == "from inside"
    assert set(out["usage"]) == {"deep", "b", "total"}


async def test_a_person_is_a_source(memory: Persistence) -> None:
    graph = memory.bind(build([bind(agent("ann"), PERSON), scripted("b", "y")], at_once=None))
    (question,) = (await graph.ainvoke({"task": "go"}, CONFIG))["__interrupt__"]
    assert question.value["kind"] == "input"
    said = {"decisions": [{"type": "respond", "message": "seen it"}]}
    out = await graph.ainvoke(Command(resume=said), CONFIG)
    assert (out["board"]["ann"]["value"]["text"], out["outcome"]) == ("seen it", "completed")


# Options, cost and drawing


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build([]), "`sources` is empty"),
        (lambda: build([agent("a"), agent("a")]), "'a'.*rename"),
        (lambda: build([agent("post")]), "'post'.*rename"),
        (lambda: build([agent("a", input=Text)]), "'a' takes Text"),
        (lambda: build([agent("a", output=Contribution)]), "'a' returns a Contribution; name the entries"),
        (lambda: build([Source(who=agent("a"), writes=["x", "y"])]), "'a' writes its output as a whole"),
        (lambda: build([Source(who=agent("a"), writes="x")]), "one string; give a list"),
        (lambda: build([Source(who=agent("a", output=Contribution), writes=["x*"])]), "give its `trigger`"),
        (
            lambda: build([Source(who=writes(n, {}), writes={"x": t}) for n, t in (("a", int), ("b", str))]),
            "'a' writes 'x' as int, 'b' as str",
        ),
        (lambda: build([agent("a")], controller=agent("c")), "'c' must return a Pick"),
        (lambda: build([agent("a")], controller=agent("c", output=Pick), at_once=2), "one source at a time"),
        (lambda: build([agent("a")], resolve=["vote"]), "'vote'; give Rules"),  # type: ignore[list-item]
        (lambda: build([agent("a")], max_activations=0), "`max_activations` must be at least 1"),
        (lambda: build([agent("a")], at_once=0), "`at_once` must be at least 1"),
        (lambda: build([agent("a")], max_retries=-1), "`max_retries` must be at least 0"),
        (lambda: build([agent("a")], max_idle=0), "`max_idle` must be at least 1"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        make()


async def test_the_formula_gives_the_calls_that_were_made() -> None:
    team = [Source(who=scripted(n, f"by {n}"), writes=["answer"]) for n in "ab"]
    judge = scripted("judge", [("Ruling", {"number": 2})], output=Ruling)
    out = await build(team, at_once=None, max_retries=0, resolve=judge).ainvoke({"task": "go"})
    made = out["usage"]["total"]["calls"]
    assert formula("blackboard", activations=2, picks=0, resolutions=1, syntheses=0) == made
    chief = scripted("chief", [("Pick", {"next": "a"})], output=Pick)
    graph = build([scripted("a", "x"), scripted("b", "y")], controller=chief, answer=scripted("writer", "z"))
    made = (await graph.ainvoke({"task": "go"}))["usage"]["total"]["calls"]
    assert formula("blackboard", activations=2, picks=1, resolutions=0, syntheses=1) == made
    assert calls_of(graph) == Calls(0, 50 * (3 + 3) + 3)


def test_the_drawing_reads_like_the_figure() -> None:
    chief, judge = agent("controller", output=Pick), agent("resolver", output=Ruling)
    edges = sorted(
        (e.source, e.target, e.conditional)
        for e in build([agent("a"), agent("b")], controller=chief, resolve=judge).get_graph().edges
    )
    assert edges == [
        ("__start__", "begin", False),
        ("a", "post", False),
        ("b", "post", False),
        ("begin", "watch", False),
        ("controller", "a", True),
        ("controller", "b", True),
        ("controller", "finish", True),
        ("finish", "__end__", False),
        ("post", "finish", True),
        ("post", "resolver", True),
        ("post", "watch", True),
        ("resolver", "finish", True),
        ("resolver", "resolver", True),
        ("resolver", "watch", True),
        ("watch", "a", True),
        ("watch", "b", True),
        ("watch", "controller", True),
        ("watch", "finish", True),
    ]


async def test_the_default_graph_runs_without_a_key() -> None:
    task = {"goal": "What is the capital of France?", "context": {"atlas": "Paris is the capital of France."}}
    out = await blackboard.graph.ainvoke({"task": task})
    assert out["outcome"] in ("completed", "degraded")
    assert "Paris" in out["answer"]["text"]
