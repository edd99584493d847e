import asyncio
from typing import Any

import pytest
from costs import formula
from langgraph.types import Command
from makers import MAKERS, scripted
from scripted import Scripted

from graphs import hierarchy, market, pipeline
from graphs.bind import Bindable, bind
from graphs.hierarchy import build
from nodes.agent import Bound
from runtime.book import Book
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import at, fork
from state.agent import ABORT, ESCALATE, PERSON, Agent, Limits, Text, fallback
from state.errors import ContractError
from state.hierarchy import Assignments
from state.record import Record, repeated
from state.tool import Arguments, Tool, ToolContext


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    worker = bind(who)
    boss = bind(agent("boss", output=Assignments), lambda task: given((worker.agent.name, task.goal)))
    return build(
        boss, [worker], reporter=scripted("editor", lambda m, t: m[1].text.rsplit('"text": "', 1)[-1].split('"')[0])
    )


CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Crash(BaseException):
    pass


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Does {name}.", **options)


def given(*tasks: Any, more: bool = False, **options: Any) -> dict[str, Any]:
    """Assignments: pairs of who does what."""
    return {"assignments": [{"assignee": who, "task": task, **options} for who, task in tasks], "more": more}


def boss(name: str, *words: Any, summary: str = "the summary", **options: Any) -> Bound:
    """A manager that says one word after the other, and reports when asked for a text."""
    left = list(words)

    def says(messages: Any, tools: Any) -> Any:
        if not tools:
            return summary
        return [("Assignments", left.pop(0) if len(left) > 1 else left[0])]

    return bind(agent(name, output=Assignments, **options), Scripted(script=says))


def breaks(name: str, **options: Any) -> Bound:
    def broken(task: Any) -> Any:
        raise ValueError("out of ink")

    return bind(agent(name, **options), broken)


def shown(bound: Bound) -> list[str]:
    """What a model was shown, call by call."""
    assert isinstance(bound.by, Scripted)
    return [messages[1].text for messages in bound.by.calls]


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


def three_levels(worker: Bindable, top: Bound | None = None) -> Graph:
    """A director over a lead over a worker."""
    name = bind(worker).agent.name
    lead = boss("lead", given((name, "the detail"), constraints=["two pages"]))
    return build(top or boss("director", given(("lead", "the part"), constraints=["in French"])), [(lead, [worker])])


# One level


async def test_tasks_go_down_and_a_summary_with_evidence_comes_up() -> None:
    chief = boss("chief", given(("one", "left"), ("two", "right")), summary="both sides [c.md#z]")
    one, two = scripted("one", "found [a.md#x]"), scripted("two", "found [b.md#y]")
    out = await build(chief, [one, two]).ainvoke({"task": "look"})
    assert (out["outcome"], out["reason"], out["answer"]["text"]) == ("completed", "", "both sides [c.md#z]")
    assert out["answer"]["citations"] == ["c.md#z", "a.md#x", "b.md#y"]
    assert out["messages"][-1].name == "chief"
    assert (shown(one)[0].splitlines()[0], shown(two)[0].splitlines()[0]) == ("left", "right")
    assert [word for word in ("left", "right", "a.md#x", "b.md#y") if word not in shown(chief)[1]] == []


async def test_constraints_go_all_the_way_down() -> None:
    worker = scripted("worker", "found")
    await three_levels(worker).ainvoke({"task": {"goal": "look", "constraints": ["by noon"]}})
    assert [w for w in ("the detail", "by noon", "in French", "two pages") if w not in shown(worker)[0]] == []


async def test_a_manager_sees_its_own_team_only() -> None:
    lead, top = boss("lead", given(("worker", "dig"))), boss("director", given(("lead", "the part")))
    out = await build(top, [(lead, [scripted("worker", "found")])]).ainvoke({"task": "look"})
    assert out["outcome"] == "completed"
    assert '## workers\n{"lead": "Does lead."}' in shown(top)[0]
    assert '## workers\n{"worker": "Plays worker"}' in shown(lead)[0]
    assert "Plays worker" not in "".join(shown(top))


