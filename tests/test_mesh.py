import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest
from costs import formula
from langgraph.types import Command
from makers import scripted
from pydantic import BaseModel, ConfigDict
from scripted import Scripted

from graphs import critic, mesh, pipeline
from graphs.bind import Bindable, bind
from graphs.mesh import build
from nodes.agent import Bound
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import at
from state.agent import ABORT, PERSON, Agent, Limits
from state.critic import Critique
from state.errors import ContractError
from state.mesh import Message, Said
from state.record import Record, repeated
from state.task import Task


def make(who: Bindable) -> Graph:
    """What the conformance suite runs: a host that asks `who`, then somebody else, and answers with the first word."""
    asked = bind(who).agent.name

    def host(task: Task) -> Said:
        answers = task.context.get("answers", {})
        word = answers.get(asked, "")
        if asked in answers and "editor" in answers:
            return Said(answer=word, done=True)
        if asked in answers:
            return Said(answer=word, messages=[Message(to="editor", subject="Is this good?", text=word)])
        if "messages" in task.context:
            return Said(answer="nobody knows", done=True)
        return Said(messages=[Message(to=asked, subject=task.goal)])

    first = bind(Agent(name="host", responsibility="Asks.", output=Said), host)
    return mesh.build([first, who, scripted("editor", "it is")])


class Crash(BaseException):
    pass


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Is {name}.", **options)


def to(who: str, text: str = "", kind: str = "task", **more: Any) -> dict[str, Any]:
    return {"to": who, "kind": kind, "text": text or f"for {who}", **more}


def says(name: str, *words: Any, seconds: float = 0, **options: Any) -> Bound:
    """A peer that says one thing after the other, and the last again and again: a text, or what a Said has."""
    left, talks = list(words), isinstance(words[0], dict)

    def script(messages: Any, tools: Any) -> Any:
        word = left.pop(0) if len(left) > 1 else left[0]
        return [("Said", word)] if talks else word

    made = agent(name, **({"output": Said} if talks else {}), **options)
    return bind(made, Scripted(script=script, seconds=seconds))


def breaks(name: str, **options: Any) -> Bound:
    def broken(task: Any) -> Any:
        raise ValueError("out of ink")

    return bind(agent(name, **options), broken)


def seen(bound: Bound) -> list[str]:
    assert isinstance(bound.by, Scripted)
    return [messages[1].text for messages in bound.by.calls]


def talk(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(m.name, m.response_metadata["to"], m.response_metadata["kind"]) for m in found["talk"]]


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


def done(text: str = "ready") -> dict[str, Any]:
    return {"answer": text, "done": True}


# Messages


async def test_a_peer_asks_another_whose_answer_comes_back_and_the_entry_peer_answers_the_user() -> None:
    host, facts = says("host", {"messages": [to("facts", "how deep?")]}, done("12 m")), says("facts", "twelve metres")
    found = await build([host, facts]).ainvoke({"task": "measure"})
    assert (found["answer"]["text"], found["outcome"], found["messages"][-1].name) == ("12 m", "completed", "host")
    assert talk(found) == [("user", "host", "task"), ("host", "facts", "task"), ("facts", "host", "result")]
    assert seen(facts)[0].splitlines()[0] == "how deep?"
    assert '"facts": "twelve metres"' in seen(host)[1]
    assert found["usage"]["total"]["calls"] == formula("mesh", readings=3)


async def test_a_peer_that_returns_text_answers_whoever_asked_it_and_alone_the_user() -> None:
    found = await build([says("facts", "twelve")]).ainvoke({"task": "measure"})
    assert (found["answer"]["text"], found["messages"][-1].name, len(talk(found))) == ("twelve", "facts", 1)
    assert found["usage"]["total"]["calls"] == formula("mesh", readings=1)


async def test_peers_with_mail_work_at_the_same_time() -> None:
    asked = ["a", "b", "c"]
    host = says("host", {"messages": [to(name) for name in asked]}, done())
    team = [says(name, "x", seconds=0.3) for name in asked]
    began = time.monotonic()
    found = await build([host, *team]).ainvoke({"task": "go"})
    assert time.monotonic() - began < 0.9
    assert found["usage"]["total"]["calls"] == formula("mesh", readings=5)


