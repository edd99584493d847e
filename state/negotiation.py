"""What a negotiation remembers, and the decisions on what comes next.

Nobody's interests are part of it, since a state can be streamed to anyone.
"""

from collections.abc import Mapping
from math import prod
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from state.errors import InputError
from state.interests import Interests, Issues, acceptable, efficient, outside, unfit, unsound, utility
from state.offers import MEDIATOR, Table, answering, latest, proposals, refusal, turn_of
from state.task import Task
from state.turn import Result, Turn, explain, steps_left

LAST_STEPS = 6  # super-steps that the end needs: a person, the closing, the writing
PRIVATE = ("issues", "parties", "your interests")  # of the task's context: settled first, and handed to nobody


class Move(BaseModel):
    """What a party does in its turn, or a mediator proposes."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["offer", "accept", "withdraw"] = Field(description="accept takes the latest offer as it stands")
    terms: dict[str, str | int | float] = Field(
        default_factory=dict, description="Of an offer: one of the listed values for every issue"
    )


class Agreement(BaseModel):
    """A deal: its terms, how it came about, what it is worth to each party, and whether a better one was offered."""

    model_config = ConfigDict(extra="forbid")

    terms: dict[str, Any]
    by: str = Field(description="Who offered it")
    round: int
    how: Literal["offers", "mediation", "person"]
    utilities: dict[str, float] = Field(description="What it is worth to each party, 0 to 1")
    efficient: bool = Field(description="No other offer made was better for one party and worse for none")


class Shown(Result, total=False):
    """What a caller also sees: the issues, every offer, and the agreement. Nobody's interests are in it."""

    issues: dict[str, Any]
    table: dict[str, Any]
    agreement: dict[str, Any] | None


class State(Turn, Shown, total=False):
    """One writer at a time. What anybody wants stays with its party, or in the task that brought it."""

    faults: list[str]


def settled(
    task: Task, issues: Issues | None, interests: Mapping[str, Interests | None]
) -> tuple[dict[str, Any], dict[str, Interests]]:
    """The issues and interests of a turn: those of the task's context, else those given at build.

    Raises InputError when some are missing, or do not fit.
    """
    found = task.context.get("issues", issues)
    if not isinstance(found, Mapping):
        raise InputError("there is nothing to negotiate: give `issues`, or `context['issues']`, as lists of values")
    if fault := unsound(found):
        raise InputError(f"the issues cannot be negotiated: {fault}")
    given = task.context.get("parties", {})
    if not isinstance(given, Mapping) or (strange := [name for name in given if name not in interests]):
        named = f"{strange[0]!r} is no party; " if isinstance(given, Mapping) else ""
        raise InputError(f"`context['parties']` must be interests by party: {named}parties: {', '.join(interests)}")
    out = {}
    for name, own in interests.items():
        try:
            mine = Interests.model_validate(given[name]) if name in given else own
        except ValidationError as error:
            raise InputError(f"the interests of {name!r} do not fit: {explain(error)}") from error
        if mine is None:
            raise InputError(f"{name!r} has no interests: give them to the party, or in `context['parties']`")
        if fault := unfit(mine, found):
            raise InputError(f"the interests of {name!r} do not fit the issues: {fault}")
        out[name] = mine
    return {name: list(values) for name, values in found.items()}, out


def next_up(state: State, max_proposals: int, *, escalate: bool) -> str:
    """Whose turn it is: a party's, the mediator's, a person's, or the closing."""
    table = state["table"]
    left, status = steps_left(state), table["status"]
    if state.get("outcome"):
        return "finish"
    if status == "open":
        return turn_of(table) if left > LAST_STEPS else "close"
    if status == "mediation":
        return answering(table)
    most = min(max_proposals, prod(len(values) for values in state["issues"].values()))
    if status == "no deal" and len(proposals(table)) < most and left > len(table["parties"]) + LAST_STEPS:
        return "mediate"
    return "decide" if status == "no deal" and escalate else "close"


def illegal(table: Table, party: str, move: Mapping[str, Any], issues: Issues, mine: Interests | None) -> str:
    """Why an agent's move cannot be made, in words for that agent; empty when it can. Mediators have no interests."""
    kind, stands = move.get("kind"), latest(table)
    if kind not in ("offer", "accept", "withdraw", "pass"):
        return f"{kind!r} is no move: offer, accept or withdraw"
    if kind == "accept" and stands is None:
        return "there is no offer to accept"
    terms = move.get("terms") if kind == "offer" else stands["terms"] if stands else None
    if kind == "offer" and (why := outside(terms, issues)):
        return why
    if mine is None:
        before = [o["terms"] for o in proposals(table)]
        return "a mediator makes offers" if kind != "offer" else "that was proposed before" * (terms in before)
    if kind in ("offer", "accept") and not acceptable(terms or {}, issues, mine):
        return "those terms are not within your own reservation and limits"
    whole = {"offer": stands["n"] if stands else 0, **move}
    return "" if table["status"] == "mediation" else refusal(table, party, whole)


def agreement_of(state: State, parties: Mapping[str, Interests]) -> dict[str, Any]:
    """The deal that was made: the latest offer, and what it is worth to each party beside all other offers."""
    table, issues = state["table"], state["issues"]
    worth = [{p: utility(o["terms"], issues, mine) for p, mine in parties.items()} for o in table["offers"]]
    offer = table["offers"][-1]
    how = "mediation" if offer["by"] == MEDIATOR else "person" if offer.get("person") else "offers"
    return Agreement(
        terms=offer["terms"],
        by=offer["by"],
        round=offer["round"],
        how=how,
        utilities=worth[-1],
        efficient=efficient(worth[-1], worth[:-1]),
    ).model_dump(mode="json")


def no_deal(table: Table) -> str:
    """Why there is none, in one line."""
    if table["status"] == "withdrawn":
        return f"no deal: {table['by']} withdrew after {len(table['offers'])} offer(s)"
    mediated = len(proposals(table))
    also = f", nor on {mediated} proposal(s) of a mediator" if mediated else ""
    rounds = -(-table["moves"] // len(table["parties"]))
    return f"no deal: no offer was accepted by all in {rounds} round(s){also}"


def in_words(agreement: Mapping[str, Any]) -> str:
    """An agreement as a text."""
    terms = ", ".join(f"{name} {value}" for name, value in agreement["terms"].items())
    worth = ", ".join(f"{round(u, 2):g} to {party}" for party, u in agreement["utilities"].items())
    better = "no other offer was" if agreement["efficient"] else "another offer was"
    how = {
        "offers": f"The deal was offered by {agreement['by']} in round {agreement['round']}.",
        "mediation": f"The deal was proposal {agreement['round']} of the mediator.",
        "person": f"The deal was set by {agreement['by']}.",
    }[agreement["how"]]
    return f"Agreed: {terms}. {how} It is worth {worth}, of 1; {better} better for one party and worse for none."
