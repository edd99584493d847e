"""The one way a person is asked: a typed request, a typed decision, one interrupt for a whole batch."""

from collections.abc import Callable
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from pydantic import model_validator

from runtime.run import place_of, run_of, task_id
from state.decision import ActionRequest, Decision, Decisions, DecisionType, Request, ReviewConfig, mismatch


async def ask(
    request: Request,
    *,
    agent: str,
    visit: str,
    config: RunnableConfig,
    runtime: Runtime[Any],
    refuse: Callable[[Decisions], str] = lambda said: "",
) -> Decisions:
    """Ask, and return the decisions in the order of the request.

    The node stops here until somebody answers, and runs again from its start then: nothing with an
    effect may stand before this call. An answer that does not fit, or that `refuse` has a word
    against, is refused with that reason, and the question stays open.
    """
    place = place_of(config)
    run = await run_of(place, runtime)
    asked = run.book.digest(request.model_dump(mode="json"))
    open_ = [r for r in run.book.of(place.path, visit, "human") if not r["outcome"] and r["digest"] == asked]
    record = (
        open_[-1]
        if open_
        else await run.book.start(
            "human", agent=agent, path=place.path, visit=visit, task=task_id(runtime), digest=asked, args=request.case
        )
    )

    class Answer(Decisions):
        """The decisions that this very request takes."""

        @model_validator(mode="after")
        def fits(self) -> "Answer":
            if fault := mismatch(request, self) or refuse(self):
                raise ValueError(fault)
            return self

    answer = interrupt(request.model_dump(mode="json"), response_schema=Answer)
    await run.book.end(record, "completed", content=answer.model_dump(mode="json"), by=answer.by)
    return Decisions.model_validate(answer.model_dump())


async def approve(
    actions: list[ActionRequest],
    *,
    agent: str,
    visit: str,
    config: RunnableConfig,
    runtime: Runtime[Any],
    refuse: Callable[[Decisions], str] = lambda said: "",
) -> list[Decision]:
    """One decision for each action, by the run's policy: a person's, or `auto` and `deny` without one.

    `refuse` as in `ask`.
    """
    run = await run_of(place_of(config), runtime)
    policy = run.context.approve
    if policy == "auto":
        return [Decision(type="approve") for _ in actions]
    if policy == "deny":
        return [
            Decision(type="reject", message="this run may not use tools with irreversible effects") for _ in actions
        ]
    allowed: list[DecisionType] = ["approve", "edit", "reject"]
    request = Request(
        kind="approval",
        action_requests=actions,
        review_configs=[ReviewConfig(action_name=a.name, allowed_decisions=allowed) for a in actions],
    )
    said = await ask(request, agent=agent, visit=visit, config=config, runtime=runtime, refuse=refuse)
    return said.decisions


async def speak(
    case: dict[str, Any],
    *,
    agent: str,
    kind: Literal["escalation", "input"],
    visit: str,
    config: RunnableConfig,
    runtime: Runtime[Any],
    refuse: Callable[[str], str],
) -> Decision:
    """Hand the whole case to a person, who answers as the agent or declines: as one of the team, or in its stead.

    `refuse` says what is wrong with an answer that is no output of the agent.
    """
    why = f"{agent} could not do this" if kind == "escalation" else f"it is the turn of {agent}"
    request = Request(
        kind=kind,
        action_requests=[ActionRequest(name=agent, args=case, description=f"{why}: answer, or decline")],
        review_configs=[ReviewConfig(action_name=agent, allowed_decisions=["respond", "reject"])],
        case=case,
    )

    def unfit(said: Decisions) -> str:
        answer = said.decisions[0]
        return refuse(answer.message) if answer.type == "respond" else ""

    said = await ask(request, agent=agent, visit=visit, config=config, runtime=runtime, refuse=unfit)
    return said.decisions[0]
