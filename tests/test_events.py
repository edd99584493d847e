import asyncio
from typing import Any

import pytest
from costs import formula
from langgraph.types import Command
from makers import scripted
from pydantic import BaseModel, ConfigDict
from scripted import Scripted

from graphs import critic, events
from graphs.bind import Bindable, bind
from graphs.events import build
from nodes.agent import Bound
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import at, fork
from state.agent import ESCALATE, PERSON, Agent
from state.critic import Critique
from state.errors import ContractError
from state.events import (
    DataAvailable,
    ErrorOccurred,
    Published,
    StateChanged,
    TaskCompleted,
    TaskPublished,
    on,
)
from state.record import Record, repeated


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    worker, opener = bind(who), scripted("opener", "begin")
    return build([on(opener, TaskPublished), on(worker, TaskCompleted)], answer=worker.agent.name)


class Paid(BaseModel):
    """A user's own event."""

    model_config = ConfigDict(extra="forbid")

    order: int
    amount: float


class Shipped(BaseModel):
    order: int


def says(name: str, line: Any = "done", *, output: Any = None, **options: Any) -> Bound:
    return scripted(name, line, output=output, **options)


def pays(name: str = "cashier", order: int = 7, amount: float = 9.5) -> Bound:
    return says(name, [("Paid", {"order": order, "amount": amount})], output=Paid)


def tells(name: str, *published: tuple[str, dict[str, Any]]) -> Bound:
    """An agent that publishes these."""
    return says(name, [("Published", {"events": [{"type": t, "data": d} for t, d in published]})], output=Published)


def breaks(name: str, **options: Any) -> Bound:
    def broken(event: Any) -> Any:
        raise ValueError("out of ink")

    return bind(Agent(name=name, responsibility="Breaks.", **options), broken)


def prompts(bound: Bound) -> list[str]:
    assert isinstance(bound.by, Scripted)
    return [messages[1].text for messages in bound.by.calls]


def published(out: dict[str, Any]) -> list[tuple[str, str]]:
    return [(e["type"], e["by"]) for e in out["log"]]


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


# Publish and subscribe


async def test_the_task_is_the_first_event_and_a_text_is_published_as_task_completed() -> None:
    first, second = says("first", "one"), says("second", "two")
    out = await build([on(first, TaskPublished), on(second, TaskCompleted)]).ainvoke({"task": "go"})
    assert published(out) == [("TaskPublished", "task"), ("TaskCompleted", "first"), ("TaskCompleted", "second")]
    assert (out["answer"]["text"], out["outcome"], out["messages"][-1].name) == ("two", "completed", "second")
    assert prompts(first)[0].splitlines()[0] == prompts(second)[0].splitlines()[0] == "go"
    assert '"text": "one"' in prompts(second)[0]


async def test_a_users_own_event_reaches_exactly_its_subscribers() -> None:
    clerk, deaf = says("clerk", "packed"), says("deaf", "never")
    graph = build([on(pays(), TaskPublished), on(clerk, Paid), on(deaf, StateChanged, Shipped)])
    out = await graph.ainvoke({"task": "go"})
    assert (out["answer"]["text"], prompts(deaf)) == ("packed", [])
    assert [e["to"].keys() for e in out["log"]] == [{"cashier"}, {"clerk"}, set()]


async def test_filters_choose_among_events_of_a_type() -> None:
    small, large = says("small", "small"), says("large", "large")
    many = tells("shop", ("Paid", {"order": 1, "amount": 5}), ("Paid", {"order": 2, "amount": 500}))
    graph = build(
        [
            on(many, TaskPublished),
            on(small, Paid, where=lambda paid: paid.amount < 100),
            on(large, Paid, where=lambda paid: paid.amount >= 100),
        ]
    )
    await graph.ainvoke({"task": "go"})
    assert ['"order": 1' in p for p in prompts(small)] == [True]
    assert ['"order": 2' in p for p in prompts(large)] == [True]


