"""Threads that go on with other code: resumed, warned about or refused by name, and never silently wrong."""

import warnings
from dataclasses import dataclass, replace
from operator import or_
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from pydantic import BaseModel
from scripted import Scripted
from typing_extensions import TypedDict

from graphs.bind import bind
from graphs.compile import compiled
from motet.session import Session
from nodes.agent import Bound, as_node
from nodes.turn import begin, finish
from runtime.fingerprint import MARK, code_of, mark_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import at, fork
from state.agent import Agent, Text
from state.context import Context
from state.cost import Calls
from state.errors import ChangedWarning, ThreadError
from state.fingerprint import Change, Code, Parts, changes, said, verdict
from state.reducers import merge_keys
from state.task import Task
from state.tool import Arguments, Tool, ToolContext
from state.turn import Given, Result, Turn, ended, task_of

APPROVE = Command(resume={"decisions": [{"type": "approve"}]})


class Crash(BaseException):
    pass


class Place(Arguments):
    to: str = "ann"


class Wider(Arguments):
    to: str = "ann"
    urgent: bool = False


class Sent(BaseModel):
    text: str
    to: str = "ann"


class Asked(Task):
    hurry: bool = False


@dataclass(frozen=True, kw_only=True)
class Form:
    """One version of the code."""

    draft: str = "draft"
    act: str = "act"
    close: str = "close"
    notes: str = "notes"
    reducer: Any = merge_keys
    given: type = Given
    result: type = Result
    instructions: str = ""
    model: str = "one"
    tools: tuple[str, ...] = ("send",)
    args: type[Arguments] = Place
    output: type[BaseModel] = Text
    takes: type[BaseModel] = Task
    helper: bool = True


class More(Given, total=False):
    hint: str


class Told(TypedDict, total=False):
    answer: dict[str, Any] | None
    outcome: str
    draft: str


def model(says: Any, name: str = "scripted") -> Scripted:
    return Scripted(script=says if callable(says) else lambda m, t: says, name_=name)


