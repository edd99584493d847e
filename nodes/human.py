"""The one way a person is asked: a typed request, a typed decision, one interrupt for a whole batch."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from pydantic import model_validator

from runtime.replay import recording
from runtime.run import Place, Run, place_of, run_of, task_id
from state.context import NOBODY
from state.decision import (
    DENIED,
    EXPIRY,
    POLICY,
    ActionRequest,
    Decision,
    Decisions,
    DecisionType,
    Request,
    ReviewConfig,
    default,
    expired,
    may_expire,
)
from state.policy import Policy, policy_for
from state.question import unfit
from state.record import Record

CHANGED, PUT_ASIDE = "cancelled", "superseded"  # outcomes of a question that changed: unanswered, and answered


async def ask(
    request: Request,
    *,
    agent: str,
    visit: str,
    config: RunnableConfig,
    runtime: Runtime[Any],
    refuse: Callable[[Decisions], str] = lambda said: "",
    within: float | None = None,
) -> Decisions:
    """Ask, and return the decisions in the order of the request.

    The node stops here until somebody answers, and runs again from its start then: nothing with an
    effect may stand before this call. An answer that does not fit, or that `refuse` has a word
    against, is refused with that reason, and the question stays open. An answer to what was shown before
    the question changed is put aside, and what it is now is asked. After `within` seconds (by default
    those of the run's options) no answer is taken, and the default of each action counts.
    """
    place = place_of(config)
    run = await run_of(place, runtime)
    request = _addressed(request, agent, place, run, visit)
    if (book := recording()) is not None:
        return Decisions.model_validate(book.recorded("human", path=place.path, visit=visit, digest=request.shown)[0])
    known = [r for r in run.book.of(place.path, visit, "human") if r["task"] == task_id(runtime)]
    older = [r for r in known if not r["outcome"] and r["digest"] != request.shown]
    done, record = (_newest(known, request.shown, outcome) for outcome in ("completed", ""))
    for _ in (r for r in known if r["outcome"] == PUT_ASIDE):
        interrupt(request.model_dump(mode="json"))
    if done is not None and "content" in done:  # it was answered, and then this task was cut off
        _hear(request)
        return Decisions.model_validate(done["content"])
    if record is None:
        record = await run.book.start(
            "human",
            agent=agent,
            path=place.path,
            visit=visit,
            task=task_id(runtime),
            digest=request.shown,
            args=request.case,
        )
    seconds = within if within is not None else run.context.expires
    if seconds is not None and may_expire(request.review_configs):
        request = request.model_copy(update={"expires_at": record["at"] + seconds})

    def aside(said: Decisions) -> bool:
        return bool(older) and said.shown in ("", older[-1]["digest"])

    class Answer(Decisions):
        """The decisions that this very request takes."""

        @model_validator(mode="after")
        def fits(self) -> "Answer":
            fault = "" if aside(self) else unfit(request, self, now=time.time(), by=_signed_in(runtime)) or refuse(self)
            if fault:
                raise ValueError(fault)
            return self

    late = expired(request, time.time())
    said, waiting = _hear(request, None if late else Answer)
    if not late and said is not None and aside(said):
        await run.book.end(older.pop(), PUT_ASIDE, reason="the question changed before it was answered")
        said, waiting = _hear(request, Answer)
    for old in older:
        await run.book.end(old, CHANGED, reason="the question changed")
    if late:  # whatever is said now, where no door of ours refused it
        said = _in_time(default(request), refuse)
    elif said is None:
        assert waiting is not None
        raise waiting
    by = EXPIRY if late else _signed_in(runtime) or said.by
    said = Decisions(decisions=said.decisions, by=by, shown=said.shown)
    await run.book.end(record, "completed", content=said.model_dump(mode="json", by_alias=True), by=by)
    return said


async def approve(
    actions: list[ActionRequest],
    *,
    agent: str,
    visit: str,
    config: RunnableConfig,
    runtime: Runtime[Any],
    refuse: Callable[[Decisions], str] = lambda said: "",
    undoable: Collection[str] = (),
) -> list[Decision]:
    """One decision for each action, by the run's policies: a person's, or one made beforehand.

    One question stands for all actions that a person decides; `refuse`, as in `ask`, sees a decision for
    each action all the same. What is named in `undoable` waits only where a policy names it.
    """
    run = await run_of(place_of(config), runtime)
    options = run.context
    policies = [
        policy_for(options.approvals, options.approve, agent=agent, tool=a.name, undoable=a.name in undoable)
        for a in actions
    ]
    denied = Decision(type="reject", message=DENIED)
    ruled = {n: p.of(a.args) for n, (p, a) in enumerate(zip(policies, actions, strict=True))}
    made = {n: Decision(type="approve") if rule == "auto" else denied for n, rule in ruled.items() if rule != "ask"}
    if not (asked := [n for n in ruled if n not in made]):
        ready = [made[n] for n in ruled]
        await _close(run, place_of(config), visit, runtime, Decisions(decisions=ready, by=POLICY))
        return ready

    def all_of(said: Decisions) -> Decisions:
        each = made | dict(zip(asked, said.decisions, strict=True))
        return said.model_copy(update={"decisions": [each[n] for n in ruled]})

    request = Request(
        kind="approval",
        action_requests=[actions[n] for n in asked],
        review_configs=[_config(actions[n], policies[n]) for n in asked],
    )
    limits = [p.within for p in (policies[n] for n in asked) if p.within is not None]
    said = await ask(
        request,
        agent=agent,
        visit=visit,
        config=config,
        runtime=runtime,
        refuse=lambda said: refuse(all_of(said)),
        within=min(limits, default=None),
    )
    return all_of(said).decisions


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


def _addressed(request: Request, agent: str, place: Place, run: Run, visit: str) -> Request:
    """The request with who asks, where, for whom, and the hash of all that."""
    user = run.context.user.identity
    named = [agent] + [user] * (user != NOBODY) if request.kind == "approval" else request.requested_by
    request = request.model_copy(update={"agent": agent, "path": place.path, "requested_by": named})
    where = [place.thread, place.branch, place.turn, place.path, visit]
    return request.model_copy(update={"shown": run.book.digest([where, request.model_dump(mode="json")])})


def _newest(known: Sequence[Record], digest: str, outcome: str) -> Record | None:
    return next((r for r in reversed(known) if (r["outcome"], r["digest"]) == (outcome, digest)), None)


def _hear(request: Request, schema: type[Decisions] | None = None) -> tuple[Decisions | None, GraphInterrupt | None]:
    """The answer, or what to raise as there is none. Raises ValidationError for one that does not fit."""
    shown = request.model_dump(mode="json")
    try:
        return (interrupt(shown) if schema is None else interrupt(shown, response_schema=schema)), None
    except GraphInterrupt as waiting:
        return None, waiting


def _in_time(said: Decisions, refuse: Callable[[Decisions], str]) -> Decisions:
    """What counts where nobody decided in time; what could not be approved is rejected."""
    if not (fault := refuse(said)):
        return said
    return said.model_copy(update={"decisions": [Decision(type="reject", message=fault) for _ in said.decisions]})


async def _close(run: Run, place: Place, visit: str, runtime: Runtime[Any], said: Decisions) -> None:
    """Close the questions that were open when the run's options came to decide."""
    for record in run.book.of(place.path, visit, "human"):
        if not record["outcome"] and record["task"] == task_id(runtime):
            await run.book.end(record, "completed", content=said.model_dump(mode="json", by_alias=True), by=POLICY)


def _config(action: ActionRequest, policy: Policy) -> ReviewConfig:
    allowed: list[DecisionType] = ["approve", "edit", "reject"]
    return ReviewConfig(
        action_name=action.name, allowed_decisions=allowed, approvers=list(policy.by), default=policy.default
    )


def _signed_in(runtime: Runtime[Any]) -> str:
    """Who the server knows to have sent the answer; empty where nobody signs in."""
    user = getattr(runtime.server_info, "user", None)
    return str(getattr(user, "identity", "") or "")