async def test_a_manager_may_delegate_again_once_it_has_seen_the_results() -> None:
    chief = boss("chief", given(("one", "first"), more=True), given(("two", "second")))
    one, two = scripted("one", "the ink is blue"), scripted("two", "done")
    out = await build(chief, [one, two]).ainvoke({"task": "x"})
    assert (out["outcome"], sorted(out["results"])) == ("completed", ["0/0", "1/0"])
    assert "the ink is blue" in shown(chief)[1]


async def test_the_rounds_are_bounded() -> None:
    chief = boss("chief", *(given(("one", f"task {n}"), more=True) for n in range(9)))
    one = scripted("one", "done")
    out = await build(chief, [one], max_rounds=3).ainvoke({"task": "x"})
    assert (out["outcome"], len(shown(one)), len(shown(chief))) == ("completed", 3, 4)


async def test_what_was_done_well_is_not_done_again() -> None:
    chief, one = boss("chief", given(("one", "same"), more=True)), scripted("one", "done")
    out = await build(chief, [one], max_rounds=5).ainvoke({"task": "x"})
    assert (out["outcome"], len(shown(one))) == ("completed", 1)


async def test_near_the_engines_limit_the_report_comes_in_time() -> None:
    chief = boss("chief", *(given(("one", f"task {n}"), more=True) for n in range(99)))
    out = await build(chief, [scripted("one", "done")], max_rounds=90).ainvoke({"task": "x"}, {"recursion_limit": 15})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "the summary")


# Words that cannot be followed


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        (given(("nobody", "x")), "nobody is called 'nobody'; there are one, two"),
        (given(), "nothing is assigned"),
        (given(*[("one", str(n)) for n in range(7)]), "7 tasks are too many at once; give at most 6"),
        (given(("one", "x"), ("two", "y"), share=0.6), "the shares come to 1.2"),
    ],
)
async def test_a_word_that_cannot_be_followed_goes_back_with_its_faults(word: Any, fault: str) -> None:
    chief = boss("chief", word, given(("one", "x")))
    out = await build(chief, [scripted("one", "done"), scripted("two", "done")]).ainvoke({"task": "x"})
    assert out["outcome"] == "completed"
    assert fault in shown(chief)[1]


async def test_a_manager_that_never_says_anything_sound_fails_after_its_repairs() -> None:
    chief = boss("chief", given(("nobody", "x")))
    out = await build(chief, [scripted("one", "done")], max_repairs=2).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"], len(shown(chief))) == ("failed", None, 3)
    assert "chief assigned nothing sound after 2 repair(s)" in out["reason"]


async def test_a_later_word_that_is_no_use_leads_to_the_report_of_what_there_is() -> None:
    for bad in (given(("nobody", "x")), {"tasks": "none"}):
        chief = boss("chief", given(("one", "first"), more=True), bad, limits=Limits(repairs=0))
        out = await build(chief, [scripted("one", "done")], max_repairs=0).ainvoke({"task": "x"})
        assert (out["outcome"], out["answer"]["text"]) == ("degraded", "the summary")
        assert out["reason"].startswith("chief")


# Failures


async def test_a_failed_task_is_put_to_the_manager_who_may_give_it_to_another() -> None:
    chief = boss("chief", given(("one", "count")), given(("two", "count")))
    out = await build(chief, [breaks("one"), scripted("two", "ten")]).ainvoke({"task": "x"})
    assert (out["outcome"], out["reason"]) == ("completed", "")
    assert "one: out of ink" in shown(chief)[1]


async def test_what_stays_missing_is_said() -> None:
    chief = boss("chief", given(("one", "left"), ("two", "right")), given())
    out = await build(chief, [breaks("one"), scripted("two", "done")]).ainvoke({"task": "x"})
    assert (out["outcome"], out["reason"], out["answer"]["text"]) == ("degraded", "one: out of ink", "the summary")
    assert "out of ink" in shown(chief)[-1]


