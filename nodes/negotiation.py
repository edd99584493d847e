"""The roles of a negotiation: parties in turn, a mediator, a person, and who closes it and writes it up."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from nodes import human
from nodes.agent import Bound, as_node, call
from nodes.turn import EARLIER
from state.agent import Invariant, Reply
from state.concession import Strategy, View, compromise
from state.decision import ActionRequest, Decisions, Request, ReviewConfig
from state.interests import Interests, Issues, acceptable, concedes, outside
from state.negotiation import PRIVATE, State, agreement_of, illegal, in_words, no_deal, settled
from state.offers import answered, last_of, latest, moved, opened, proposals, proposed, round_of
from state.task import Task
from state.turn import concluded, ended, reasons, task_of, weaker

Node = Callable[..., Awaitable[dict[str, Any]]]

MOVE = (
    "You negotiate on the issues for one party, whose interests stand below; nobody else knows them. Accept the latest "
    "offer, make an offer of your own with one listed value for every issue, or withdraw, which ends it. Never go "
    "below your reservation or a limit. Without a deal in the last round there is none."
)
ANSWER = "A mediator made the latest offer, a compromise. Accept it if it is within your reservation, else withdraw."
MEDIATE = (
    "You mediate between parties who found no deal. Offer terms with one listed value for every issue, near to what "
    "each of them offered last, and nearer to who refused a proposal. Do not propose anything twice."
)
WRITE = "Write up the agreement for the parties, in a few plain sentences. Add nothing that is not in it."
UNFIT = "the move cannot be made; move as the instructions say, with the listed values, within your own reservation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One side: who moves for it, and its interests, unless the task's context gives them."""

    name: str
    by: Strategy | Bound
    interests: Interests | None = None


def open_table(parties: Sequence[Party], issues: Issues | None, rounds: int) -> Node:
    """What is negotiated, and by whom; what each of them wants must fit."""

    async def open_table(state: State) -> dict[str, Any]:
        found, wants = settled(task_of(state), issues, {p.name: p.interests for p in parties})
        return {"issues": found, "table": opened(list(wants), rounds)}

    return open_table


