import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from makers import scripted
from pydantic import BaseModel
from scripted import Scripted

from graphs import concurrent, critic, pipeline
from graphs.bind import Bindable, bind
from graphs.pipeline import build, stage
from nodes.agent import Bound
from nodes.turn import EARLIER
from runtime.persistence import open_persistence
from runtime.sync import Graph
from runtime.travel import fork
from state.agent import ABORT, ESCALATE, Agent, Limits, Text
from state.critic import Critique
from state.errors import ContractError
from state.pipeline import misfit
from state.record import Record, repeated
from state.task import Task


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    return pipeline.build(who, scripted("closer", "and so it ends"))


class Crash(BaseException):
    pass


class Draft(BaseModel):
    title: str
    pages: int
    topics: list[str] = []


class Letter(BaseModel):
    title: str
    to: str = "everyone"


class Bill(BaseModel):
    title: str
    pages: list[int]


class Signed(BaseModel):
    title: str
    signature: str


DRAFT = {"title": "Bread", "pages": 2, "topics": []}


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Does {name}.", **options)


def says(name: str, text: str, **options: Any) -> Bound:
    return bind(agent(name, **options), Scripted(script=lambda m, t: text))


def does(name: str, function: Any, **options: Any) -> Bound:
    return bind(agent(name, **options), function)


def breaks(name: str, **options: Any) -> Bound:
    def broken(value: Any) -> str:
        raise ValueError("out of ink")

    return does(name, broken, **options)


def echo(name: str, **options: Any) -> Bound:
    return does(name, lambda task: f"{name}({task.context or task.goal})", **options)


def records(store: Any) -> list[Record]:
    return [item.value for item in store.search(("book",), limit=1000)]


# Order, and what each stage sees


async def test_stages_run_in_their_order_and_each_sees_the_one_before_and_the_goal() -> None:
    seen = []

    def see(task: Task) -> str:
        seen.append((task.goal, task.context))
        return f"{len(seen)}"

    out = await build(does("one", see), does("two", see), does("three", see)).ainvoke({"task": "count"})
    one, two = ({"text": n, "citations": [], "confidence": None} for n in "12")
    assert seen == [("count", {}), ("count", {"one": one}), ("count", {"two": two})]
    assert out["answer"]["text"] == "3"
    assert (out["outcome"], out["reason"], out["messages"][-1].name) == ("completed", "", "three")


async def test_constraints_success_and_context_of_the_task_reach_every_stage() -> None:
    seen = []
    task = {"goal": "g", "context": {"known": 1}, "constraints": ["short"], "success": ["true"], "otherwise": "say so"}

    def see(given: Task) -> str:
        seen.append(given)
        return "x"

    await build(does("one", see), does("two", see)).ainvoke({"task": task})
    assert [(t.constraints, t.success, t.otherwise, t.context["known"]) for t in seen] == [
        (["short"], ["true"], "say so", 1)
    ] * 2


async def test_a_model_is_shown_the_output_of_the_stage_before() -> None:
    model = Scripted(script=lambda m, t: "short")
    await build(says("long", "a long text"), bind(agent("shorten"), model)).ainvoke({"task": "write"})
    prompt = model.calls[0][1].text
    assert prompt.startswith("write")
    assert "## long" in prompt
    assert "a long text" in prompt


async def test_messages_alone_are_enough() -> None:
    out = await build(echo("one")).ainvoke({"messages": [("human", "hello")]})
    assert out["answer"]["text"] == "one(hello)"


async def test_the_output_of_every_stage_stays_in_the_state_under_its_name() -> None:
    graph = build(does("plan", lambda _: DRAFT, output=Draft), stage(says("write", "text"), output=lambda t: t.text))
    graph = graph.copy({"checkpointer": InMemorySaver()})
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"task": "x"}, config)
    stages = (await graph.aget_state(config)).values["stages"]
    assert stages == {"plan": DRAFT, "write": {"text": "text", "citations": [], "confidence": None}}