async def test_without_any_result_the_turn_fails_and_nobody_reports() -> None:
    chief = boss("chief", given(("one", "left")))
    out = await build(chief, [breaks("one")]).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"], out["reason"]) == ("failed", None, "one: out of ink")
    assert len(shown(chief)) == 2


async def test_a_member_whose_policy_is_to_abort_ends_the_turn_with_what_there_is() -> None:
    chief = boss("chief", given(("one", "left"), ("two", "right")))
    out = await build(chief, [breaks("one", on_failure=ABORT), scripted("two", "so far")]).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"], out["reason"]) == ("degraded", "so far", "one: out of ink")


async def test_a_reporter_that_fails_leaves_the_results() -> None:
    chief = boss("chief", given(("one", "left"), ("two", "right")))
    team = [scripted("one", "first [a.md#x]"), scripted("two", "second")]
    out = await build(chief, team, reporter=breaks("writer")).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "first [a.md#x]\n\nsecond")
    assert out["answer"]["citations"] == ["a.md#x"]


async def test_a_failure_in_the_deepest_team_is_named_at_the_top() -> None:
    out = await three_levels(breaks("worker")).ainvoke({"task": "x"})
    assert out["outcome"] == "failed"
    assert "worker: out of ink" in out["reason"]


# Budgets


async def spent_under(home: Persistence, path: str) -> int:
    book = await Book(home.store, thread="t", branch="main", turn=1).load()
    return len([r for r in book.under(path) if r["kind"] == "model"])


async def test_budgets_split_down_the_tree(memory: Persistence) -> None:
    looping = scripted("looping", [("nothing", {})], tools=(nothing(),), limits=Limits(steps=50))
    chief = boss("chief", {"assignments": [{"assignee": "lead", "task": "dig", "share": 0.5}]}, given())
    lead = boss("lead", {"assignments": [{"assignee": "looping", "task": "dig", "share": 0.5}]}, given())
    graph = memory.bind(build(chief, [(lead, [looping])]))
    out = await graph.ainvoke({"task": "x"}, CONFIG, context={"max_calls": 21})
    assert out["usage"]["looping"]["calls"] == 5  # half of what is left of half of 20: (10 - 1) / 2, rounded up
    assert await spent_under(memory, "lead/0/0") <= 10
    assert out["outcome"] in ("out_of_budget", "degraded")
    assert "looping" in out["reason"]


async def test_the_share_of_a_task_binds_a_plain_agent_too() -> None:
    word = {"assignments": [{"assignee": "one", "task": "dig", "share": 0.1}, {"assignee": "two", "task": "dig"}]}
    chief = boss("chief", word, given())
    out = await build(chief, [scripted("one", "x"), scripted("two", "found")]).ainvoke(
        {"task": "x"}, context={"max_tokens": 600}
    )
    assert (out["results"]["0/0"]["outcome"], out["results"]["0/1"]["outcome"]) == ("out_of_budget", "completed")
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "the summary")
    assert "one/0/0's budget is used up" in out["reason"]


async def test_what_is_unused_returns_up(memory: Persistence) -> None:
    word = {"assignments": [{"assignee": "one", "task": "dig", "share": 0.9}], "more": True}
    chief = boss("chief", word, {"assignments": [{"assignee": "one", "task": "dig on", "share": 1.0}]})
    graph = memory.bind(build(chief, [scripted("one", "done")]))
    out = await graph.ainvoke({"task": "x"}, CONFIG, context={"max_calls": 21})
    values = [s.values async for s in graph.aget_state_history(CONFIG)]
    budgets = {
        v["assignments"][0]["id"]: v["assignments"][0]["budget"]["calls"] for v in values if v.get("assignments")
    }
    assert budgets == {"0/0": 18, "1/0": 18}  # 0.9 x 20, of which one was used; then all of 20 - 2
    assert out["outcome"] == "completed"


async def test_a_fallback_lives_on_what_its_agent_left() -> None:
    spare = scripted("spare", [("nothing", {})], tools=(nothing(),), limits=Limits(steps=50))
    weak = scripted("weak", "", limits=Limits(repairs=1), on_failure=fallback(spare))
    chief = boss("chief", {"assignments": [{"assignee": "weak", "task": "dig", "share": 0.5}]}, given())
    out = await build(chief, [weak]).ainvoke({"task": "x"}, context={"max_calls": 21})
    assert (out["usage"]["weak"]["calls"], out["usage"]["spare"]["calls"]) == (2, 8)