async def test_a_peer_reads_what_it_was_sent_in_order_and_once() -> None:
    texts = [f"number {n}" for n in range(5)]
    sink = says("sink", {"answer": ""}, {"answer": ""})
    host = says("host", {"messages": [to("sink", text, "event") for text in texts]}, done())
    await build([host, sink]).ainvoke({"task": "go"})
    (mail,) = [text for text in seen(sink) if "number 0" in text]
    assert sorted(texts, key=mail.index) == texts
    assert all(mail.count(text) == 1 for text in texts)


async def test_constraints_of_the_task_reach_every_peer_and_success_the_one_who_was_asked() -> None:
    host, facts = says("host", {"messages": [to("facts")]}, done()), says("facts", "x")
    task = {"goal": "go", "constraints": ["in one word"], "success": ["it rhymes"]}
    await build([host, facts]).ainvoke({"task": task})
    assert "in one word" in seen(facts)[0]
    assert "it rhymes" in seen(host)[0]
    assert "it rhymes" not in seen(facts)[0]


async def test_a_peer_that_writes_to_somebody_it_does_not_know_gets_an_error_it_can_act_on() -> None:
    host = says("host", {"messages": [to("ghost")]}, {"messages": [to("facts")]}, done("found"))
    found = await build(
        [host, says("facts", "x"), says("far", "y")], knows={"host": ["facts"], "facts": ["far"]}
    ).ainvoke({"task": "go"})
    assert (found["outcome"], found["answer"]["text"]) == ("completed", "found")
    assert "host does not know 'ghost'" in seen(host)[1]
    assert "one of: facts" in seen(host)[1]
    assert [one["kind"] for one in found["incidents"]] == ["unknown"]


async def test_a_peer_knows_only_its_neighbours_and_may_answer_who_wrote_to_it() -> None:
    a = says("a", {"messages": [to("b")]}, done())
    b = says("b", {"messages": [to("c"), to("a", "wait a moment", "status")]}, done("from b"))
    found = await build([a, b, says("c", "x")], knows={"a": ["b"], "b": ["c"]}).ainvoke({"task": "go"})
    assert ("b", "a", "status") in talk(found)
    assert "- b: Is b." in seen(a)[0]
    assert "- c:" not in seen(a)[0]


class Price(BaseModel):
    model_config = ConfigDict(extra="forbid")

    euros: int


async def test_a_message_that_does_not_fit_its_schema_never_reaches_the_peer_and_its_sender_is_told() -> None:
    wrong, right = to("shop", "buy", "proposal", data={"price": 3}), to("shop", "buy", "proposal", data={"euros": 3})
    host, shop = says("host", {"messages": [wrong]}, {"messages": [right]}, done()), says("shop", "sold")
    found = await build([host, shop], schemas={"proposal": Price}).ainvoke({"task": "go"})
    assert (found["outcome"], len(seen(shop))) == ("completed", 1)
    assert "data.euros" in seen(host)[1]
    assert [one["kind"] for one in found["incidents"]] == ["schema"]


async def test_signed_messages_are_delivered() -> None:
    keys = {name: name.encode() for name in ("host", "facts", "user", "mesh")}
    host = says("host", {"messages": [to("facts"), to("ghost")]}, done())
    assert (await build([host, says("facts", "x")], keys=keys).ainvoke({"task": "go"}))["outcome"] == "completed"


async def test_a_task_past_its_deadline_is_not_given_to_anybody() -> None:
    host = says("host", done())
    found = await build([host]).ainvoke({"task": {"goal": "go", "deadline": 5.0}})
    assert (found["outcome"], len(seen(host))) == ("failed", 0)
    assert "past its deadline" in found["reason"]


# The end


