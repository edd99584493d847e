"""A person reviews the answers of an agent, or of a pattern as an agent."""

from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.types import Command
from makers import MAKERS, scripted
from payments import APPROVE, PAID, Payment, answer, open_, pay, said
from scripted import Scripted

from graphs import pipeline
from graphs.bind import bind
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import at
from state.agent import Agent, Text
from state.errors import InputError
from state.tool import Tool


@pytest.fixture(autouse=True)
def nothing_paid() -> Iterator[None]:
    PAID.clear()
    yield
    PAID.clear()


# A person reviews an answer


def reviewing(name: str, says: Any = "a draft") -> Graph:
    """A pattern as an agent whose answers are reviewed."""
    team = Agent(name="team", responsibility="Works as a team.", review=True)
    return pipeline.build(bind(team, MAKERS[name](scripted("worker", says))))


DECISIONS: list[tuple[dict[str, Any], str]] = [
    ({"type": "edit", "args": {"text": "edited"}}, "completed"),
    ({"type": "approve"}, "completed"),
    ({"type": "reject", "message": "not this"}, "rejected"),
]


@pytest.mark.parametrize("name", sorted(MAKERS))
async def test_the_answer_of_every_pattern_is_reviewed_before_it_counts(name: str, memory: Persistence) -> None:
    bound = memory.bind(reviewing(name))
    for decision, outcome in DECISIONS if name in ("pipeline", "react") else DECISIONS[:1]:
        thread = at(decision["type"])
        (question,) = (await bound.ainvoke({"task": "what is it?"}, thread))["__interrupt__"]
        made = question.value["action_requests"][0]["args"]["text"]
        assert (question.value["kind"], question.value["agent"]) == ("review", "team")
        out = await bound.ainvoke(Command(resume={question.id: {"decisions": [decision], "by": "ann"}}), thread)
        text = (out["answer"] or {}).get("text")
        assert (out["outcome"], text) == (outcome, {"approve": made, "edit": "edited"}.get(decision["type"]))
        assert outcome == "completed" or out["reason"].endswith("rejected by ann: not this")


async def test_an_answer_is_sent_back_with_comments_until_it_is_accepted(memory: Persistence) -> None:
    seen: list[str] = []

    def says(messages: Any, tools: Any) -> str:
        seen.append(messages[1].text)
        return f"draft {len(seen)}"

    agent = Agent(name="writer", responsibility="Writes.", review=True)
    bound = memory.bind(pipeline.build(bind(agent, Scripted(script=says))))
    await bound.ainvoke({"task": "write"}, at("t"))
    for number, comment in enumerate(("shorter", "shorter still", "and kinder"), 1):
        ((id_, request),) = (await open_(bound)).items()
        assert request["action_requests"][0]["args"]["text"] == f"draft {number}"
        await answer(bound, {id_: {"decisions": [{"type": "respond", "message": comment}]}})
    assert len(seen) == 4
    assert all(word in seen[-1] for word in ("draft 3", "and kinder", "shorter still"))
    ((id_, request),) = (await open_(bound)).items()
    assert "respond" not in request["review_configs"][0]["allowed_decisions"]
    out = await answer(bound, {id_: APPROVE})
    assert (out["answer"]["text"], len(seen), out["usage"]["total"]["calls"]) == ("draft 4", 4, 4)


async def test_an_edited_answer_has_to_fit_the_contract(memory: Persistence) -> None:
    agent = Agent(name="writer", responsibility="Writes.", output=Text, review=True)
    bound = memory.bind(pipeline.build(bind(agent, lambda task: "draft")))
    await bound.ainvoke({"task": "write"}, at("t"))
    with pytest.raises(Exception, match="the edited answer does not fit"):
        await answer(bound, {"decisions": [{"type": "edit", "args": {"txt": "x"}}]})
    out = await answer(bound, {"decisions": [{"type": "edit", "args": {"text": "x"}}]})
    assert out["answer"]["text"] == "x"


async def test_an_agent_with_tools_is_reviewed_once_and_by_nobody_who_is_the_agent(memory: Persistence) -> None:
    tool = Tool(name="pay", description="Pays.", args=Payment, run=pay)
    agent = Agent(name="clerk", responsibility="Pays.", tools=(tool,), review=True)
    bound = memory.bind(pipeline.build(bind(agent, Scripted(script=said))))
    await bound.ainvoke({"task": "ann"}, at("t"))
    with pytest.raises(InputError, match="was asked for by clerk"):
        await answer(bound, {**APPROVE, "by": "clerk"})
    out = await answer(bound, {**APPROVE, "by": "ann"})
    assert (out["outcome"], PAID) == ("completed", [("ann", 0)])