async def test_without_a_limit_nothing_is_split() -> None:
    out = await build(boss("chief", given(("one", "x"))), [scripted("one", "done")]).ainvoke({"task": "x"})
    assert out["assignments"][0]["budget"] == {"calls": None, "tokens": None, "microusd": None}


def nothing() -> Tool:
    class Nothing(Arguments):
        pass

    async def run(given: Nothing, context: ToolContext) -> str:
        return "nothing"

    return Tool(name="nothing", description="Does nothing.", args=Nothing, run=run)


# Three levels


def irreversible(log: list[str]) -> Bound:
    """An agent whose only tool waits for approval."""

    class Nothing(Arguments):
        pass

    async def run(given: Nothing, context: ToolContext) -> str:
        log.append(context.key)
        return "done"

    tool = Tool(name="act", description="Acts on the world.", args=Nothing, run=run, effects="irreversible")
    says = lambda messages, tools: "acted" if messages[-1].type == "tool" else [("act", {})]  # noqa: E731
    return bind(agent("worker", tools=(tool,)), Scripted(script=says))


async def test_a_question_from_the_deepest_team_is_answered_at_the_top(sqlite: Persistence) -> None:
    log: list[str] = []
    graph = sqlite.bind(three_levels(irreversible(log)))
    (question,) = (await graph.ainvoke({"task": "x"}, CONFIG, durability="sync"))["__interrupt__"]
    assert (question.value["action_requests"][0]["name"], log) == ("act", [])
    approve = Command(resume={"decisions": [{"type": "approve"}]})
    out = await graph.ainvoke(approve, CONFIG, durability="sync")
    assert (out["outcome"], len(log), repeated(records(sqlite))) == ("completed", 1, [])


async def test_several_questions_of_one_team_stand_open_at_once(memory: Persistence) -> None:
    team = [bind(agent(name), PERSON) for name in ("ann", "bob")]
    chief = boss("chief", given(("ann", "left"), ("bob", "right")))
    graph = memory.bind(build(chief, team))
    waiting = (await graph.ainvoke({"task": "x"}, CONFIG))["__interrupt__"]
    said = {q.id: {"decisions": [{"type": "respond", "message": q.value["case"]["task"]["goal"]}]} for q in waiting}
    assert len(said) == 2
    out = await graph.ainvoke(Command(resume=said), CONFIG)
    assert [r["output"]["text"] for r in out["results"].values()] == ["left", "right"]


async def test_the_words_of_the_deepest_team_are_streamed() -> None:
    line = bind(agent("line"), pipeline.build(scripted("first", "prepared"), scripted("worker", "a deep word")))
    team = bind(agent("team"), market.build([line]))
    graph = build(boss("chief", given(("team", "dig"))), [team])
    words = [p async for p in graph.astream({"task": "x"}, stream_mode="messages", subgraphs=True)]
    spaces = {tuple(part.split(":")[0] for part in space) for space, (said, _) in words if said.text == "a deep word"}
    assert max(spaces, key=len) == ("team", "line")
    updates = [p async for p in graph.astream({"task": "x"}, stream_mode="updates", subgraphs=True)]
    assert any(len(space) == 2 and "worker" in update for space, update in updates)


async def test_time_travel_into_the_deepest_team(memory: Persistence) -> None:
    top, worker = boss("director", given(("middle", "the part"))), scripted("worker", "found")
    middle = boss("middle", given(("bottom", "the piece")))
    bottom = boss("bottom", given(("worker", "the detail")), summary="from below")
    graph = memory.bind(build(top, [(middle, [(bottom, [worker])])]))
    await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    space, step = await deepest(graph, ("collect",))
    found = {"0/0": {**step.values["results"]["0/0"], "output": {"text": "by hand", "citations": ["x.md#y"]}}}
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], namespace=space, values={"results": found})
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["outcome"], len(shown(worker))) == ("completed", 1)
    assert "by hand" in shown(bottom)[-1]
    assert out["answer"]["citations"] == ["x.md#y"]