async def test_an_event_reaches_a_subscriber_once_however_many_of_its_subscriptions_match() -> None:
    clerk = says("clerk", "packed")
    graph = build([on(pays(), TaskPublished), on(clerk, Paid), on(clerk, Paid, DataAvailable, where=lambda e: True)])
    out = await graph.ainvoke({"task": "go"})
    assert (len(prompts(clerk)), out["usage"]["total"]["calls"]) == (1, 2)


async def test_an_agent_takes_its_event_as_its_typed_input() -> None:
    taken: list[Any] = []

    def pack(paid: Paid) -> str:
        taken.append(paid)
        return f"packed {paid.order}"

    packer = bind(Agent(name="packer", responsibility="Packs.", input=Paid), pack)
    out = await build([on(pays(), TaskPublished), on(packer, Paid)]).ainvoke({"task": "go"})
    assert (out["answer"]["text"], taken) == ("packed 7", [Paid(order=7, amount=9.5)])


async def test_publishing_never_blocks_the_publisher_and_subscribers_react_at_the_same_time() -> None:
    together = asyncio.Barrier(3)

    def waits(name: str) -> Bound:
        async def wait(task: Any) -> str:
            await asyncio.wait_for(together.wait(), 5)
            return name

        return bind(Agent(name=name, responsibility="Waits."), wait)

    team = [on(waits(name), DataAvailable) for name in ("a", "b", "c")]
    news = tells("press", ("DataAvailable", {"name": "x"}), ("TaskCompleted", {"by": "press", "text": "out"}))
    out = await build([on(news, TaskPublished), *team], answer="press").ainvoke({"task": "go"})
    assert (out["answer"]["text"], out["outcome"]) == ("out", "completed")


async def test_nobody_hears_of_their_own_events() -> None:
    echo = says("echo", "again")
    out = await build([on(echo, TaskPublished, TaskCompleted)]).ainvoke({"task": "go"})
    assert (len(prompts(echo)), out["answer"]["text"]) == (1, "again")


async def test_events_are_handled_in_the_order_in_which_they_were_published() -> None:
    clerk = says("clerk", "noted")
    many = tells("shop", *[("Paid", {"order": n, "amount": 1}) for n in range(4)])
    out = await build([on(many, TaskPublished), on(clerk, Paid)], at_once=1).ainvoke({"task": "go"})
    assert [f'"order": {n}' in p for n, p in enumerate(prompts(clerk))] == [True] * 4
    assert out["usage"]["total"]["calls"] == formula("events", deliveries=5, syntheses=0)


# The answer


async def test_the_answer_of_a_named_subscriber_is_the_answer() -> None:
    team = [on(says("a", "from a"), TaskPublished), on(says("b", "from b"), TaskCompleted)]
    out = await build(team, answer="a").ainvoke({"task": "go"})
    assert (out["answer"]["text"], out["messages"][-1].name) == ("from a", "a")
    typed = await build([on(pays(), TaskPublished)], answer="cashier").ainvoke({"task": "go"})
    assert typed["answer"] == {"order": 7, "amount": 9.5}


async def test_an_agent_makes_one_answer_of_everything() -> None:
    writer = says("writer", "all of it")
    team = [on(says("a", "from a"), TaskPublished), on(says("b", "from b"), TaskPublished)]
    out = await build(team, answer=writer).ainvoke({"task": "go"})
    assert (out["answer"]["text"], out["outcome"]) == ("all of it", "completed")
    assert "from a" in prompts(writer)[0]
    assert "from b" in prompts(writer)[0]
    assert out["usage"]["total"]["calls"] == formula("events", deliveries=2, syntheses=1)


async def test_without_the_synthesizer_the_last_that_was_completed_is_the_answer_and_degraded() -> None:
    out = await build([on(says("a", "from a"), TaskPublished)], answer=breaks("writer")).ainvoke({"task": "go"})
    assert (out["answer"]["text"], out["outcome"], out["reason"]) == ("from a", "degraded", "writer: out of ink")


async def test_a_turn_in_which_nobody_completed_the_task_fails_and_says_so() -> None:
    out = await build([on(pays(), TaskPublished)]).ainvoke({"task": "go"})
    assert (out["outcome"], out["reason"]) == ("failed", "nobody completed the task")


