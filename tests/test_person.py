"""A person may fill any contract: each call is a question, the answer is held against the contract."""

import asyncio
from typing import Any

import pytest
from langgraph.types import Command
from makers import scripted
from pydantic import BaseModel, ConfigDict

from graphs import concurrent, critic, pipeline
from graphs.bind import bind
from nodes.agent import Bound
from runtime.book import Book
from runtime.persistence import Persistence
from runtime.travel import at
from state.agent import DEGRADE, PERSON, Agent, fallback
from state.concurrent import concatenate
from state.critic import Critique


class Grade(BaseModel):
    model_config = ConfigDict(extra="forbid")

    points: int


def ann(**options: Any) -> Bound:
    return bind(Agent(name="ann", responsibility="Knows the house.", **options), PERSON)


def say(text: str, by: str = "ann") -> Any:
    return Command(resume={"decisions": [{"type": "respond", "message": text}], "by": by})


def decline(why: str = "") -> Any:
    return Command(resume={"decisions": [{"type": "reject", "message": why}]})


async def test_a_person_answers_as_one_of_the_team(memory: Persistence) -> None:
    closer = scripted("closer", lambda messages, tools: messages[1].text)
    graph = memory.bind(pipeline.build(ann(), closer))
    waiting = await graph.ainvoke({"task": "where is the key?"}, at("t"), durability="sync")
    (question,) = waiting["__interrupt__"]
    assert question.value["kind"] == "input"
    assert question.value["case"]["task"]["goal"] == "where is the key?"
    assert question.value["action_requests"][0]["name"] == "ann"
    found = await graph.ainvoke(say("under the mat"), at("t"), durability="sync")
    assert found["outcome"] == "completed"
    assert "under the mat" in found["answer"]["text"]
    assert found["usage"]["total"]["calls"] == 1


async def test_what_does_not_fit_the_contract_is_refused_and_can_be_said_again(memory: Persistence) -> None:
    graph = memory.bind(pipeline.build(ann(output=Grade)))
    await graph.ainvoke({"task": "how good?"}, at("t"), durability="sync")
    with pytest.raises(Exception, match="must be a Grade as JSON"):
        await graph.ainvoke(say("rather good"), at("t"), durability="sync")
    found = await graph.ainvoke(say('{"points": 7}'), at("t"), durability="sync")
    assert (found["outcome"], found["answer"]) == ("completed", {"points": 7})


async def test_who_declines_has_failed_and_the_policy_decides(memory: Persistence) -> None:
    spare = scripted("spare", "a guess")
    for thread, policy, outcome, answer in (
        ("one", fallback(spare), "completed", "a guess"),
        ("two", DEGRADE, "failed", None),
    ):
        graph = memory.bind(pipeline.build(ann(on_failure=policy)))
        await graph.ainvoke({"task": "where?"}, at(thread), durability="sync")
        found = await graph.ainvoke(decline("not my house"), at(thread), durability="sync")
        assert (found["outcome"], (found["answer"] or {}).get("text")) == (outcome, answer)
        assert "not my house" in found["reason"]


async def test_several_persons_are_asked_at_once_and_answer_one_by_one(memory: Persistence) -> None:
    bob = bind(Agent(name="bob", responsibility="Knows the garden."), PERSON)
    graph = memory.bind(concurrent.build([ann(), bob], aggregate=concatenate()))
    waiting = await graph.ainvoke({"task": "what grows here?"}, at("t"), durability="sync")
    assert len(waiting["__interrupt__"]) == 2
    for question in waiting["__interrupt__"]:
        name = question.value["action_requests"][0]["name"]
        reply = {"decisions": [{"type": "respond", "message": f"{name} says moss"}]}
        found = await graph.ainvoke(Command(resume={question.id: reply}), at("t"), durability="sync")
    assert found["answer"]["text"] == "ann says moss\n\nbob says moss"


async def test_a_person_deep_inside_is_asked_from_outside(memory: Persistence) -> None:
    team = bind(Agent(name="team", responsibility="Works as a team."), pipeline.build(ann()))
    accept = scripted("editor", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)
    graph = memory.bind(critic.build(team, [accept]))
    await graph.ainvoke({"task": "where?"}, at("t"), durability="sync")
    found = await graph.ainvoke(say("here"), at("t"), durability="sync")
    assert (found["outcome"], found["answer"]["text"]) == ("completed", "here")
    book = await Book(memory.store, thread="t", branch="main", turn=1).load()
    assert [(r["agent"], r["by"]) for r in book.records() if r["kind"] == "human"] == [("ann", "ann")]


def test_a_person_is_no_leaf_and_costs_no_model_call() -> None:
    assert not ann().leaf
    assert str(ann().calls) == "0"


def test_a_person_is_asked_by_the_sync_methods_too(memory: Persistence) -> None:
    graph = memory.bind(pipeline.build(ann()))
    graph.invoke({"task": "where?"}, at("t"), durability="sync")
    assert asyncio.run(graph.ainvoke(say("here"), at("t"), durability="sync"))["answer"]["text"] == "here"