async def test_a_second_turn_sees_what_was_said_and_nothing_else_of_the_first() -> None:
    seen = []

    def see(task: Task) -> str:
        seen.append(task.context)
        if task.goal == "one":
            return "x"
        raise ValueError("no")

    graph = build(stage(does("a", see), optional=True), echo("b")).copy({"checkpointer": InMemorySaver()})
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"task": "one"}, config)
    out = await graph.ainvoke({"task": "two"}, config)
    assert [set(context) for context in seen] == [set(), {EARLIER}]  # what was said, and nothing else
    said = [{"from": "user", "text": "one"}, {"from": "b", "text": out["messages"][1].text}]
    seen_by_b = {EARLIER: said}
    assert out["answer"]["text"] == f"b({seen_by_b})"
    assert set((await graph.aget_state(config)).values["stages"]) == {"b"}


# Transforms


async def test_transforms_make_the_input_and_what_is_handed_on() -> None:
    seen = []

    def see(letter: Letter) -> str:
        seen.append(letter)
        return "sent"

    graph = build(
        stage(does("plan", lambda _: DRAFT, output=Draft), output=lambda draft: {"name": draft.title}),
        stage(does("send", see, input=Letter), input=lambda d: {"title": d["name"].upper()}),
    )
    out = await graph.ainvoke({"task": "x"})
    assert seen == [Letter(title="BREAD")]
    assert out["answer"]["text"] == "sent"


async def test_a_transform_gets_the_model_where_it_is_known() -> None:
    seen: list[Any] = []

    def to_letter(draft: Draft) -> Letter:
        seen.append(draft)
        return Letter(title=draft.title)

    def goal(letter: Letter) -> str:
        seen.append(letter)
        return f"send {letter.title}"

    first = stage(does("plan", lambda _: DRAFT, output=Draft), output=to_letter)
    out = await build(first, stage(echo("send"), input=goal)).ainvoke({"task": "x"})
    assert seen == [Draft(title="Bread", pages=2), Letter(title="Bread")]
    assert out["answer"]["text"] == "send(send Bread)"


async def test_the_first_stages_transform_gets_the_task() -> None:
    graph = build(stage(does("send", lambda x: x.title, input=Letter), input=lambda task: {"title": task.goal}))
    assert (await graph.ainvoke({"task": "hello"}))["answer"]["text"] == "hello"


async def test_the_first_stage_reads_a_typed_input_from_a_goal_in_json() -> None:
    graph = build(does("send", lambda x: x.title, input=Letter))
    assert (await graph.ainvoke({"task": '{"title": "Bread"}'}))["answer"]["text"] == "Bread"
    out = await graph.ainvoke({"task": "no json"})
    assert (out["outcome"], out["answer"]) == ("failed", None)
    assert out["reason"].startswith("send (sender): its input could not be made")


async def test_the_answer_is_what_the_last_output_transform_makes() -> None:
    text = await build(stage(says("write", "long"), output=lambda t: t.text.upper())).ainvoke({"task": "x"})
    data = await build(stage(says("write", "long"), output=lambda t: {"words": 1})).ainvoke({"task": "x"})
    assert text["answer"] == {"text": "LONG", "citations": [], "confidence": None}
    assert data["answer"] == {"words": 1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input": lambda _: 1 / 0}, "two (sender): its input could not be made: ZeroDivisionError"),
        ({"output": lambda _: 1 / 0}, "two: its output could not be passed on: ZeroDivisionError"),
        ({"output": lambda _: object()}, "two: its output could not be passed on: PydanticSerializationError"),
    ],
)
async def test_a_transform_that_fails_fails_its_stage(options: Any, words: str) -> None:
    required = await build(says("one", "1"), stage(says("two", "2"), **options)).ainvoke({"task": "x"})
    assert (required["outcome"], required["answer"]["text"]) == ("failed", "1")
    assert words in required["reason"]
    optional = build(says("one", "1"), stage(says("two", "2"), optional=True, **options), echo("three"))
    skipped = await optional.ainvoke({"task": "x"})
    assert skipped["outcome"] == "degraded"
    assert "'text': '1'" in skipped["answer"]["text"]


