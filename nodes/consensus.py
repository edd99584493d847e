"""The roles of a vote: it is announced, everybody votes alone, the ballots are counted, a person may decide."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Send

from nodes import human
from nodes.agent import Bound, call
from runtime.run import context_of
from state.agent import Invariant, Text
from state.ballot import Key, read
from state.consensus import (
    State,
    TieBreak,
    boxed,
    counted,
    earlier,
    elected,
    faulty,
    options_of,
    surest,
    tallied,
    undecided,
    words,
)
from state.decision import ActionRequest, Decisions, Request, ReviewConfig
from state.task import Task
from state.turn import ended, reasons, steps_left, task_of
from state.voting import Rule

Node = Callable[..., Awaitable[dict[str, Any]]]

STEPS_PER_ROUND = 3  # super-steps of another round
LAST_STEPS = 3  # of the end: a person's word, and the closing

HOW = {
    "choice": "Election for one of the options, word for word.",
    "ranking": "Rank the options, best first, each at most once.",
    "approved": "Approve every option that is good enough.",
}
COMPLETE = "Rank all of the options, best first, each once."
OPEN = "Election with your own answer. Only equal answers are counted together: say it in as few words as will do."
ALONE = "Judge by yourself. Abstain if you cannot tell."
TEXT = "Answer with your vote alone; to abstain, answer with the one word ABSTAIN."
AGAIN = (
    "The round before decided nothing; its votes and arguments stand below, without names. Keep your vote unless "
    "an argument convinces you otherwise."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Election:
    """The terms of a vote, which stay the same in every round. `seats` are the voters, by the agent that fills them."""

    rule: Rule
    seats: dict[str, str]
    options: tuple[str, ...] = ()
    key: Key | None = None
    quorum: int = 1
    tie_break: TieBreak = "none"
    max_rounds: int = 3
    texts: bool = False


def announce(vote: Election) -> Node:
    """A new round, on the options of this turn."""

    async def announce(state: State) -> dict[str, Any]:
        options = options_of(task_of(state), vote.options, vote.rule)
        return {"options": options, "round": (state.get("round") or 0) + 1}

    return announce


def send(state: State, vote: Election) -> list[Send]:
    """A ballot paper to every voter, all at once."""
    given, at = _paper(state, vote).model_dump(mode="json"), state["round"]
    return [Send(agent, {"voter": voter, "round": at, "given": given}) for voter, agent in vote.seats.items()]


def voter(bound: Bound, vote: Election) -> Node:
    """One voter's ballot. A ballot that would be spoiled goes back to its voter once."""
    text = bound.agent.output is Text

    def sound(given: dict[str, Any], output: dict[str, Any]) -> bool:
        return not faulty(output, vote.rule, given["context"].get("options", ()), vote.key)

    check = Invariant(name="ballot", holds=sound, says="the ballot is spoiled; vote as the instructions say")
    agent = replace(bound.agent, invariants=(*bound.agent.invariants, check))
    bound = replace(bound, agent=agent)

    async def voter(sent: dict[str, Any], config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        task, visit = Task.model_validate(sent["given"]), f"{sent['voter']}/{sent['round']}"
        if text:
            task.context["instructions"] += f" {TEXT}"
        reply = await call(bound, task, visit=visit, config=config, runtime=runtime)
        paper = {"voter": sent["voter"], "agent": agent.name, "round": sent["round"]}
        return {"papers": {visit: {**paper, "output": reply.output, "outcome": reply.outcome, "reason": reply.reason}}}

    return voter


def tally(vote: Election) -> Node:
    """Count the round: a decision, another round, a person's turn, or the plain word that nothing was decided."""

    async def tally(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
        at, papers, options = state["round"], state["papers"], state["options"]
        box, lost = boxed(papers, list(vote.seats), at, vote.rule, options, vote.key)
        seed = context_of(runtime).seed
        found = counted(box, vote.rule, options, quorum=vote.quorum, tie_break=vote.tie_break, seed=seed)
        count = tallied(found, words(box, papers, options))
        kept = {"counts": [*(state.get("counts") or []), count]}
        mine = [papers[f"{v}/{at}"] for v in vote.seats]
        flawed = [p["reason"] for v, p in zip(vote.seats, mine, strict=True) if v not in lost and _flawed(p)]
        faults = "; ".join([*lost.values(), *flawed])
        if any(p["outcome"] == "out_of_budget" for p in mine):
            count["why"] = "the budget did not last until all had voted"
            answer = _undecided(vote, count, at) if found.cast else None
            return kept | ended("out_of_budget", reasons(count["why"], faults), answer=answer)
        if len(lost) == len(box.electorate):
            return kept | ended("failed", faults)
        if found.decision is not None:
            answer, author = elected(count, vote.rule, at, choice=count["decision"]), ""
            if vote.texts:
                best = surest(box, papers, found.decision)
                text = count["decision"] if options else best["output"]["text"]
                answer, author = {**best["output"], "text": text, "confidence": answer["share"]}, best["agent"]
            return kept | ended("degraded" if faults else "completed", faults, answer=answer, author=author)
        if at < vote.max_rounds and steps_left(state) > STEPS_PER_ROUND + LAST_STEPS:
            return kept
        why = reasons(f"no decision after {at} round(s): {found.why}", faults)
        return kept | ended("degraded", why, answer=_undecided(vote, count, at))

    return tally


def decide(vote: Election) -> Node:
    """A person decides what the vote did not, with every ballot of every round before them."""

    async def decide(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        found, options = state["counts"][-1], state["options"]
        leader = found["leading"][0] if len(found["leading"]) == 1 else None
        request = Request(
            kind="escalation",
            action_requests=[
                ActionRequest(
                    name="decide",
                    args={"options": options, "leading": found["leading"]},
                    description="The vote decided nothing: approve the leading option, respond with another, or reject",
                )
            ],
            review_configs=[ReviewConfig(action_name="decide", allowed_decisions=["approve", "respond", "reject"])],
            case={
                "task": task_of(state).goal,
                "options": options,
                "why": state["reason"],
                "counts": state["counts"],
                "ballots": list(state["papers"].values()),
            },
        )

        def named(message: str) -> tuple[str, str]:
            sound, fault = read({"choice": message}, "choice", options, vote.key)
            return (sound["choice"] if options else message), fault

        def refuse(said: Decisions) -> str:
            one = said.decisions[0]
            if one.type == "approve" and leader is None:
                return "no option leads: respond with one, or reject"
            return named(one.message)[1] if one.type == "respond" else ""

        said = await human.ask(
            request, agent="decide", visit=f"decide/{state['round']}", config=config, runtime=runtime, refuse=refuse
        )
        one, who = said.decisions[0], said.by or "a person"
        if one.type == "reject":
            return {"outcome": "escalated", "reason": f"{who} left it undecided: {state['reason']}"}
        choice = leader if one.type == "approve" else named(one.message)[0]
        answer = elected(found, vote.rule, state["round"], choice=choice, by=who)
        if vote.texts:
            answer = Text(text=str(choice)).model_dump(mode="json")
        return ended("completed", f"decided by {who}: {state['reason']}", answer=answer, author=said.by)

    return decide


def _paper(state: State, vote: Election) -> Task:
    """What every voter of a round is shown: the task, the options, and the round before without its names."""
    task, options, rule = task_of(state), state["options"], vote.rule
    how = COMPLETE if rule.complete else HOW[rule.reads] if options else OPEN
    context = {k: v for k, v in task.context.items() if k != "options"}
    if options:
        context["options"] = options
    again = state["round"] > 1
    if again:
        context |= earlier(state["counts"][-1], state["papers"], state["round"] - 1)
    context["instructions"] = " ".join([how, ALONE, *([AGAIN] if again else [])])
    return task.model_copy(update={"context": context})


def _undecided(vote: Election, count: dict[str, Any], at: int) -> dict[str, Any]:
    return undecided(count) if vote.texts else elected(count, vote.rule, at, choice=None)


def _flawed(paper: dict[str, Any]) -> bool:
    return paper["outcome"] not in ("completed", "out_of_budget")
