"""Runs again from their record: nothing is called, the answer is the same, and a change of the code is found."""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from makers import MAKERS, scripted
from scripted import Scripted
from test_cli import motet
from test_conformance import acting, broken, foreign

from graphs import orchestrator_worker
from graphs.bind import bind
from graphs.compile import compiled
from motet.session import Session
from nodes.agent import as_node
from nodes.turn import begin, finish
from runtime.replay import PartedError, RecordEndedError, Recording
from runtime.sync import Graph
from state.agent import ABORT, DEGRADE, ESCALATE, Agent, fallback, retry
from state.context import Context
from state.cost import Calls
from state.errors import ThreadError
from state.plan import Plan
from state.task import Task
from state.tool import Arguments, Tool, ToolContext
from state.turn import Given, Result, Turn, concluded, ended, task_of

APPROVE = {"decisions": [{"type": "approve"}]}
BY_HAND = {"decisions": [{"type": "respond", "message": "by hand"}]}
patterns = pytest.mark.parametrize("name", sorted(MAKERS))
FEW = ("concurrent", "market", "react")


def few(*quick: str, among: Sequence[str]) -> list[Any]:
    """Names to run a test with; those that are not among the quick ones are slow tests."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in among]


made: dict[str, Graph] = {}


def __getattr__(name: str) -> Any:
    """The graphs that a session loads from here by name."""
    if name in made:
        return made[name]
    raise AttributeError(name)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    made.clear()
    yield
    made.clear()


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("memory://") as opened:
        yield opened


GRAPH = "test_replay:graph"


async def saved(session: Session, graph: Graph, *answers: Any, context: Any = None) -> Any:
    """One turn of a graph, with its questions answered."""
    made["graph"] = graph
    ended = await session.run(GRAPH, "go", thread="t", context=context)
    for answer in answers:
        ended = await session.resume("t", answer)
    return ended


@patterns
async def test_every_pattern_is_replayed_without_a_model_call_and_gives_the_same_answer(
    name: str, session: Session
) -> None:
    worker = scripted("worker", "the answer")
    ended = await saved(session, MAKERS[name](worker))
    asked = len(worker.by.calls)  # type: ignore[union-attr]
    again = await session.replay("t")
    assert (again.same, again.parted, again.changed) == (True, "", [])
    assert (again.outcome, again.answer) == (ended.outcome, ended.answer)
    assert len(worker.by.calls) == asked  # type: ignore[union-attr]
    assert again.answered >= asked


@pytest.mark.parametrize("name", few(*FEW, among=sorted(MAKERS)))
async def test_a_changed_prompt_is_found_where_it_is_first_used(name: str, session: Session) -> None:
    await saved(session, MAKERS[name](scripted("worker", "the answer")))
    book = [r for r in await session.calls("t") if r["agent"] == "worker" and r["kind"] == "model"]
    first = f"{book[0]['path']}/{book[0]['visit']}".strip("/")
    worker = scripted("worker", "something else", instructions="Be brief.")
    made["graph"] = MAKERS[name](worker)
    again = await session.replay("t")
    assert (again.same, again.parted) == (False, f"another prompt than then at {first}")
    assert again.at is not None
    assert any("agent worker: instructions changed" in change for change in again.changed)
    assert worker.by.calls == []  # type: ignore[union-attr]


@pytest.mark.parametrize("name", few("react", among=["concurrent", "market", "orchestrator_worker", "react"]))
@pytest.mark.parametrize("policy", [retry(2), DEGRADE, ABORT, ESCALATE, "fallback"], ids=str)
async def test_failures_are_replayed_as_they_were(name: str, policy: Any, session: Session) -> None:
    policy = fallback(scripted("spare", "the spare answer")) if policy == "fallback" else policy
    answers = [BY_HAND] if policy is ESCALATE else []
    ended = await saved(session, MAKERS[name](broken(on_failure=policy)), *answers)
    again = await session.replay("t")
    assert (again.parted, again.outcome, again.answer) == ("", ended.outcome, ended.answer)


@pytest.mark.parametrize("name", few("debate", among=["critic", "debate", "group_chat", "react"]))
async def test_what_people_decided_is_replayed_and_no_effect_happens_again(name: str, session: Session) -> None:
    log: list[str] = []
    ended = await saved(session, MAKERS[name](acting(log)), APPROVE)
    again = await session.replay("t")
    assert (again.parted, again.answer, len(log)) == ("", ended.answer, 1)


@pytest.mark.parametrize("name", few("debate", among=["critic", "debate", "pipeline"]))
async def test_a_run_that_waits_is_replayed_as_far_as_it_got(name: str, session: Session) -> None:
    log: list[str] = []
    await saved(session, MAKERS[name](acting(log)))
    again = await session.replay("t")
    assert (again.same, again.parted, again.outcome, log) == (True, "", "", [])


@pytest.mark.parametrize("name", few("concurrent", among=["concurrent", "hierarchy", "orchestrator_worker"]))
async def test_a_graph_of_somebody_elses_is_answered_for_by_its_record(name: str, session: Session) -> None:
    guest = bind(Agent(name="guest", responsibility="Comes from abroad."), foreign(3))
    ended = await saved(session, MAKERS[name](guest))
    again = await session.replay("t")
    assert (again.parted, again.answer) == ("", ended.answer)


@pytest.mark.parametrize("limits", [{"max_calls": 1}, {"max_tokens": 85}], ids=str)
async def test_a_budget_that_ended_a_run_ends_it_again(limits: Any, session: Session) -> None:
    ended = await saved(session, MAKERS["debate"](scripted("worker", "the answer")), context=limits)
    again = await session.replay("t")
    assert (again.parted, again.outcome, again.answer) == ("", ended.outcome, ended.answer)
    assert ended.outcome == "out_of_budget"


async def test_a_plan_of_tasks_is_replayed_in_whatever_order_its_steps_came(session: Session) -> None:
    ran: list[str] = []

    def work(task: Task) -> str:
        ran.append(task.goal)
        return f"{task.goal} of {sorted(task.context)}"

    steps = [{"id": f"s{n}", "worker": "hand", "task": f"s{n}", "needs": [f"s{n - 2}"] * (n > 1)} for n in range(8)]
    plan = bind(Agent(name="planner", responsibility="Plans.", output=Plan), lambda task: {"steps": steps})
    hand = bind(Agent(name="hand", responsibility="Works."), work)
    await saved(session, orchestrator_worker.build(plan, [hand], scripted("writer", "all done")))
    assert len(ran) == 8
    again = await session.replay("t")
    assert (again.parted, again.answered, len(ran)) == ("", 10, 8)


class Place(Arguments):
    to: str


class Wider(Place):
    urgent: bool = False


def sender(args: type[Arguments] = Place, description: str = "Sends.") -> Graph:
    async def run(place: Any, context: ToolContext) -> str:
        return "sent"

    def says(messages: Any, tools: Any) -> Any:
        return "done" if messages[-1].type == "tool" else [("send", {"to": "ann"})]

    tool = Tool(name="send", description=description, args=args, run=run)
    return MAKERS["react"](
        bind(Agent(name="clerk", responsibility="Sends letters", tools=(tool,)), Scripted(script=says))
    )


@pytest.mark.parametrize("changed", [{"args": Wider}, {"description": "Sends a letter."}], ids=lambda c: next(iter(c)))
async def test_a_changed_tool_is_found_at_the_step_whose_model_is_told_of_it(changed: Any, session: Session) -> None:
    await saved(session, sender())
    assert (await session.replay("t")).same
    made["graph"] = sender(**changed)
    again = await session.replay("t")
    assert again.parted == "other tools than then at think/1"
    assert again.at is not None
    assert (again.at["number"], again.at["ran"][1]) == (2, ["think"])


class Fork(Turn):
    pass


def routed(way: str, says: str = "written") -> Graph:
    """begin -> draft -> left or right -> finish; `left` calls an agent, `right` calls none."""
    writer = scripted("writer", "a draft")
    left = scripted("left", "by the left")

    async def after_draft(state: Fork) -> str:
        return way

    async def right(state: Fork) -> dict[str, Any]:
        return ended("completed", "", answer={"text": says}, author="writer")

    return compiled(
        StateGraph(Fork, context_schema=Context, input_schema=Given, output_schema=Result)
        .add_node("begin", begin(Fork))
        .add_node("draft", as_node(writer, read=task_of, write=lambda s, r: {}, visit=lambda s: "draft"))
        .add_node("left", as_node(left, read=task_of, write=lambda s, r: concluded(r), visit=lambda s: "left"))
        .add_node("right", right)
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "draft")
        .add_conditional_edges("draft", after_draft, ["left", "right"])
        .add_edge("left", "finish")
        .add_edge("right", "finish")
        .add_edge("finish", END),
        name="routed",
        agents=[writer, left],
        steps=5,
        calls=Calls(1, 2),
    )


@pytest.mark.parametrize(("was", "now"), [("left", "right"), ("right", "left")])
async def test_a_changed_route_is_found_at_its_step(was: str, now: str, session: Session) -> None:
    await saved(session, routed(was))
    assert (await session.replay("t")).same
    made["graph"] = routed(now)
    again = await session.replay("t")
    assert again.parted.startswith(f"{now} runs at step 3, where {was} ran then")
    assert again.at is not None
    assert (again.at["number"], again.at["differs"]) == (3, "routing")


async def test_another_output_of_the_code_itself_is_found_at_its_step(session: Session) -> None:
    await saved(session, routed("right"))
    made["graph"] = routed("right", says="written anew")
    again = await session.replay("t")
    assert again.parted == "answer of right at step 3 differs"


async def test_a_change_inside_a_nested_graph_is_found_there(session: Session) -> None:
    def team(**options: Any) -> Graph:
        inner = MAKERS["critic"](scripted("deep", "from deep inside", **options))
        return MAKERS["pipeline"](bind(Agent(name="team", responsibility="Works as a team."), inner))

    await saved(session, team())
    assert (await session.replay("t")).same
    made["graph"] = team(instructions="Be brief.")
    again = await session.replay("t")
    assert again.parted == "another prompt than then at team/0/generate/0"
    assert again.at is not None
    assert (again.at["inside"], again.at["ran"][1]) == ("team", ["generate"])


async def test_a_branch_is_replayed_from_where_it_was_forked_and_its_origin_as_well(session: Session) -> None:
    await saved(session, MAKERS["debate"](scripted("worker", "the answer")))
    steps = await session.history("t")
    await session.fork("t", steps[len(steps) // 2].id)
    await session.resume("t")
    for run in ("t", "t@main-1", "t@main"):
        assert (await session.replay(run)).parted == ""


async def test_each_turn_of_a_thread_is_replayed(session: Session) -> None:
    await saved(session, MAKERS["critic"](scripted("worker", "the answer")))
    first = (await session.history("t"))[0].id
    await session.run(GRAPH, "go on", thread="t")
    assert (await session.replay(f"t@{first}")).same
    assert (await session.replay("t")).same


async def test_nothing_is_written_by_a_replay(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"

    def rows() -> list[Any]:
        with sqlite3.connect(path) as conn:
            return list(conn.iterdump())

    with Session(f"sqlite:///{path}") as session:
        await saved(session, MAKERS["critic"](scripted("worker", "the answer")))
        before = rows()
        assert (await session.replay("t")).same
        assert rows() == before


async def test_what_is_sensitive_cannot_be_replayed_and_is_refused_by_name(session: Session) -> None:
    await saved(session, MAKERS["pipeline"](scripted("worker", "the answer", sensitive=True)))
    with pytest.raises(ThreadError, match=r"'t' cannot be replayed: .*worker.* sensitive contents"):
        await session.replay("t")


def test_a_saved_run_is_a_regression_test_wherever_its_file_and_its_key_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTET_KEY", "k" * 40)
    made["graph"] = MAKERS["critic"](scripted("worker", "the answer"))
    assert motet("run", GRAPH, "go", "--thread", "t", "--db", f"sqlite:///{tmp_path / 'one.db'}").exit_code == 0
    shutil.copy(tmp_path / "one.db", tmp_path / "saved.db")
    monkeypatch.setenv("MOTET_HOME", str(tmp_path / "elsewhere"))
    db = f"sqlite:///{tmp_path / 'saved.db'}"
    ran = motet("replay", "t", "--db", db)
    assert (ran.exit_code, "same" in ran.stderr) == (0, True)
    made["graph"] = MAKERS["critic"](scripted("worker", "the answer", instructions="Be brief."))
    ran = motet("replay", "t", "--db", db)
    assert ran.exit_code == 1
    assert "parts      step 2 (generate): another prompt than then at generate/0" in ran.stderr
    assert motet("replay", "nobody", "--db", db).exit_code == 2


async def test_a_run_that_crashed_and_was_resumed_is_replayed_as_one(session: Session) -> None:
    class Crash(BaseException):
        pass

    crashes = [True]

    def says(messages: Any, tools: Any) -> str:
        if crashes.pop() if crashes else False:
            raise Crash
        return "the answer"

    worker = scripted("worker", says)
    made["graph"] = MAKERS["debate"](worker)
    with pytest.raises(Crash):
        await session.run(GRAPH, "go", thread="t")
    ended = await session.resume("t")
    again = await session.replay("t")
    assert (again.parted, again.answer, len(worker.by.calls)) == ("", ended.answer, 2)  # type: ignore[union-attr]


async def test_a_further_call_is_found_in_a_run_that_is_not_over_and_a_lost_answer_is_no_sameness(
    session: Session,
) -> None:
    await saved(session, MAKERS["critic"](acting([])))
    made["graph"] = MAKERS["pipeline"](acting([]))
    assert not (await session.replay("t")).same
    record: Any = {"path": "", "visit": "a/1", "kind": "model", "outcome": "failed", "digest": "d", "at": 1.0}
    record |= {"id": "1", "task": ""}
    for over, error in ((True, PartedError), (False, RecordEndedError)):
        recording = Recording([record], thread="t", branch="main", turn=1, over=over)
        with pytest.raises(error, match="a call whose answer was not kept at a/1"):
            recording.recorded("model", path="", visit="a/1", digest="d")