# What build refuses


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((), ["no stage"]),
        ((agent("a"), agent("a")), ["'a'", "rename"]),
        ((agent("finish"),), ["'finish'", "rename"]),
        (
            (agent("plan", output=Draft), agent("sign", input=Signed)),
            [
                "'sign'",
                "'plan'",
                "Draft",
                "Signed",
                "signature is required, and there is title, pages, topics",
                "input transform",
            ],
        ),
        (
            (agent("plan", output=Draft), agent("pay", input=Bill)),
            ["'pay'", "Draft cannot be Bill", "pages is integer in the one, array in the other"],
        ),
        ((agent("plan"), agent("sort", input=Text), agent("pay", input=Bill)), ["Text", "Bill", "title is required"]),
        ((agent("plan", output=Signed), agent("write", input=Text)), ["text is required"]),
        (
            (
                agent("sign", input=Signed, output=Signed),
                stage(agent("a", output=Signed), optional=True),
                agent("b", input=Draft),
            ),
            ["'b'", "after 'a'"],
        ),
        (
            (agent("plan"), stage(agent("a", output=Draft), optional=True), agent("b", input=Draft)),
            ["'b'", "after 'plan'", "Text cannot be Draft"],
        ),
        ((stage(agent("a", output=Draft), optional=True), agent("b", input=Draft)), ["'b'", "required"]),
    ],
)
def test_neighbours_that_cannot_fit_are_refused(stages: Any, words: list[str]) -> None:
    with pytest.raises(ContractError) as error:
        build(*stages)
    assert not [word for word in words if word not in str(error.value)], str(error.value)


def test_annotated_transforms_are_checked_and_others_trusted() -> None:
    def of_letter(letter: Letter) -> Draft:
        return Draft(title=letter.title, pages=1)

    def to_bill(draft: Draft) -> Bill:
        return Bill(title=draft.title, pages=[])

    plan, pay = agent("plan", output=Draft), agent("pay", input=Bill)
    for stages, words in (
        ((plan, stage(agent("b", input=Draft), input=of_letter)), "takes Letter, and is given Draft"),
        ((plan, stage(agent("b", input=Draft), input=to_bill)), "Bill cannot be Draft"),
        ((stage(plan, output=of_letter), agent("b")), "takes Letter, and is given Draft"),
        ((stage(plan, output=to_bill), agent("b", input=Draft)), "Bill cannot be Draft"),
        ((stage(agent("b"), input=of_letter),), "Draft cannot be Task"),
    ):
        with pytest.raises(ContractError, match=words):
            build(*stages)
    build(plan, stage(pay, input=to_bill))
    build(stage(plan, output=to_bill), pay)
    build(plan, stage(pay, input=lambda d: d))
    build(stage(plan, output=lambda d: d), pay)


def test_a_transform_must_be_a_plain_function() -> None:
    async def later(value: Any) -> Any:
        return value

    for wrong in (later, "text"):
        with pytest.raises(ContractError, match="plain function"):
            stage(agent("a"), input=wrong)  # type: ignore[arg-type]


def test_stages_may_come_as_a_list() -> None:
    assert set(build([agent("a"), stage(agent("b"))]).nodes) == set(build(agent("a"), agent("b")).nodes)


@pytest.mark.parametrize(
    ("gives", "takes", "fits"),
    [
        (Draft, Letter, True),
        (Draft, Draft, True),
        (Letter, Draft, False),
        (Text, Task, False),
        (int, float, True),
        (str, int, False),
        (str | None, str, True),
        (list[str], list[int], False),
        (dict[str, Any], Draft, True),
        (Any, Draft, True),
    ],
)
def test_only_what_can_never_validate_is_a_misfit(gives: Any, takes: Any, fits: bool) -> None:
    assert bool(misfit(gives, takes)) is not fits


@given(st.sampled_from([Draft, Letter, Bill, Signed, Text, Task]), st.data())
def test_a_value_that_validates_is_never_called_a_misfit(takes: type[BaseModel], data: Any) -> None:
    gives = data.draw(st.sampled_from([Draft, Letter, Bill, Signed, Text, Task]))
    value = data.draw(st.builds(gives, **({"context": st.just({}), "deadline": st.none()} if gives is Task else {})))
    try:
        takes.model_validate(value.model_dump())
    except ValueError:
        return
    assert misfit(gives, takes) == ""


# Failures and bounds


async def test_an_optional_stage_that_fails_is_skipped_and_the_answer_says_so() -> None:
    graph = build(echo("one"), stage(breaks("two"), optional=True), echo("three"))
    out = await graph.ainvoke({"task": "x"})
    assert out["outcome"] == "degraded"
    assert out["reason"] == "skipped: two: out of ink"
    assert "'one'" in out["answer"]["text"]


async def test_the_last_stage_may_be_optional_too() -> None:
    out = await build(says("one", "1"), stage(breaks("two"), optional=True)).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"], out["messages"][-1].name) == ("degraded", "1", "one")
    assert out["reason"] == "skipped: two: out of ink; the answer is what one handed on"


