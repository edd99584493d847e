import asyncio
import time
from typing import Any

import pytest
from langgraph.types import Command
from makers import scripted
from scripted import Scripted

from graphs import critic, orchestrator_worker, pipeline
from graphs.bind import Bindable, bind
from graphs.orchestrator_worker import build
from nodes.agent import Bound
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import fork
from state.agent import ABORT, ESCALATE, Agent
from state.critic import Critique
from state.errors import ContractError
from state.plan import Plan
from state.record import Record, repeated
from state.task import Task
from state.tool import Arguments, Tool


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    bound = bind(who)
    steps = [
        {"id": "one", "worker": bound.agent.name, "task": "do the first"},
        {"id": "two", "worker": "other", "task": "do the second", "needs": ["one"]},
    ]
    return orchestrator_worker.build(
        scripted("planner", [("Plan", {"steps": steps})], output=Plan),
        [bound, scripted("other", "a second result")],
        scripted("writer", "the whole answer"),
    )


CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Crash(BaseException):
    pass


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Does {name}.", **options)


def says(name: str, text: str, **options: Any) -> Bound:
    return bind(agent(name, **options), Scripted(script=lambda m, t: text))


def does(name: str, function: Any, **options: Any) -> Bound:
    return bind(agent(name, **options), function)


def breaks(name: str, **options: Any) -> Bound:
    def broken(task: Task) -> str:
        raise ValueError("out of ink")

    return does(name, broken, **options)


def step(id: str, worker: str = "hand", *needs: str, **options: Any) -> dict[str, Any]:
    return {"id": id, "worker": worker, "task": f"do {id}", "needs": list(needs), **options}


def planner(*plans: list[dict[str, Any]]) -> Bound:
    """A planner that writes one plan after the other, and the last one again and again."""
    left = list(plans)

    def script(messages: Any, tools: Any) -> Any:
        return [("Plan", {"steps": left.pop(0) if len(left) > 1 else left[0]})]

    return bind(agent("planner", output=Plan), Scripted(script=script))


def writer() -> Bound:
    return says("writer", "the whole")


def echo(name: str = "hand", log: list[str] | None = None) -> Bound:
    async def run(task: Task) -> str:
        (log if log is not None else []).append(task.goal)
        return f"{task.goal} done"

    return does(name, run)


def deep(name: str = "team") -> Bound:
    """A worker that is a graph."""
    return bind(agent(name), pipeline.build(echo(f"{name}_one"), says(f"{name}_two", f"{name} did it")))


def prompts(bound: Bound) -> list[str]:
    assert isinstance(bound.by, Scripted)
    return [call[1].text for call in bound.by.calls]


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


# Plan


async def test_it_plans_works_and_synthesizes() -> None:
    log: list[str] = []
    out = await build(planner([step("a"), step("b", "hand", "a")]), [echo(log=log)], writer()).ainvoke({"task": "x"})
    assert log == ["do a", "do b"]
    assert (out["answer"]["text"], out["outcome"], out["messages"][-1].name) == ("the whole", "completed", "writer")
    assert list(out["usage"]) == ["planner", "hand", "writer", "total"]


async def test_the_planner_sees_the_goal_and_who_can_do_what() -> None:
    chief = planner([step("a")])
    await build(chief, [echo(), echo("other")], writer()).ainvoke(
        {"task": {"goal": "the goal", "constraints": ["short"]}}
    )
    assert [w for w in ("the goal", "short", "Does hand.", "Does other.") if w not in prompts(chief)[0]] == []


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ([step("a", "nobody")], "no worker is called 'nobody'; there are hand"),
        ([step("a"), step("a")], "the id 'a' stands 2 times"),
        ([step("a", "hand", "z")], "step 'a' needs 'z', which is no step"),
        ([step("a", "hand", "b"), step("b", "hand", "a")], "the steps 'a', 'b' need each other in a circle"),
    ],
)
async def test_a_faulty_plan_goes_back_with_its_exact_faults(wrong: Any, fault: str) -> None:
    log: list[str] = []
    chief = planner(wrong, [step("a")])
    out = await build(chief, [echo(log=log)], writer()).ainvoke({"task": "x"})
    assert (out["outcome"], log) == ("completed", ["do a"])
    assert fault in prompts(chief)[1]