async def test_it_ends_when_nothing_is_in_flight_with_the_entry_peers_last_word() -> None:
    host = says("host", {"answer": "so far", "messages": [to("sink", "fyi", "status")]})
    found = await build([host, says("sink", {"answer": ""})]).ainvoke({"task": "go"})
    assert (found["outcome"], found["answer"]["text"], len(seen(host))) == ("completed", "so far", 1)


async def test_an_entry_peer_without_a_word_is_asked_for_one_when_nothing_is_in_flight() -> None:
    host = says("host", {"messages": [to("sink", "fyi", "event")]}, done("after all"))
    found = await build([host, says("sink", {"answer": ""})]).ainvoke({"task": "go"})
    assert found["answer"]["text"] == "after all"
    assert "Nothing is under way" in seen(host)[1]


async def test_a_mesh_that_never_says_anything_fails_with_a_reason() -> None:
    found = await build([says("host", {"answer": ""})]).ainvoke({"task": "go"})
    assert (found["outcome"], found["reason"], found["answer"]) == ("failed", "nobody answered", None)


async def test_it_ends_when_the_goal_holds() -> None:
    host, facts = says("host", {"messages": [to("facts")]}), says("facts", "eureka", "never said")
    graph = build([host, facts], goal=lambda view: view["words"].get("facts", {}).get("text") == "eureka")
    found = await graph.ainvoke({"task": "go"})
    assert (found["outcome"], found["reason"], found["answer"]["text"]) == (
        "completed",
        "the goal is reached",
        "eureka",
    )
    assert len(seen(host)) == 1


async def test_a_goal_that_is_not_reached_is_said() -> None:
    host = says("host", {"answer": "so far", "messages": [to("sink", "fyi", "event")]})
    graph = build([host, says("sink", {"answer": ""})], goal=lambda view: False)
    found = await graph.ainvoke({"task": "go"})
    assert (found["outcome"], found["answer"]["text"]) == ("degraded", "so far")
    assert "the goal is not reached" in found["reason"]


async def test_a_goal_that_cannot_be_judged_is_said_and_does_no_harm() -> None:
    found = await build([says("host", {"answer": ""}, done())], goal=lambda view: view["words"]["ghost"]["x"]).ainvoke(
        {"task": "go"}
    )
    assert (found["outcome"], found["answer"]["text"]) == ("degraded", "ready")
    assert "the goal cannot be judged: KeyError" in found["reason"]


# Bounds


async def test_it_ends_well_before_the_engines_own_limit() -> None:
    count = iter(range(100))

    def restless(messages: Any, tools: Any) -> Any:
        return [("Said", {"answer": "so far", "messages": [to(name, f"{next(count)}") for name in ("a", "b")]})]

    team = [bind(agent(name, output=Said), Scripted(script=restless)) for name in ("a", "b")]
    found = await build(team, max_laps=9).ainvoke({"task": "go"}, {"recursion_limit": 12})
    assert (found["outcome"], found["answer"]["text"]) == ("degraded", "so far")
    assert "no steps are left" in found["reason"]


async def test_a_chain_of_messages_ends_at_the_hop_limit() -> None:
    names = [f"p{n}" for n in range(6)]
    team = [says(name, {"answer": "so far", "messages": [to(other)]}) for name, other in pairwise(names)]
    found = await build([*team, says("p5", "x")], max_hops=3).ainvoke({"task": "go"})
    assert (found["outcome"], found["answer"]["text"]) == ("degraded", "so far")
    assert "p3 -> p4: more than 3 hops" in found["reason"]
    assert max(m.response_metadata["hops"] for m in found["talk"]) == 3


@pytest.mark.parametrize("budget", [1, 4, 9])
async def test_the_message_budget_bounds_a_turn(budget: int) -> None:
    count = iter(range(100))

    def restless(messages: Any, tools: Any) -> Any:
        return [("Said", {"answer": "so far", "messages": [to(name, f"{next(count)}") for name in ("a", "b", "c")]})]

    team = [bind(agent(name, output=Said), Scripted(script=restless)) for name in ("a", "b", "c")]
    graph = build(team, max_messages=budget, max_laps=9)
    found = await graph.ainvoke({"task": "go"})
    assert (found["outcome"], found["answer"]["text"]) == ("degraded", "so far")
    assert f"more than {budget} messages" in found["reason"]
    assert len(found["talk"]) <= budget
    assert found["usage"]["total"]["calls"] <= budget + 1