async def deepest(graph: Graph, after: tuple[str, ...]) -> Any:
    """The namespace of the deepest team, and its step before those nodes."""
    saver: Any = graph.checkpointer
    spaces = {row.config["configurable"]["checkpoint_ns"] async for row in saver.alist(CONFIG)}
    space = max(spaces, key=lambda s: s.count("|") + bool(s))
    step = await anext(s async for s in graph.aget_state_history(at("t", namespace=space)) if s.next == after)
    return space, step


async def test_keys_of_a_team_never_collide_with_those_of_its_parent(memory: Persistence) -> None:
    """Every level has `results` under "0/0", `round` and `assignments`; each keeps its own."""
    graph = memory.bind(three_levels(scripted("worker", "found")))
    out = await graph.ainvoke({"task": "x"}, CONFIG)
    assert {i: r["task"] for i, r in out["results"].items()} == {"0/0": "the part"}
    _, step = await deepest(graph, ("report",))
    assert {i: r["task"] for i, r in step.values["results"].items()} == {"0/0": "the detail"}
    assert set(out["results"]["0/0"]["output"]) == set(Text.model_fields)
    assert len(out["messages"]) == 2


@pytest.mark.parametrize("kind", ["pipeline", "critic", "magentic", "handoff", "hierarchy"])
async def test_a_team_is_any_pattern(kind: str) -> None:
    team = bind(agent("team"), MAKERS[kind](scripted("worker", "found")))
    graph = build(boss("chief", given(("team", "dig"))), [team])
    assert "team" in [name for name, _ in graph.get_subgraphs()]
    out = await graph.ainvoke({"task": "x"})
    assert (out["outcome"], out["usage"]["worker"]["calls"]) == ("completed", 1)


async def test_a_question_passes_through_hierarchy_market_and_pipeline(sqlite: Persistence) -> None:
    log: list[str] = []
    line = bind(agent("line"), pipeline.build(scripted("first", "prepared"), irreversible(log)))
    team = bind(agent("team"), market.build([line]))
    graph = sqlite.bind(build(boss("chief", given(("team", "dig"))), [team]))
    (question,) = (await graph.ainvoke({"task": "x"}, CONFIG, durability="sync"))["__interrupt__"]
    assert (question.value["action_requests"][0]["name"], log) == ("act", [])
    approve = Command(resume={"decisions": [{"type": "approve"}]})
    out = await graph.ainvoke(approve, CONFIG, durability="sync")
    assert (out["outcome"], len(log), repeated(records(sqlite))) == ("completed", 1, [])


# Threads


async def test_a_second_turn_sees_nothing_of_the_first(memory: Persistence) -> None:
    chief = boss("chief", given(("one", "first")), given(("one", "second")))
    graph = memory.bind(build(chief, [scripted("one", "done")]))
    await graph.ainvoke({"task": "x"}, CONFIG)
    out = await graph.ainvoke({"task": "y"}, CONFIG)
    assert [r["task"] for r in out["results"].values()] == ["second"]


async def test_after_a_crash_those_who_were_done_are_not_asked_again(sqlite: Persistence) -> None:
    one, count = scripted("one", "done"), []

    async def crash_once(task: Any) -> Any:
        count.append(1)
        if len(count) == 1:
            await asyncio.sleep(0.2)
            raise Crash
        return "done too"

    chief = boss("chief", given(("one", "left"), ("two", "right")))
    graph = sqlite.bind(build(chief, [one, bind(agent("two"), crash_once)]))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "x"}, CONFIG, durability="sync", context={"max_calls": 10})
    out = await graph.ainvoke(None, CONFIG, durability="sync", context={"max_calls": 10})
    assert (out["outcome"], len(shown(one)), len(count), len(shown(chief))) == ("completed", 1, 2, 2)
    assert repeated(records(sqlite)) == []