@pytest.mark.parametrize("repairs", [0, 1, 3])
async def test_a_plan_is_repaired_at_most_so_often(repairs: int) -> None:
    log: list[str] = []
    chief = planner([step("a", "nobody")])
    out = await build(chief, [echo(log=log)], writer(), max_plan_repairs=repairs).ainvoke({"task": "x"})
    assert (len(prompts(chief)), log) == (1 + repairs, [])
    assert (out["outcome"], out["answer"]) == ("failed", None)
    assert out["reason"].startswith(f"no sound plan after {repairs} repair(s): step 'a'")


async def test_a_planner_that_fails_is_a_failure() -> None:
    out = await build(breaks("planner", output=Plan), [echo()], writer()).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"], out["reason"]) == ("failed", None, "planner: out of ink")


# Work


@pytest.mark.parametrize("kind", ["leaves", "graphs"])
async def test_workers_see_exactly_the_results_they_depend_on(kind: str) -> None:
    seen = {}

    async def see(task: Task) -> str:
        seen[task.goal] = {need: output["text"] for need, output in task.context.items()}
        return f"{task.goal} done"

    steps = [step("a"), step("b"), step("c", "hand", "a"), step("d", "hand", "c", "b")]
    team = [does("hand", see)] + ([deep()] if kind == "graphs" else [])
    await build(planner(steps), team, writer()).ainvoke({"task": {"goal": "x", "context": {"secret": 1}}})
    assert seen == {
        "do a": {},
        "do b": {},
        "do c": {"a": "do a done"},
        "do d": {"c": "do c done", "b": "do b done"},
    }


async def test_a_worker_is_told_constraints_and_when_it_is_done() -> None:
    seen = []

    async def see(task: Task) -> str:
        seen.append((task.constraints, task.success, task.critical))
        return "x"

    task = {"goal": "x", "constraints": ["short"]}
    await build(planner([step("a", accept="three lines", critical=False)]), [does("hand", see)], writer()).ainvoke(
        {"task": task}
    )
    assert seen == [(["short"], ["three lines"], False)]


async def test_leaves_start_the_moment_their_own_needs_are_done() -> None:
    seconds = {"do a": 0.1, "do b": 0.6, "do c": 0.5, "do d": 0.1}

    async def work(task: Task) -> str:
        await asyncio.sleep(seconds[task.goal])
        return "x"

    steps = [step("b"), step("a"), step("c", "hand", "a"), step("d", "hand", "c")]
    began = time.monotonic()
    await build(planner(steps), [does("hand", work)], writer()).ainvoke({"task": "x"})
    assert time.monotonic() - began < 0.7 + 0.35  # the critical path is 0.7; layer by layer it would be 1.2


async def test_the_order_of_the_plan_may_be_any() -> None:
    log: list[str] = []
    steps = [step("c", "hand", "b"), step("b", "hand", "a"), step("a")]
    await build(planner(steps), [echo(log=log)], writer()).ainvoke({"task": "x"})
    assert log == ["do a", "do b", "do c"]


async def test_graphs_go_layer_by_layer_as_nodes_of_their_own() -> None:
    steps = [step("a", "team"), step("b"), step("c", "team", "a", "b")]
    graph = build(planner(steps), [deep(), echo()], writer())
    events = [e async for e in graph.astream({"task": "x"}, stream_mode="tasks")]
    begun = [e["name"] for e in events if "input" in e]
    assert begun == ["begin", "plan", "assign", "team", "hand", "assign", "team", "assign", "synthesize", "finish"]
    assert [name for name, _ in graph.get_subgraphs()] == ["team"]