async def test_calls_stay_within_what_is_declared() -> None:
    graph = build([says("host", {"messages": [to("facts")]}, done(), limits=Limits(repairs=0)), says("facts", "x")])
    declared = calls_of(graph)
    assert (declared.least, declared.most) == (1, 65 * 3)
    assert declared.least <= (await graph.ainvoke({"task": "go"}))["usage"]["total"]["calls"] <= declared.most


# Failures


async def test_a_peer_that_fails_is_reported_to_who_asked_it_and_in_the_reason() -> None:
    host = says("host", {"messages": [to("facts")]}, done("without facts"))
    found = await build([host, breaks("facts")]).ainvoke({"task": "go"})
    assert (found["outcome"], found["answer"]["text"]) == ("degraded", "without facts")
    assert found["reason"] == "facts: out of ink"
    assert ("facts", "host", "error") in talk(found)
    assert "out of ink" in seen(host)[1]


@pytest.mark.parametrize("policy", [{}, {"on_failure": ABORT}])
async def test_an_entry_peer_that_fails_fails_the_turn(policy: Any) -> None:
    found = await build([breaks("host", **policy), says("facts", "x")]).ainvoke({"task": "go"})
    assert (found["outcome"], found["answer"], found["reason"]) == ("failed", None, "host: out of ink")


async def test_a_budget_that_is_spent_returns_the_last_word() -> None:
    host = says("host", {"answer": "so far", "messages": [to("facts")]}, done())
    found = await build([host, says("facts", "x")]).ainvoke({"task": "go"}, context={"max_calls": 1})
    assert (found["outcome"], found["answer"]["text"]) == ("out_of_budget", "so far")


# Threads, people, nesting


async def test_messages_stand_in_the_book_once_and_are_no_calls(memory: Persistence) -> None:
    host = says("host", {"messages": [to("facts")]}, done())
    found = await memory.bind(build([host, says("facts", "x")])).ainvoke({"task": "go"}, at("t"))
    sent = sorted((r for r in records(memory) if r["kind"] == "message"), key=lambda r: r["visit"])
    assert sorted((r["agent"], r["to"], r["says"]) for r in sent) == sorted(talk(found))
    by_id = {r["visit"].removeprefix("message/"): r for r in sent}
    causes = {(r["agent"], r["to"]): by_id.get(r["causation"]) for r in sent}
    assert causes[("user", "host")] is None
    assert causes[("host", "facts")] is by_id[next(i for i, r in by_id.items() if r["agent"] == "user")]
    assert found["usage"]["total"]["calls"] == len([r for r in records(memory) if r["kind"] == "model"]) == 3


async def test_what_a_sensitive_peer_says_does_not_stand_in_the_book(memory: Persistence) -> None:
    host = says("host", {"messages": [to("nurse")]}, done())
    await memory.bind(build([host, says("nurse", "the SECRET", sensitive=True)])).ainvoke({"task": "go"}, at("t"))
    told = [r for r in records(memory) if r["kind"] == "message"]
    assert len(told) == 3
    assert "SECRET" not in str(records(memory))
    assert all("hidden" in r and "content" not in r for r in told)


async def test_a_second_turn_sees_nothing_of_the_first(memory: Persistence) -> None:
    host = says("host", {"messages": [to("facts")]}, done("one"), {"messages": [to("facts")]}, done("two"))
    graph = memory.bind(build([host, says("facts", "x")]))
    await graph.ainvoke({"task": "first"}, at("t"))
    found = await graph.ainvoke({"task": "second"}, at("t"))
    assert (found["answer"]["text"], len(found["talk"]), found["usage"]["total"]["calls"]) == ("two", 3, 3)
    assert '"facts": "x"' not in seen(host)[2]