async def test_an_agent_that_is_not_critical_is_an_optional_stage() -> None:
    out = await build(breaks("one", critical=False), echo("two")).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "two(x)")


async def test_all_stages_skipped_is_a_failure() -> None:
    out = await build(stage(breaks("one"), optional=True)).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]) == ("failed", None)
    assert "one: out of ink" in out["reason"]


@pytest.mark.parametrize("policy", [{}, {"on_failure": ABORT}])
async def test_a_required_stage_that_fails_ends_the_run_with_its_error_and_the_best_so_far(policy: Any) -> None:
    after = Scripted(script=lambda m, t: "never")
    out = await build(says("one", "1"), breaks("two", **policy), bind(agent("three"), after)).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("failed", "1")
    assert out["reason"] == "two: out of ink; the answer is what one handed on"
    assert after.calls == []


async def test_a_first_stage_that_fails_leaves_no_answer() -> None:
    out = await build(breaks("one"), echo("two")).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"], out["reason"]) == ("failed", None, "one: out of ink")


async def test_a_budget_that_is_spent_ends_the_run_with_the_best_so_far() -> None:
    graph = build(says("one", "1"), says("two", "2"), says("three", "3"))
    out = await graph.ainvoke({"task": "x"}, context={"max_calls": 2})
    assert (out["outcome"], out["answer"]["text"]) == ("out_of_budget", "2")
    assert out["reason"].startswith("three (environment): the run's budget is used up: calls: 3 of 2")
    assert out["usage"]["total"]["calls"] == 2


async def test_an_optional_stage_without_budget_is_skipped_and_named_as_such() -> None:
    graph = build(
        says("one", "1"), stage(says("two", "2", limits=Limits(tokens_per_run=1)), optional=True), echo("three")
    )
    out = await graph.ainvoke({"task": "x"})
    assert out["outcome"] == "out_of_budget"
    assert "skipped: two (environment): agent:two's budget" in out["reason"]
    assert "'text': '1'" in out["answer"]["text"]


async def test_a_slow_stage_ends_at_its_limit() -> None:
    async def sleepy(task: Task) -> str:
        await asyncio.sleep(9)
        return "late"

    slow = bind(agent("slow", limits=Limits(seconds_per_call=0.05)), sleepy)
    out = await asyncio.wait_for(build(says("one", "1"), slow).ainvoke({"task": "x"}), 5)
    assert (out["outcome"], out["answer"]["text"]) == ("failed", "1")
    assert "slow (environment): no answer in time" in out["reason"]


async def test_what_a_stage_flags_stays_said_at_the_end() -> None:
    loop = build(says("one", "1"), stage(breaks("two"), optional=True))
    out = await build(bind(agent("inner"), loop), echo("after")).ainvoke({"task": "x"})
    assert out["outcome"] == "degraded"
    assert "skipped: two: out of ink" in out["reason"]
    assert "'inner'" in out["answer"]["text"]


# Nested


async def test_a_nested_pipeline_that_failed_fails_its_stage_whatever_it_had() -> None:
    inner = build(says("one", "1"), breaks("two"))
    outer = build(says("zero", "0"), bind(agent("inner"), inner), echo("after"))
    out = await outer.ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("failed", "0")
    assert "inner > two: out of ink" in out["reason"]


async def test_patterns_are_stages_and_a_pipeline_is_a_worker() -> None:
    accept = [("Critique", {"verdict": "accept", "issues": []})]
    reviewed = critic.build(
        says("author", "draft"), [bind(agent("judge", output=Critique), Scripted(script=lambda m, t: accept))]
    )
    line = build(bind(agent("reviewed"), reviewed), says("shorten", "short"))
    out = await concurrent.build([bind(agent("line"), line), says("other", "else")], aggregate=joined).ainvoke(
        {"task": "x"}
    )
    assert out["answer"]["text"] == "short|else"
    assert set(out["usage"]) == {"author", "judge", "shorten", "other", "total"}


def joined(results: list[dict[str, Any]]) -> str:
    return "|".join(r["output"]["text"] for r in results)