def move(party: Party, parties: Sequence[Party], *, monotonic: bool) -> Node:
    """One party's move, or its answer to a mediator. A strategy moves at once; an agent is called.

    A move that cannot be made goes back to a model once. After that the party passes, and the reason says so.
    """
    name, agent = party.name, _minding(party.by) if isinstance(party.by, Bound) else None

    async def move(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        table, wants = state["table"], _wants(state, parties)
        mine, mediated, flaw = wants[name], table["status"] == "mediation", ""
        if agent is None:
            try:
                said = _by_strategy(party, state, mine)
            except Exception as error:  # code that a user gave: its failure is the party's
                return ended("failed", f"{name}: its strategy failed: {type(error).__name__}: {error}")
        else:
            _ = agent.graph  # so that LangGraph finds the nested graph from here
            visit = f"{name}/m{len(proposals(table))}" if mediated else f"{name}/{round_of(table)}"
            reply = await call(agent, _asked(state, name, mine), visit=visit, config=config, runtime=runtime)
            if reply.output is None:
                return concluded(reply)
            said, flaw = reply.output, "" if reply.outcome == "completed" else reply.reason
        why = illegal(table, name, said, state["issues"], mine)
        flaw = f"{name}: {why}" if why else flaw
        update: dict[str, Any] = {"faults": [*(state.get("faults") or []), flaw]} if flaw else {}
        if mediated:
            return update | {"table": answered(table, name, said["kind"] == "accept" and not why)}
        made = {"kind": "pass"} if why else {"offer": len(table["offers"]), **said}
        return update | {"table": _made(state, name, made, wants, monotonic)}

    return move


def mediate(mediator: Bound | None) -> Node:
    """A proposal of a mediator, who sees the offers alone: an agent's, or the built-in compromise."""
    agent = None if mediator is None else _minding(mediator)

    async def mediate(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        table, issues = state["table"], state["issues"]
        plain = compromise(issues, table["offers"])
        assert plain is not None  # who routes here knows that a deal is left to propose
        if agent is None:
            return {"table": proposed(table, plain)}
        _ = agent.graph  # so that LangGraph finds the nested graph from here
        visit = f"mediate/{len(proposals(table)) + 1}"
        reply = await call(agent, _case(state), visit=visit, config=config, runtime=runtime)
        if reply.outcome == "out_of_budget":
            return concluded(reply)
        why = "" if reply.output is None else illegal(table, "", reply.output, issues, None)
        if reply.output is None or why:
            fault = f"{agent.agent.name}: {why}" if why else reply.reason
            return {"table": proposed(table, plain), "faults": [*(state.get("faults") or []), fault]}
        return {"table": proposed(table, reply.output["terms"])}

    return mediate


def decide(parties: Sequence[Party]) -> Node:
    """A person may set terms where nobody found any, within the reservations of all; or leave it without a deal."""

    async def decide(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        table, issues = state["table"], state["issues"]
        last = {name: (last_of(table, name) or {}).get("terms") for name in table["parties"]}
        request = Request(
            kind="escalation",
            action_requests=[
                ActionRequest(
                    name="settle",
                    args={"terms": compromise(issues, [o for o in table["offers"] if o["by"] in last]) or {}},
                    description="No deal was found: edit the terms into one that all can accept, or reject",
                )
            ],
            review_configs=[ReviewConfig(action_name="settle", allowed_decisions=["edit", "reject"])],
            case={
                "task": task_of(state).goal,
                "issues": issues,
                "why": no_deal(table),
                "last offers": last,
                "offers": table["offers"],
            },
        )

        def refuse(said: Decisions) -> str:
            if said.decisions[0].type == "reject":
                return ""
            terms = (said.decisions[0].args or {}).get("terms") or {}
            if why := outside(terms, issues):
                return why
            cannot = [name for name, mine in _wants(state, parties).items() if not acceptable(terms, issues, mine)]
            return f"{' and '.join(cannot)} cannot accept these terms" if cannot else ""

        said = await human.ask(request, agent="decide", visit="decide/1", config=config, runtime=runtime, refuse=refuse)
        one, who = said.decisions[0], said.by or "a person"
        if one.type == "reject":
            return ended("escalated", f"{who} left it without a deal: {no_deal(table)}")
        offer = {"n": len(table["offers"]) + 1, "by": who, "person": True, "round": round_of(table) - 1}
        offer["terms"] = (one.args or {})["terms"]
        return {"table": {**table, "offers": [*table["offers"], offer], "status": "agreed", "by": who}}

    return decide


def close(parties: Sequence[Party]) -> Node:
    """The deal, with what it is worth to each party; or that there is none, and why."""

    async def close(state: State) -> dict[str, Any]:
        table, faults = state["table"], "; ".join(state.get("faults") or [])
        if table["status"] != "agreed":
            return ended("rejected", reasons(no_deal(table), faults))
        agreement = agreement_of(state, _wants(state, parties))
        return {"agreement": agreement, **ended("degraded" if faults else "completed", faults, answer=agreement)}

    return close


def write(bound: Bound) -> Node:
    """The agreement as a text, by an agent, who sees neither interests nor reservations."""

    def read(state: State) -> Task:
        agreement = state.get("agreement") or {}
        given = {"instructions": WRITE, "agreement": in_words(agreement), "terms": agreement.get("terms")}
        return _public(state, keep=(EARLIER,), **given)

    def write(state: State, reply: Reply) -> dict[str, Any]:
        best, faults = state.get("agreement"), state.get("reason") or ""
        if not reply.ok:
            return concluded(reply, best=best) | {"outcome": weaker(reply.outcome)}
        reason = reasons(faults, reply.reason if reply.outcome != "completed" else "")
        outcome = "degraded" if faults and reply.outcome == "completed" else reply.outcome
        return concluded(reply) | {"outcome": outcome, "reason": reason}

    return as_node(bound, read=read, write=write, visit=lambda state: "write/0")


def _minding(bound: Bound) -> Bound:
    """An agent whose moves go back to it once when they cannot be made, by what it was shown."""

    def fits(given: dict[str, Any], output: dict[str, Any]) -> bool:
        shown = given["context"]
        mine = Interests.model_validate(shown["your interests"]) if "your interests" in shown else None
        table = {"offers": shown["offers"], "status": "mediation"}
        return not illegal(table, "", output, shown["issues"], mine)

    check = Invariant(name="legal", holds=fits, says=UNFIT)
    return replace(bound, agent=replace(bound.agent, invariants=(*bound.agent.invariants, check)))


def _wants(state: State, parties: Sequence[Party]) -> dict[str, Interests]:
    return settled(task_of(state), state["issues"], {p.name: p.interests for p in parties})[1]


def _made(
    state: State, name: str, made: dict[str, Any], wants: dict[str, Interests], monotonic: bool
) -> dict[str, Any]:
    """The table after a move; where it may not be made, the party's last offer stands."""
    table, issues = state["table"], state["issues"]
    others = [mine for party, mine in wants.items() if party != name]

    def better(before: Any, now: Any) -> bool:
        return concedes(before, now, issues, others)

    check = better if monotonic else None
    after = moved(table, name, made, concedes=check)
    if after["status"] != "open" or after["moves"] > table["moves"]:
        return after
    mine = last_of(table, name)
    return moved(after, name, {"kind": "offer", "terms": mine["terms"]} if mine else {"kind": "pass"}, concedes=check)


def _by_strategy(party: Party, state: State, mine: Interests) -> dict[str, Any]:
    """The move of a strategy, which takes of a mediator whatever is acceptable."""
    assert isinstance(party.by, Strategy)
    table, issues = state["table"], state["issues"]
    if table["status"] == "mediation":
        return {"kind": "accept" if acceptable(table["offers"][-1]["terms"], issues, mine) else "withdraw"}
    view = View(
        me=party.name,
        issues=issues,
        interests=mine,
        offers=table["offers"],
        round=round_of(table),
        rounds=table["rounds"],
    )
    return dict(party.by.move(view))


def _asked(state: State, name: str, mine: Interests) -> Task:
    """What a party's agent is shown: the task, its own interests, and what is said at the table."""
    table = state["table"]
    mediated = table["status"] == "mediation"
    stands = latest(table)
    return _public(
        state,
        **{
            "instructions": f"{MOVE} {ANSWER}" if mediated else MOVE,
            "you are": name,
            "your interests": mine.model_dump(mode="json"),
            "issues": state["issues"],
            "offers": table["offers"],
            "latest offer": stands["terms"] if stands else "none yet",
            "round": "after the last" if mediated else f"{round_of(table)} of {table['rounds']}",
        },
    )


def _case(state: State) -> Task:
    """What a mediator is shown: the task, the issues, and every offer."""
    table = state["table"]
    given = {"instructions": MEDIATE, "issues": state["issues"], "offers": table["offers"]}
    return _public(state, **given)


def _public(state: State, *, keep: Sequence[str] = (), **context: Any) -> Task:
    """The task without what only one side may know: interests, and earlier answers, which tell what deals are worth."""
    task = task_of(state)
    hidden = {*PRIVATE, EARLIER} - set(keep)
    known = {k: v for k, v in task.context.items() if k not in hidden}
    return task.model_copy(update={"context": {**known, **context}})