class World:
    """What happens outside: letters that are sent, a crash that is to come."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.crash = False

    def made(self, form: Form) -> Graph:
        async def run(place: Any, context: ToolContext) -> str:
            self.sent.append(place.to)
            return "sent"

        def clerk(messages: Any, tools: Any) -> Any:
            if any(m.type == "tool" for m in messages):
                return "a letter went out"
            return [("send", {"to": "ann"})]

        def closer(messages: Any, tools: Any) -> Any:
            if self.crash:
                self.crash = False
                raise Crash
            return "closed" if form.output is Text else [("Sent", {"text": "closed"})]

        def tool(name: str) -> Tool:
            return Tool(name=name, description="Acts.", args=form.args, run=run, effects="irreversible")

        writer = bind(
            Agent(name="writer", responsibility="Writes", instructions=form.instructions), model("a draft", form.model)
        )
        mailer = bind(
            Agent(name="clerk", responsibility="Sends letters", tools=tuple(map(tool, form.tools))), model(clerk)
        )
        last = bind(Agent(name="closer", responsibility="Closes", output=form.output, input=form.takes), model(closer))
        helper = bind(Agent(name="helper", responsibility="Helps"), model("help"))
        state = TypedDict(  # type: ignore[operator]  # made by name
            "State", {**Turn.__annotations__, form.notes: Annotated[dict[str, Any], form.reducer]}, total=False
        )

        def noted(state: Any, reply: Any) -> dict[str, Any]:
            return {form.notes: {reply.agent: reply.output["text"]}}

        def closed(state: Any, reply: Any) -> dict[str, Any]:
            notes = {**(state.get(form.notes) or {}), "closer": reply.output["text"]}
            text = " / ".join(notes.get(name, "?") for name in ("writer", "clerk", "closer"))
            return ended("completed", "", answer={"text": text}, author="closer")

        def role(bound: Bound, write: Any) -> Any:
            return as_node(bound, read=task_of, write=write, visit=lambda state: bound.agent.name)

        wiring = (
            StateGraph(state, context_schema=Context, input_schema=form.given, output_schema=form.result)
            .add_node("begin", begin(state))
            .add_node(form.draft, role(writer, noted))
            .add_node(form.close, role(last, closed))
            .add_node("finish", finish())
            .add_edge(START, "begin")
            .add_edge("begin", form.draft)
            .add_edge(form.draft, form.act or form.close)
            .add_edge(form.close, "finish")
            .add_edge("finish", END)
        )
        if form.act:
            wiring.add_node(form.act, role(mailer, noted)).add_edge(form.act, form.close)
        return compiled(
            wiring,
            name="letters",
            agents=[writer, mailer, last, *([helper] if form.helper else [])],
            steps=5,
            calls=Calls(3, None),
        )


RIGHT = "a draft / a letter went out / closed"
OLD = Form()
Verdict = tuple[str, str]  # one of these, and what it says
RESUMED, WARNED, REFUSED = "resumed", "warned", "refused"
FINE: Verdict = (RESUMED, "")
TABLE: dict[str, tuple[Form, Verdict, Verdict]] = {  # what changes; what follows at a gate, after a crash in `close`
    "nothing": (OLD, FINE, FINE),
    "a node that ran renamed": (
        replace(OLD, draft="sketch"),
        (WARNED, r"node draft is gone \(new: sketch\)"),
        (WARNED, r"node draft is gone \(new: sketch\)"),
    ),
    "the node at the gate renamed": (
        replace(OLD, act="post"),
        (REFUSED, "stopped before act, which letters no longer has"),
        (WARNED, "node act is gone"),
    ),
    "the node at the gate removed": (
        replace(OLD, act=""),
        (REFUSED, "stopped before act, which letters no longer has"),
        (WARNED, "node act is gone"),
    ),
    "the node that crashed renamed": (
        replace(OLD, close="end"),
        (WARNED, r"node close is gone \(new: end\)"),
        (REFUSED, "stopped before close, which letters no longer has"),
    ),
    "an agent removed": (
        replace(OLD, helper=False),
        (REFUSED, "agent helper is gone"),
        (REFUSED, "agent helper is gone"),
    ),
    "a key renamed": (
        replace(OLD, notes="jottings"),
        (REFUSED, r"key notes is gone \(new: jottings\)"),
        (REFUSED, r"key notes is gone \(new: jottings\)"),
    ),
    "a reducer changed": (
        replace(OLD, reducer=or_),
        (REFUSED, r"key notes changed \(was .*merge_keys; is .*or_\)"),
        (REFUSED, r"key notes changed \(was .*merge_keys; is .*or_\)"),
    ),
    "the input schema changed": (
        replace(OLD, given=More),
        (WARNED, "input changed .*hint"),
        (WARNED, "input changed .*hint"),
    ),
    "the output schema changed": (replace(OLD, result=Told), (WARNED, "output changed"), (WARNED, "output changed")),
    "an agent's input changed": (
        replace(OLD, takes=Asked),
        (WARNED, "agent closer: input changed"),
        (WARNED, "agent closer: input changed"),
    ),
    "an agent's output changed": (
        replace(OLD, output=Sent),
        (REFUSED, "agent closer: output changed"),
        (REFUSED, "agent closer: output changed"),
    ),
    "a prompt changed": (
        replace(OLD, instructions="Be brief."),
        (WARNED, "agent writer: instructions changed"),
        (WARNED, "agent writer: instructions changed"),
    ),
    "a model changed": (
        replace(OLD, model="two"),
        (WARNED, r"agent writer: model changed \(was one; is two\)"),
        (WARNED, r"agent writer: model changed \(was one; is two\)"),
    ),
    "a tool added": (  # after the crash, the loop that has the tools is over
        replace(OLD, tools=("send", "shred")),
        (WARNED, "agent clerk: tool shred is new inside act"),
        FINE,
    ),
    "the tool at the gate removed": (
        replace(OLD, tools=("shred",)),
        (REFUSED, r"agent clerk: tool send is gone inside act \(new: shred\)"),
        FINE,
    ),
    "the arguments of the tool at the gate changed": (
        replace(OLD, args=Wider),
        (REFUSED, "agent clerk: tool send changed inside act"),
        FINE,
    ),
}


@pytest.fixture
def world() -> World:
    return World()


async def go(graph: Graph, given: Any, verdict: tuple[str, str]) -> Any:
    """Run on, and hold what is said against the verdict; None where it is refused."""
    what, words = verdict
    assert (what == RESUMED) == (not words)
    if what == REFUSED:
        with pytest.raises(ThreadError, match=words):
            await graph.ainvoke(given, at("t"), durability="sync")
        return None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = await graph.ainvoke(given, at("t"), durability="sync")
    said = [str(w.message) for w in told if w.category is ChangedWarning]
    if words:
        assert len(said) >= 1
        with pytest.raises(AssertionError, match=words):
            raise AssertionError(" ".join(said))
    else:
        assert said == []
    return found


@pytest.mark.parametrize("case", TABLE)
async def test_at_a_gate(case: str, world: World, memory: Persistence) -> None:
    form, verdict, _ = TABLE[case]
    waiting = await memory.bind(world.made(OLD)).ainvoke({"task": "go"}, at("t"), durability="sync")
    assert waiting["__interrupt__"]
    found = await go(memory.bind(world.made(form)), APPROVE, verdict)
    if found is None:
        assert world.sent == []  # nothing was executed, and the former code goes on
        found = await go(memory.bind(world.made(OLD)), APPROVE, (RESUMED, ""))
    assert (found["answer"]["text"], world.sent) == (RIGHT, ["ann"])


@pytest.mark.parametrize("case", TABLE)
async def test_after_a_crash(case: str, world: World, memory: Persistence) -> None:
    form, _, verdict = TABLE[case]
    world.crash = True
    with pytest.raises(Crash):
        await memory.bind(world.made(OLD)).ainvoke(
            {"task": "go"}, at("t"), durability="sync", context={"approve": "auto"}
        )
    found = await go(memory.bind(world.made(form)), None, verdict)
    if found is None:
        found = await go(memory.bind(world.made(OLD)), None, (RESUMED, ""))
    assert (found["answer"]["text"], world.sent) == (RIGHT, ["ann"])


QUICK = ("a key renamed", "an agent removed", "the tool at the gate removed")  # the others are slow tests


@pytest.mark.parametrize("case", [c if c in QUICK else pytest.param(c, marks=pytest.mark.slow) for c in TABLE])
async def test_a_further_turn(case: str, world: World, memory: Persistence) -> None:
    form = TABLE[case][0]
    auto = Context(approve="auto")
    await memory.bind(world.made(OLD)).ainvoke({"task": "one"}, at("t"), durability="sync", context=auto)
    graph = memory.bind(world.made(form))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = await graph.ainvoke({"task": "two"}, at("t"), durability="sync", context=auto)
    assert [str(w.message) for w in told if w.category is ChangedWarning] == []
    values = (await graph.aget_state(at("t"))).values
    right = RIGHT if form.act else "a draft / ? / closed"
    assert (found["answer"]["text"], values["turn"], len(values["messages"])) == (right, 2, 4)
    assert len(world.sent) == (2 if form.act and "send" in form.tools else 1)


async def test_what_lasts_from_turn_to_turn_is_refused_with_another_reducer_and_warned_about_when_it_is_gone() -> None:
    lasting = Code({"": {"key holder": "lasts, str, LastValue"}}, {})
    other = Code({"": {"key holder": "lasts, str, Topic"}}, {})
    assert verdict(lasting, other, None).refused == ["key holder changed (was str, LastValue; is str, Topic)"]
    assert verdict(lasting, Code({"": {}}, {}), None).warned == ["key holder is gone"]
    assert verdict(lasting, lasting, None) == verdict(lasting, lasting, {"": {"act"}})


async def test_a_change_inside_a_graph_that_is_not_at_work_is_none_of_the_threads() -> None:
    was, now = Code({"": {}, "team": {"key draft": "str"}}, {}), Code({"": {}, "team": {"key draft": "int"}}, {})
    assert verdict(was, now, {"": {"close"}}).refused == []
    assert verdict(was, now, {"": {"team"}, "team": {"edit"}}).refused == [
        "key draft changed inside team (was str; is int)"
    ]


names = st.sampled_from(["node a", "node b", "key a", "agent a", "agent a: output", "agent a: tool t", "input"])
parts: st.SearchStrategy[Parts] = st.dictionaries(
    st.sampled_from(["", "team"]), st.dictionaries(names, st.sampled_from(["x", "y"]))
)


@given(parts, parts)
def test_every_difference_of_the_outer_graph_is_told_or_harms_nothing(was: Parts, now: Parts) -> None:
    found = list(changes(was, now))
    assert not any(c.was == c.now for c in found)
    assert {(c.inside, c.part) for c in found} == {(c.inside, c.part) for c in changes(now, was)}
    judged = verdict(Code(was, {}), Code(now, {}), {"": {"a"}})
    told = [*judged.refused, *judged.warned]
    assert sorted(told) == sorted(said(c, found) for c in found if not c.inside)
    lost = [c for c in found if not c.inside and c.now is None and c.kind in ("key", "agent", "tool")]
    assert all(said(c, found) in judged.refused for c in lost)


def test_a_tool_that_is_gone_with_its_agent_is_told_once() -> None:
    was: Parts = {"": {"agent a": "", "agent a: tool t": "", "agent a: output": ""}}
    assert list(changes(was, {})) == [Change("", "agent a", "", None)]


def test_the_same_code_has_the_same_mark_in_any_process_and_it_is_short(world: World) -> None:
    one, two = (mark_of(code_of(world.made(form))) for form in (OLD, OLD))
    assert one == two
    assert len(one) <= 32
    assert " at 0x" not in str(code_of(world.made(OLD)))
    spoken = mark_of(code_of(world.made(replace(OLD, instructions="Be brief."))))
    assert (spoken.split(".")[0], spoken != one) == (one.split(".")[0], True)


async def test_a_fork_at_the_head_goes_on_with_the_code_as_it_is_and_asks_again(
    world: World, sqlite: Persistence
) -> None:
    await sqlite.bind(world.made(OLD)).ainvoke({"task": "go"}, at("t"), durability="sync")
    graph = sqlite.bind(world.made(replace(OLD, tools=("send", "shred"), helper=False)))
    with pytest.raises(ThreadError, match=r"agent helper is gone.*fork"):
        await graph.ainvoke(APPROVE, at("t"), durability="sync")
    head = await graph.aget_state(at("t"))
    await fork(graph, "t", head.config["configurable"]["checkpoint_id"])
    assert (await graph.ainvoke(None, at("t"), durability="sync"))["__interrupt__"]
    assert (await graph.ainvoke(APPROVE, at("t"), durability="sync"))["answer"]["text"] == RIGHT
    assert world.sent == ["ann"]


async def test_every_checkpoint_has_the_mark_and_the_store_its_parts(world: World, sqlite: Persistence) -> None:
    graph = sqlite.bind(world.made(OLD))
    await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    steps = [s async for s in graph.aget_state_history(at("t"))]
    marks = {(s.metadata or {}).get(MARK) for s in steps}
    assert marks == {mark_of(code_of(graph))}
    kept = await sqlite.store.aget(("code",), marks.pop() or "")
    assert kept is not None
    assert Code(**kept.value) == code_of(graph)


world_now, form_now = World(), [OLD]


def __getattr__(name: str) -> Any:
    if name == "letters":
        return world_now.made(form_now[0])
    raise AttributeError(name)


async def test_a_session_tells_what_changed_in_one_line_and_refuses_by_name() -> None:
    form_now[0] = OLD
    with Session() as session:
        await session.run("test_code_changes:letters", "go", thread="t")
        form_now[0] = replace(OLD, helper=False)
        with pytest.raises(ThreadError, match=r"'t' was left by other code: agent helper is gone\."):
            await session.resume("t", {"decisions": [{"type": "approve"}]})
        form_now[0] = replace(OLD, instructions="Be brief.")
        events: list[Any] = []
        done = await session.resume("t", {"decisions": [{"type": "approve"}]}, listen=events.append)
        assert done.answer == RIGHT
        assert events[0] == {"changed": "thread 't': agent writer: instructions changed since it was left"}
    form_now[0] = OLD