async def test_a_nested_pattern_with_an_answer_of_its_own_form_hands_it_on_as_text() -> None:
    views = concurrent.build([says("one", "left"), says("two", "right")])
    closer = does("closer", lambda task: str(task.context["concurrent"]["text"]))
    out = await build(views, closer).ainvoke({"task": "x"})
    assert out["outcome"] == "completed"
    assert "left" in out["answer"]["text"]
    assert "right" in out["answer"]["text"]


def test_nested_graphs_are_seen_from_outside() -> None:
    inner = build(agent("one"), agent("two"))
    outer = build(bind(agent("inner"), inner), agent("after"))
    assert [name for name, _ in outer.get_subgraphs()] == ["inner"]
    assert any(n.startswith("inner:one") for n in outer.get_graph(xray=True).nodes)


async def test_a_person_may_answer_for_a_stage() -> None:
    graph = build(says("one", "1"), breaks("two", on_failure=ESCALATE), echo("three"))
    graph = graph.copy({"checkpointer": InMemorySaver()})
    config: Any = {"configurable": {"thread_id": "t"}}
    out = await graph.ainvoke({"task": "x"}, config)
    assert out["__interrupt__"][0].value["case"]["failure"] == "two: out of ink"
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "respond", "message": "by hand"}]}), config)
    assert "by hand" in out["answer"]["text"]
    assert (out["outcome"], out["reason"]) == ("completed", "two: answered by a person")


# Durability


async def test_resume_continues_at_the_stage_that_was_interrupted(tmp_path: Any) -> None:
    calls = []

    def once(task: Task) -> str:
        calls.append("one")
        return "1"

    async def crashing(task: Task) -> str:
        calls.append("two")
        if calls.count("two") == 1:
            raise Crash
        return "2"

    base = open_persistence(f"sqlite:///{tmp_path / 'm.db'}")
    graph = base.bind(build(does("one", once), does("two", crashing), says("three", "3")))
    config: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "x"}, config, durability="sync")
    assert (await graph.aget_state(config)).next == ("two",)
    out = await graph.ainvoke(None, config, durability="sync")
    assert calls == ["one", "two", "two"]
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "3")
    assert repeated(records(base.store)) == []
    base.close()


async def test_there_is_a_checkpoint_after_each_stage() -> None:
    graph = build(says("one", "1"), says("two", "2")).copy({"checkpointer": InMemorySaver()})
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"task": "x"}, config, durability="sync")
    history = [(s.next, sorted(s.values.get("stages", {}))) async for s in graph.aget_state_history(config)]
    assert list(reversed(history)) == [
        (("__start__",), []),
        (("begin",), []),
        (("one",), []),
        (("two",), ["one"]),
        (("finish",), ["one", "two"]),
        ((), ["one", "two"]),
    ]


async def test_a_fork_runs_on_with_what_was_changed_and_repeats_no_finished_stage() -> None:
    one, two = Scripted(script=lambda m, t: "1"), Scripted(script=lambda m, t: "2")
    graph = build(bind(agent("one"), one), bind(agent("two"), two))
    graph = graph.copy({"checkpointer": InMemorySaver(), "store": InMemoryStore()})
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"task": "x"}, config)
    step = await anext(s async for s in graph.aget_state_history(config) if s.next == ("two",))
    changed = {"by": "one", "value": {"text": "by hand", "citations": [], "confidence": None}}
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], values={"handed": changed})
    out = await graph.ainvoke(None, config)
    assert (len(one.calls), len(two.calls)) == (1, 2)
    assert "by hand" in two.calls[1][1].text
    assert out["outcome"] == "completed"


# The drawing


def test_the_drawing_reads_like_the_figure() -> None:
    edges = sorted((e.source, e.target, e.conditional) for e in pipeline.graph.get_graph().edges)
    assert edges == [
        ("__start__", "begin", False),
        ("answer", "finish", True),
        ("answer", "shorten", True),
        ("begin", "gather", False),
        ("finish", "__end__", False),
        ("gather", "answer", True),
        ("gather", "finish", True),
        ("shorten", "finish", False),
    ]


async def test_the_default_graph_runs_without_a_key() -> None:
    task = {"goal": "What is the capital of France?", "context": {"atlas": "Paris is the capital of France."}}
    out = await pipeline.graph.ainvoke({"task": task})
    assert out["outcome"] == "completed"
    assert "Paris" in out["answer"]["text"]
    assert out["usage"]["total"]["calls"] == 4  # the first stage looks in the documents first