async def test_a_named_subscriber_that_did_not_answer_is_named() -> None:
    out = await build([on(says("a", "from a"), TaskPublished), on(says("b"), Paid)], answer="b").ainvoke({"task": "go"})
    assert (out["answer"]["text"], out["outcome"], out["reason"]) == ("from a", "degraded", "b did not answer")


# Errors


async def test_an_unhandled_error_becomes_an_error_event_and_degrades() -> None:
    out = await build([on(breaks("a"), TaskPublished), on(says("b"), TaskPublished)]).ainvoke({"task": "go"})
    assert ("ErrorOccurred", "a") in published(out)
    assert (out["outcome"], out["reason"]) == ("degraded", "a: out of ink")


async def test_an_error_that_somebody_deals_with_is_said_and_does_not_degrade() -> None:
    medic = says("medic", "mended")
    out = await build([on(breaks("a"), TaskPublished), on(medic, ErrorOccurred)]).ainvoke({"task": "go"})
    assert (out["answer"]["text"], out["outcome"]) == ("mended", "completed")
    assert out["reason"] == "a: out of ink; dealt with by medic"
    assert [w for w in ("out of ink", '"event": "TaskPublished"') if w not in prompts(medic)[0]] == []


async def test_an_error_of_an_error_handler_does_not_loop() -> None:
    team = [on(breaks("a"), TaskPublished), on(breaks("b"), ErrorOccurred), on(breaks("c"), ErrorOccurred)]
    out = await build([*team, on(says("d"), TaskPublished)]).ainvoke({"task": "go"})
    assert [t for t, _ in published(out)].count("ErrorOccurred") == 1
    assert out["reason"] == "a: out of ink; b: out of ink; c: out of ink"


async def test_what_does_not_fit_its_type_never_reaches_an_agent() -> None:
    clerk, medic = says("clerk"), says("medic", "mended")
    wrong = tells("shop", ("Paid", {"order": "many"}), ("Unheard", {}), ("Paid", {"order": 1, "amount": 2}))
    graph = build([on(wrong, TaskPublished), on(clerk, Paid), on(medic, ErrorOccurred)])
    out = await graph.ainvoke({"task": "go"})
    assert len(prompts(clerk)) == 1
    messages = [e["data"]["message"] for e in out["log"] if e["type"] == "ErrorOccurred"]
    assert messages[0].startswith("shop published no Paid: ")
    assert messages[1].startswith("shop published no Unheard: nobody knows the schema")


async def test_the_task_is_published_once_and_by_no_agent() -> None:
    a = says("a", "done")
    again = tells("b", ("TaskPublished", {"goal": "go on for ever"}))
    graph = build([on(a, TaskPublished), on(again, TaskPublished)])
    out = await graph.ainvoke({"task": "go"})
    assert (len(prompts(a)), calls_of(graph).most) == (1, 6)
    assert "the task is published once" in out["reason"]


async def test_a_filter_that_fails_is_an_error_that_occurred() -> None:
    clerk = says("clerk")
    graph = build([on(pays(), TaskPublished), on(clerk, Paid, where=lambda paid: paid.tip > 1), on(says("b"), Paid)])
    out = await graph.ainvoke({"task": "go"})
    assert (prompts(clerk), out["outcome"]) == ([], "degraded")
    assert out["reason"].startswith("clerk: its filter failed: AttributeError")


async def test_past_the_deadline_nobody_is_called() -> None:
    clerk = says("clerk")
    out = await build([on(clerk, TaskPublished)]).ainvoke({"task": {"goal": "go", "deadline": 1.0}})
    assert (prompts(clerk), out["outcome"]) == ([], "failed")
    assert "clerk was not told of TaskPublished" in out["reason"]


# Bounds


def endless() -> list[Any]:
    """Two who answer each other for ever."""
    return [on(says("a", "ping"), TaskPublished, TaskCompleted), on(says("b", "pong"), TaskCompleted)]