async def test_the_synthesizer_sees_goal_plan_and_results() -> None:
    last = writer()
    await build(planner([step("a"), step("b", "hand", "a")]), [echo()], last).ainvoke({"task": "the goal"})
    prompt = prompts(last)[0]
    assert prompt.startswith("the goal")
    assert [w for w in ("## a: do a", "do a done", "## b: do b", "do b done") if w not in prompt] == []


# Failures


@pytest.mark.parametrize("kind", ["leaves", "graphs"])
async def test_a_step_that_is_not_critical_fails_without_its_dependants_and_the_answer_says_so(kind: str) -> None:
    log: list[str] = []
    steps = [step("a", "bad", critical=False), step("b", "hand", "a"), step("c", "hand", "b"), step("d")]
    last = writer()
    team = [breaks("bad"), echo(log=log)] + ([deep()] if kind == "graphs" else [])
    out = await build(planner(steps), team, last).ainvoke({"task": "x"})
    assert log == ["do d"]
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "the whole")
    gone = "a (bad: out of ink); b (skipped: it needs what is missing); c (skipped: it needs what is missing)"
    assert out["reason"] == f"missing: {gone}"
    assert f"## missing\n{gone}" in prompts(last)[0]


@pytest.mark.parametrize("kind", ["leaves", "graphs"])
async def test_a_critical_step_that_fails_is_planned_anew_and_what_is_finished_is_kept(kind: str) -> None:
    log: list[str] = []
    chief = planner([step("a"), step("b", "bad", "a")], [step("b2", "hand", "a")])
    team = [breaks("bad", on_failure=ABORT), echo(log=log)] + ([deep()] if kind == "graphs" else [])
    out = await build(chief, team, writer()).ainvoke({"task": "x"})
    assert log == ["do a", "do b2"]
    assert (out["outcome"], out["reason"]) == ("completed", "")
    assert "bad: out of ink" in prompts(chief)[1]
    assert "do a done" in prompts(chief)[1]


@pytest.mark.parametrize("replans", [0, 1, 2])
async def test_it_plans_anew_at_most_so_often_and_then_ends_with_what_there_is(replans: int) -> None:
    chief = planner([step("a"), step("b", "bad", "a")])
    bad = breaks("bad", on_failure=ABORT)
    out = await build(chief, [echo(), bad], writer(), max_replans=replans).ainvoke({"task": "x"})
    assert len(prompts(chief)) == 1 + replans
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "the whole")
    assert "missing: b (bad: out of ink)" in out["reason"]


async def test_a_step_of_which_only_a_part_was_done_is_said() -> None:
    team = bind(agent("team"), pipeline.build(echo(), pipeline.stage(breaks("polish"), optional=True)))
    out = await build(planner([step("a", "team")]), [team], writer()).ainvoke({"task": "x"})
    assert out["outcome"] == "degraded"
    assert "a is degraded (skipped: polish: out of ink" in out["reason"]


async def test_a_synthesizer_that_fails_leaves_the_results() -> None:
    out = await build(planner([step("a"), step("b")]), [echo()], breaks("writer")).ainvoke({"task": "x"})
    assert (out["outcome"], out["reason"]) == ("degraded", "writer: out of ink")
    assert out["answer"]["text"] == "a: do a done\n\nb: do b done"


async def test_a_budget_that_is_spent_ends_the_work_with_what_there_is() -> None:
    hand = bind(agent("hand"), Scripted(script=lambda m, t: "did it"))
    steps = [step("a"), step("b", "hand", "a"), step("c", "hand", "b")]
    out = await build(planner(steps), [hand], writer()).ainvoke({"task": "x"}, context={"max_calls": 2})
    assert (out["outcome"], out["answer"]["text"]) == ("out_of_budget", "a: did it")
    assert out["usage"]["total"]["calls"] == 2


