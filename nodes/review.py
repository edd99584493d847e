"""A person reviews what an agent answers before anybody goes on with it: accepts, edits, sends back, or rejects it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from langchain_core.runnables import RunnableConfig

from nodes import human
from nodes.asked import Asked, checked, failed
from state.agent import Failure, Reply
from state.decision import ActionRequest, Decisions, DecisionType, Request, ReviewConfig
from state.errors import OutputError
from state.task import Task

MOST = 3  # times that an answer is sent back

Again = Callable[[Task, str], Awaitable[Reply]]


async def reviewed(asked: Asked, reply: Reply, config: RunnableConfig, again: Again) -> Reply:
    """The reply that a person lets pass. `again` calls the agent with a task that holds draft and comments.

    Who rejects it makes it a failure, of which the comment is the reason. An answer can be sent back
    where the agent takes a Task, `MOST` times at the most.
    """
    agent, given, comments = asked.agent, asked.given, list[str]()
    while reply.output is not None:
        output, number = reply.output, len(comments)
        talks: list[DecisionType] = ["respond"] if isinstance(given, Task) and number < MOST else []

        def refuse(said: Decisions) -> str:
            return _misfit(asked, said.decisions[0].args) if said.decisions[0].type == "edit" else ""

        request = Request(
            kind="review",
            action_requests=[
                ActionRequest(name=agent.name, args=output, description=f"Let the answer of {agent.name} pass?")
            ],
            review_configs=[
                ReviewConfig(action_name=agent.name, allowed_decisions=["approve", "edit", *talks, "reject"])
            ],
            case={"task": given.model_dump(mode="json"), "outcome": reply.outcome, "reason": reply.reason},
            requested_by=[agent.name],
        )
        said = await human.ask(
            request,
            agent=agent.name,
            visit=f"{asked.visit}~review/{number}",
            config=config,
            runtime=asked.runtime,
            refuse=refuse,
        )
        decision, who = said.decisions[0], said.by or "a person"
        if decision.type == "approve":
            return reply
        if decision.type == "edit":
            return replace(reply, output=checked(agent, decision.args), reason=f"edited by {who}")
        if decision.type == "reject":
            why = f"rejected by {who}: {decision.message or 'no reason given'}"
            fault = Failure(kind="Rejected", message=why, owner="receiver", at=agent.name)
            return replace(failed(agent, fault), outcome="rejected")
        comments.append(decision.message)
        assert isinstance(given, Task)
        told = {"draft": output, "comments of a reviewer": list(comments)}
        reply = await again(given.model_copy(update={"context": {**given.context, **told}}), f"~{number + 1}")
    return reply


def _misfit(asked: Asked, args: Any) -> str:
    try:
        checked(asked.agent, args)
    except OutputError as error:
        return f"the edited answer does not fit: {error}"
    return ""