async def test_after_a_crash_no_peer_that_spoke_is_called_again_and_no_message_is_delivered_twice(
    sqlite: Persistence,
) -> None:
    host, quick, count = says("host", {"messages": [to("quick"), to("slow")]}, done()), says("quick", "q"), []

    async def crash_once(task: Any) -> Any:
        count.append(1)
        if len(count) == 1:
            await asyncio.sleep(0.2)
            raise Crash
        return "s"

    graph = sqlite.bind(build([host, quick, bind(agent("slow"), crash_once)]))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    found = await graph.ainvoke(None, at("t"), durability="sync")
    assert (found["outcome"], len(seen(quick)), len(count), len(talk(found))) == ("completed", 1, 2, 5)
    book = records(sqlite)
    assert repeated(book) == []
    assert len([r for r in book if r["kind"] == "message"]) == 5


async def test_a_person_may_be_a_peer(memory: Persistence) -> None:
    host = says("host", {"messages": [to("ann", "how deep?")]}, done("12 m"))
    graph = memory.bind(build([host, bind(agent("ann"), PERSON)]))
    waiting = await graph.ainvoke({"task": "go"}, at("t"))
    assert waiting["__interrupt__"][0].value["case"]["task"]["goal"] == "how deep?"
    answer = Command(resume={"decisions": [{"type": "respond", "message": "twelve metres"}]})
    found = await graph.ainvoke(answer, at("t"))
    assert found["outcome"] == "completed"
    assert "twelve metres" in seen(host)[1]


async def test_patterns_are_peers_and_a_mesh_is_an_agent() -> None:
    accept = [("Critique", {"verdict": "accept", "issues": []})]
    team = critic.build(says("author", "a draft"), [scripted("editor", accept, output=Critique)])
    inner = build([says("host", {"messages": [to("team")]}, done("from the mesh")), bind(agent("team"), team)])
    outer = pipeline.build(bind(agent("net"), inner))
    assert {"host", "team"} <= {path.split("|")[-1] for path, _ in outer.get_subgraphs(recurse=True)} | {"host"}
    found = await outer.ainvoke({"task": "go"})
    assert (found["answer"]["text"], found["outcome"]) == ("from the mesh", "completed")
    assert set(found["usage"]) == {"host", "author", "editor", "total"}


# The wiring


def test_the_drawing_has_a_post_that_every_peer_comes_back_to() -> None:
    drawn = build([says("a", "x"), says("b", "y")], ask=True).get_graph()
    assert sorted((e.source, e.target) for e in drawn.edges) == [
        ("__start__", "begin"),
        ("a", "deliver"),
        ("b", "deliver"),
        ("begin", "deliver"),
        ("decide", "deliver"),
        ("deliver", "a"),
        ("deliver", "b"),
        ("deliver", "decide"),
        ("deliver", "finish"),
        ("finish", "__end__"),
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"peers": []}, "`peers` is empty"),
        ({"peers": [agent("a"), agent("a")]}, "'a'.*rename"),
        ({"peers": [agent("user")]}, "'user'.*rename"),
        ({"peers": [agent("deliver")]}, "'deliver'.*rename"),
        ({"peers": [agent("a", input=Price)]}, "takes Price"),
        ({"knows": {"a": ["c"]}}, "`knows` names 'c'"),
        ({"knows": {"a": ["a", "b"]}}, "'a' knows itself"),
        ({"knows": {"b": ["a"]}}, "nobody on the way from 'a' knows 'b'"),
        ({"entry": "c"}, "`entry` is 'c'.*one of a, b"),
        ({"max_messages": 0}, "`max_messages` must be at least 1"),
        ({"max_hops": 0}, "`max_hops` must be at least 1"),
        ({"max_laps": 1}, "`max_laps` must be at least 2"),
        ({"priority": {"c": 1}}, "`priority` names 'c'"),
        ({"schemas": {"task": Price}}, "`schemas` names 'task'"),
        ({"keys": {"a": b"1", "b": b"2"}}, "`keys` has none for 'mesh'"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        build(**{"peers": [agent("a"), agent("b")], **options})