# Durability and people


@pytest.mark.parametrize("kind", ["leaves", "graphs"])
async def test_after_a_crash_in_a_wide_plan_no_finished_step_runs_again(kind: str, sqlite: Persistence) -> None:
    log: list[str] = []

    async def work(task: Task) -> str:
        log.append(task.goal)
        if task.goal == "do s3" and log.count("do s3") == 1:
            await asyncio.sleep(0.2)
            raise Crash
        return f"{task.goal} done"

    steps = [*(step(f"s{n}") for n in range(6)), step("end", "hand", *(f"s{n}" for n in range(6)))]
    team = [does("hand", work)] + ([deep()] if kind == "graphs" else [])
    last = writer()
    graph = sqlite.bind(build(planner(steps), team, last))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert sorted(log) == sorted([*(f"do s{n}" for n in range(6)), "do s3", "do end"])
    assert out["outcome"] == "completed"
    assert [f"do s{n} done" in prompts(last)[0] for n in range(6)] == [True] * 6
    assert repeated(records(sqlite)) == []


async def test_questions_of_several_workers_stand_together(memory: Persistence) -> None:
    steps = [step("a", "one"), step("b", "two"), step("c", "hand", "a", "b")]
    team = [breaks("one", on_failure=ESCALATE), breaks("two", on_failure=ESCALATE), echo()]
    graph = memory.bind(build(planner(steps), team, writer()))
    out = await graph.ainvoke({"task": "x"}, CONFIG)
    asked = {i.value["action_requests"][0]["name"]: i.id for i in out["__interrupt__"]}
    assert set(asked) == {"one", "two"}
    said = {"decisions": [{"type": "respond", "message": "by hand"}]}
    out = await graph.ainvoke(Command(resume={asked["two"]: said}), CONFIG)
    assert [i.id for i in out["__interrupt__"]] == [asked["one"]]
    out = await graph.ainvoke(Command(resume={asked["one"]: said}), CONFIG)
    assert out["outcome"] == "completed"


async def test_a_fork_works_on_the_plan_that_was_put_in_its_place(memory: Persistence) -> None:
    log: list[str] = []
    chief = planner([step("a")])
    graph = memory.bind(build(chief, [echo(log=log)], writer()))
    await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    before = await anext(s async for s in graph.aget_state_history(CONFIG) if s.next == ("work",))
    plan = Plan.model_validate({"steps": [step("other")]}).model_dump(mode="json")
    await fork(graph, "t", before.config["configurable"]["checkpoint_id"], values={"plan": plan})
    await graph.ainvoke(None, CONFIG, durability="sync")
    assert (log, len(prompts(chief))) == (["do a", "do other"], 1)


async def test_a_second_turn_sees_nothing_of_the_first(memory: Persistence) -> None:
    log: list[str] = []
    chief = planner([step("a")])
    graph = memory.bind(build(chief, [echo(log=log)], writer()))
    await graph.ainvoke({"task": "one"}, CONFIG)
    out = await graph.ainvoke({"task": "two"}, CONFIG)
    assert (log, out["usage"]["total"]["calls"]) == (["do a", "do a"], 2)
    assert "do a done" not in prompts(chief)[1]


# Nested


async def test_patterns_are_workers_and_an_orchestrator_is_one() -> None:
    accept = Scripted(script=lambda m, t: [("Critique", {"verdict": "accept", "issues": []})])
    reviewed = critic.build(says("author", "draft"), [bind(agent("judge", output=Critique), accept)])
    inner = build(planner([step("a", "reviewed")]), [bind(agent("reviewed"), reviewed)], says("scribe", "inside"))
    chief = bind(agent("chief", output=Plan), Scripted(script=lambda m, t: [("Plan", {"steps": [step("z", "inner")]})]))
    last = writer()
    out = await build(chief, [bind(agent("inner"), inner)], last).ainvoke({"task": "x"})
    assert out["outcome"] == "completed"
    assert "inside" in prompts(last)[0]
    assert set(out["usage"]) == {"chief", "planner", "author", "judge", "scribe", "writer", "total"}