@pytest.mark.parametrize("depth", [1, 2, 5])
async def test_a_cascade_is_bounded_in_depth_and_that_is_said(depth: int) -> None:
    graph = build(endless(), max_depth=depth)
    out = await graph.ainvoke({"task": "go"})
    assert out["usage"]["total"]["calls"] == depth + 1
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "ping" if depth % 2 == 0 else "pong")
    assert f"the cascade was cut at a depth of {depth}: TaskCompleted of" in out["reason"]


async def test_a_cascade_is_bounded_in_count_and_that_is_said() -> None:
    many = tells("shop", *[("Paid", {"order": n, "amount": 1}) for n in range(9)])
    clerk = says("clerk")
    graph = build([on(many, TaskPublished), on(clerk, Paid)], max_events=4)
    out = await graph.ainvoke({"task": "go"})
    assert (len(out["log"]), len(prompts(clerk))) == (4, 3)
    assert "the cascade was cut at 4 events: Paid of shop" in out["reason"]
    assert out["usage"]["total"]["calls"] <= (calls_of(graph).most or 0)


async def test_a_recursion_limit_from_outside_ends_it_well() -> None:
    out = await build(endless(), max_depth=50).ainvoke({"task": "go"}, {"recursion_limit": 14})
    assert (out["outcome"], out["answer"] is not None) == ("degraded", True)
    assert "TaskCompleted for" in out["reason"]


async def test_a_budget_that_is_spent_ends_with_the_last_that_was_completed() -> None:
    out = await build(endless()).ainvoke({"task": "go"}, context={"max_calls": 2})
    assert (out["outcome"], out["answer"]["text"]) == ("out_of_budget", "pong")


# People, threads, nesting


async def test_people_subscribe_too_and_are_asked_at_the_same_time(memory: Persistence) -> None:
    ann, ben = (bind(Agent(name=n, responsibility="Decides."), PERSON) for n in ("ann", "ben"))
    graph = memory.bind(build([on(pays(), TaskPublished), on(ann, Paid), on(ben, Paid)]))
    waiting = await graph.ainvoke({"task": "go"}, at("t"))
    assert sorted(q.value["action_requests"][0]["name"] for q in waiting["__interrupt__"]) == ["ann", "ben"]
    answers = {q.id: {"decisions": [{"type": "respond", "message": "fine"}]} for q in waiting["__interrupt__"]}
    out = await graph.ainvoke(Command(resume=answers), at("t"))
    assert (out["outcome"], [e["by"] for e in out["log"][2:]]) == ("completed", ["ann", "ben"])


async def test_an_escalation_is_answered_and_published(memory: Persistence) -> None:
    graph = memory.bind(
        build([on(breaks("a", on_failure=ESCALATE), TaskPublished), on(says("b", "heard"), TaskCompleted)])
    )
    await graph.ainvoke({"task": "go"}, at("t"))
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "respond", "message": "by hand"}]}), at("t"))
    assert [e["data"].get("text") for e in out["log"][1:]] == ["by hand", "heard"]


async def test_a_second_turn_sees_nothing_of_the_first(memory: Persistence) -> None:
    graph = memory.bind(build([on(pays(), TaskPublished), on(says("b", "packed"), Paid)]))
    first = await graph.ainvoke({"task": "one"}, at("t"))
    second = await graph.ainvoke({"task": "two"}, at("t"))
    assert published(second) == published(first)
    assert second["log"][0]["data"] == {"goal": "two"}


async def test_after_a_crash_no_event_is_handled_twice(sqlite: Persistence) -> None:
    class Crash(BaseException):
        pass

    fails = [True]

    def crash_once(messages: Any, tools: Any) -> str:
        if fails and fails.pop():
            raise Crash
        return "late"

    clerk = says("clerk", "packed")
    graph = sqlite.bind(
        build([on(pays(), TaskPublished), on(clerk, Paid), on(says("post", crash_once), TaskCompleted)])
    )
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    out = await graph.ainvoke(None, at("t"), durability="sync")
    assert (out["answer"]["text"], out["outcome"], len(prompts(clerk))) == ("late", "completed", 1)
    assert repeated(records(sqlite)) == []
    sent = sorted((r["agent"], r["to"]) for r in records(sqlite) if r["kind"] == "message")
    assert sent == [("cashier", "clerk"), ("clerk", "post"), ("task", "cashier")]