async def test_a_person_may_manage_and_report(memory: Persistence) -> None:
    graph = memory.bind(build(bind(agent("chief", output=Assignments), PERSON), [scripted("one", "found")]))
    await graph.ainvoke({"task": "x"}, CONFIG)
    word = '{"assignments": [{"assignee": "one", "task": "dig"}]}'
    (question,) = (await graph.ainvoke(respond(word), CONFIG))["__interrupt__"]
    assert "found" in str(question.value["case"]["task"])
    out = await graph.ainvoke(respond("as found"), CONFIG)
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "as found")


def respond(message: str) -> Command[Any]:
    return Command(resume={"decisions": [{"type": "respond", "message": message}]})


async def test_a_person_who_declines_an_escalation_ends_the_turn(memory: Persistence) -> None:
    graph = memory.bind(build(boss("chief", given(("one", "x"))), [breaks("one", on_failure=ESCALATE)]))
    await graph.ainvoke({"task": "x"}, CONFIG)
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "reject", "message": "no"}]}), CONFIG)
    assert (out["outcome"], out["answer"]) == ("escalated", None)


# Costs, and what build refuses


async def test_the_cost_formula_is_exact_and_within_what_was_said_before() -> None:
    flat = build(boss("chief", given(("one", "x"), ("two", "y"))), [scripted("one", "a"), scripted("two", "b")])
    twice = build(boss("chief", given(("one", "x"), more=True), given(("one", "y"))), [scripted("one", "a")])
    deep = three_levels(scripted("worker", "found"))
    for graph, counts in (
        (flat, {"delegations": 1, "tasks": 2, "reports": 1}),
        (twice, {"delegations": 2, "tasks": 2, "reports": 1}),
        (deep, {"delegations": 2, "tasks": 1, "reports": 2}),
    ):
        used = (await graph.ainvoke({"task": "x"}))["usage"]["total"]["calls"]
        assert formula("hierarchy", **counts) == used
        bounds = calls_of(graph)
        assert bounds.most is not None
        assert bounds.least <= used <= bounds.most


BOSS = agent("boss", output=Assignments)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build(agent("boss"), [agent("a")]), "manager 'boss' must return Assignments and have no tools"),
        (lambda: build(agent("boss", output=Assignments, tools=(nothing(),)), [agent("a")]), "have no tools"),
        (lambda: build(BOSS, []), "the team of 'boss' is empty"),
        (lambda: build(agent("top", output=Assignments), [(BOSS, [])]), "the team of 'boss' is empty"),
        (lambda: build(BOSS, [agent("a"), agent("a")]), "'a'.*rename"),
        (lambda: build(BOSS, [agent("report")]), "'report'.*rename"),
        (lambda: build(BOSS, [agent("a", input=Text)]), "takes Text"),
        (lambda: build(bind(BOSS, lambda task: given()), [agent("a")]), "give a `reporter`"),
        (lambda: build(BOSS, [agent("a")], max_rounds=0), "`max_rounds`"),
        (lambda: build(BOSS, [agent("a")], max_repairs=-1), "`max_repairs`"),
        (lambda: build(BOSS, [agent("a")], max_assignments=0), "`max_assignments`"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        make()


# The drawing


def test_the_drawing_reads_like_the_figure() -> None:
    graph = build(BOSS, [agent("one"), agent("two")]).get_graph()
    assert sorted(f"{e.source} -{'?' if e.conditional else ''}> {e.target}" for e in graph.edges) == [
        "__start__ -> begin", "begin -> delegate",
        "collect -?> delegate", "collect -?> finish", "collect -?> report",
        "delegate -?> delegate", "delegate -?> finish", "delegate -?> one", "delegate -?> report", "delegate -?> two",
        "finish -> __end__", "one -> collect", "report -> finish", "two -> collect",
    ]  # fmt: skip


async def test_the_default_graph_runs_without_a_key() -> None:
    task = {"goal": "What is the capital of France?", "context": {"atlas": "Paris is the capital of France."}}
    out = await hierarchy.graph.ainvoke({"task": task})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "Paris is the capital of France. [given#atlas]")