# What build refuses


class Nothing(Arguments):
    pass


async def act(given: Any, context: Any) -> str:
    return ""


ACT = Tool(name="act", description="Acts.", args=Nothing, run=act)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build(agent("p"), [agent("a")], agent("w")), "'p' must return a Plan and have no tools"),
        (lambda: build(agent("p", output=Plan, tools=(ACT,)), [agent("a")], agent("w")), "'p'.*no tools"),
        (lambda: build(agent("p", output=Plan), [], agent("w")), "`workers` is empty"),
        (lambda: build(agent("p", output=Plan), [agent("a"), agent("a")], agent("w")), "'a'.*rename"),
        (lambda: build(agent("p", output=Plan), [agent("assign")], agent("w")), "'assign'.*rename"),
        (lambda: build(agent("p", output=Plan), [agent("a")], agent("w"), max_replans=-1), "`max_replans`"),
        (lambda: build(agent("p", output=Plan), [agent("a")], agent("w"), max_plan_repairs=-1), "`max_plan_repairs`"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        make()


# The drawing


def edges(graph: Any) -> list[Any]:
    return sorted((e.source, e.target, e.conditional) for e in graph.get_graph().edges)


def test_the_drawing_with_leaves_reads_like_the_figure() -> None:
    assert edges(build(planner([step("a")]), [echo()], writer())) == [
        ("__start__", "begin", False),
        ("begin", "plan", False),
        ("finish", "__end__", False),
        ("plan", "finish", True),
        ("plan", "plan", True),
        ("plan", "work", True),
        ("replan", "plan", False),
        ("synthesize", "finish", False),
        ("work", "replan", True),
        ("work", "synthesize", True),
    ]


def test_the_drawing_with_graphs_reads_like_the_figure() -> None:
    assert edges(build(planner([step("a")]), [deep(), echo()], writer())) == [
        ("__start__", "begin", False),
        ("assign", "hand", True),
        ("assign", "replan", True),
        ("assign", "synthesize", True),
        ("assign", "team", True),
        ("begin", "plan", False),
        ("finish", "__end__", False),
        ("hand", "assign", False),
        ("plan", "assign", True),
        ("plan", "finish", True),
        ("plan", "plan", True),
        ("replan", "plan", False),
        ("synthesize", "finish", False),
        ("team", "assign", False),
    ]


async def test_the_default_graph_runs_without_a_key() -> None:
    task = {"goal": "What is the capital of France?", "context": {"atlas": "Paris is the capital of France."}}
    out = await orchestrator_worker.graph.ainvoke({"task": task})
    assert out["outcome"] in ("completed", "degraded")
    assert out["usage"]["total"]["calls"] >= 3


async def test_a_critical_step_whose_worker_only_degrades_is_planned_anew() -> None:
    plans: list[str] = []

    def plan(messages: Any, tools: Any) -> Any:
        plans.append("plan")
        who = "broken" if len(plans) == 1 else "good"
        return [("Plan", {"steps": [{"id": "one", "worker": who, "task": "do it"}]})]

    def fails(messages: Any, tools: Any) -> Any:
        raise OSError("the wire is cut")

    graph = build(
        bind(Agent(name="planner", responsibility="Plans.", output=Plan), Scripted(script=plan)),
        [
            bind(Agent(name="broken", responsibility="Fails."), Scripted(script=fails)),
            bind(Agent(name="good", responsibility="Works."), Scripted(script=lambda m, t: "done")),
        ],
        bind(Agent(name="writer", responsibility="Writes."), Scripted(script=lambda m, t: "all done")),
    )
    found = await graph.ainvoke({"task": "go"})
    assert (found["outcome"], len(plans)) == ("completed", 2)