async def test_a_fork_publishes_what_was_put_in_its_place(memory: Persistence) -> None:
    clerk = says("clerk", "packed")
    graph = memory.bind(build([on(pays(), TaskPublished), on(clerk, Paid)]))
    await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    steps = [s async for s in graph.aget_state_history(at("t")) if s.next == ("publish",)]
    step = next(s for s in steps if len(s.values["log"]) == 1)
    reaction = {"n": 1, "by": "cashier", "ok": True, "outcome": "completed", "reason": ""}
    other = reaction | {"events": [{"type": "TaskCompleted", "data": {"by": "cashier", "text": "by hand"}}]}
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], values={"reactions": {"cashier/1": other}})
    out = await graph.ainvoke(None, at("t"), durability="sync")
    assert (out["answer"]["text"], out["outcome"], len(prompts(clerk))) == ("by hand", "completed", 1)


async def test_graphs_subscribe_too() -> None:
    accept = says("editor", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)
    inner = build([on(says("deep", "from below"), TaskPublished)])
    team = [on(bind(Agent(name="desk", responsibility="Works."), inner), TaskPublished)]
    graph = build(
        [
            *team,
            on(
                bind(Agent(name="review", responsibility="Reviews."), critic.build(says("author"), [accept])),
                TaskCompleted,
            ),
        ]
    )
    out = await graph.ainvoke({"task": "go"})
    assert {name for name, _ in graph.get_subgraphs()} == {"desk", "review"}
    assert set(out["usage"]) == {"deep", "author", "editor", "total"}


# What build refuses


class Other(BaseModel):
    pass


Twin = type("Paid", (BaseModel,), {})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build([]), "nobody subscribes to TaskPublished"),
        (lambda: build([on(says("a"), TaskCompleted)]), "nobody subscribes to TaskPublished"),
        (lambda: build([says("a")]), "is no subscription"),  # type: ignore[list-item]
        (lambda: build([on(says("a"))]), "'a' must subscribe to pydantic models"),
        (lambda: build([on(says("a"), TaskPublished), on(says("a"), Paid)]), "'a'.*rename"),
        (lambda: build([on(says("publish"), TaskPublished)]), "'publish'.*rename"),
        (lambda: build([on(says("a"), TaskPublished)], answer="b"), "`answer` is 'b', which is no subscriber"),
        (lambda: build([on(says("a"), TaskPublished, Paid, Twin)]), "two types of events are called 'Paid'"),
        (lambda: build([on(says("a", input=Other), TaskPublished)]), "'a' takes Other"),
        (lambda: build([on(says("a"), TaskPublished)], max_depth=0), "`max_depth`"),
        (lambda: build([on(says("a"), TaskPublished)], max_events=0), "`max_events`"),
        (lambda: build([on(says("a"), TaskPublished)], at_once=0), "`at_once`"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        make()


# The drawing


def test_the_drawing_reads_like_the_figure() -> None:
    edges = sorted((e.source, e.target, e.conditional) for e in events.graph.get_graph().edges)
    assert edges == [
        ("__start__", "begin", False),
        ("begin", "publish", False),
        ("finish", "__end__", False),
        ("keeper", "publish", False),
        ("publish", "finish", True),
        ("publish", "keeper", True),
        ("publish", "reader", True),
        ("publish", "tables", True),
        ("publish", "writer", True),
        ("reader", "publish", False),
        ("tables", "publish", False),
        ("writer", "finish", False),
    ]


async def test_the_default_graph_runs_without_a_key() -> None:
    task = {"goal": "What is the capital of France?", "context": {"atlas": "Paris is the capital of France."}}
    out = await events.graph.ainvoke({"task": task})
    assert out["outcome"] in ("completed", "degraded")
    assert "Paris" in out["answer"]["text"]
