"""The protocol of alternating offers (Rubinstein, 1982), for two or more parties, as pure functions of a table.

Parties move in a fixed order. A move is an offer, which takes the place of the one before; an acceptance
of the latest offer, or a pass. A deal is made once all others have accepted the latest offer. Each may
withdraw at any time until then, in turn or not, which ends it; whichever comes first, the last acceptance
or a withdrawal, stands. After so many rounds, of one move each, there is no deal.

A table without a deal can be mediated: a mediator proposes, the parties answer in their order, and the
first no ends the proposal.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Table = Mapping[str, Any]
Move = Mapping[str, Any]

MEDIATOR = "mediator"


def opened(parties: Sequence[str], rounds: int) -> dict[str, Any]:
    """A table at which nothing was said yet. `status`: open, agreed, withdrawn, no deal, or mediation."""
    return {
        "parties": list(parties),
        "rounds": rounds,
        "moves": 0,
        "offers": [],
        "accepted": [],
        "status": "open",
        "by": "",
        "refused": [],
    }


def turn_of(table: Table) -> str:
    """Whose move it is."""
    return str(table["parties"][table["moves"] % len(table["parties"])])


def round_of(table: Table) -> int:
    """The round of the next move, from 1."""
    return int(table["moves"] // len(table["parties"])) + 1


def latest(table: Table) -> Mapping[str, Any] | None:
    """The offer that stands."""
    return table["offers"][-1] if table["offers"] else None


def last_of(table: Table, party: str) -> Mapping[str, Any] | None:
    """What a party offered last."""
    return next((o for o in reversed(table["offers"]) if o["by"] == party), None)


def refusal(table: Table, party: str, move: Move, *, concedes: Callable[[Any, Any], bool] | None = None) -> str:
    """Why a move cannot be made; empty when it can.

    `concedes`, where concession must be monotonic, says of a party's last terms and its new ones whether
    the new ones are for nobody else worse.
    """
    kind, stands = move["kind"], latest(table)
    if table["status"] != "open":
        return f"the table is closed: {table['status']}"
    if party not in table["parties"]:
        return f"{party!r} is no party"
    if kind == "withdraw":
        return ""
    if party != turn_of(table):
        return f"it is the turn of {turn_of(table)}"
    if kind == "accept":
        if stands is None or stands["n"] != move.get("offer"):
            return "only the latest offer can be accepted"
        return "an offer is not accepted by who made it" if stands["by"] == party else ""
    before = last_of(table, party)
    if kind == "offer" and before and concedes and not concedes(before["terms"], move["terms"]):
        return "an offer may not be worse for another party than the one before"
    return ""


def moved(
    table: Table, party: str, move: Move, *, concedes: Callable[[Any, Any], bool] | None = None
) -> dict[str, Any]:
    """The table after a move; one that cannot be made changes nothing, and stands in `refused`."""
    if why := refusal(table, party, move, concedes=concedes):
        return {**table, "refused": [*table["refused"], f"{party}: {why}"]}
    if move["kind"] == "withdraw":
        return {**table, "status": "withdrawn", "by": party}
    after: dict[str, Any] = {**table, "moves": table["moves"] + 1}
    if move["kind"] == "offer":
        offer = {"n": len(table["offers"]) + 1, "by": party, "round": round_of(table), "terms": dict(move["terms"])}
        after |= {"offers": [*table["offers"], offer], "accepted": []}
    elif move["kind"] == "accept":
        after["accepted"] = [*table["accepted"], party]
        if len(after["accepted"]) == len(table["parties"]) - 1:
            return after | {"status": "agreed", "by": party}
    over = after["moves"] >= table["rounds"] * len(table["parties"])
    return after | ({"status": "no deal"} if over else {})


def proposals(table: Table) -> list[Mapping[str, Any]]:
    """What the mediator proposed so far."""
    return [o for o in table["offers"] if o["by"] == MEDIATOR]


def proposed(table: Table, terms: Mapping[str, Any]) -> dict[str, Any]:
    """The table with a mediator's proposal on it, which the parties answer in their order."""
    n, at = len(table["offers"]) + 1, len(proposals(table)) + 1
    offer = {"n": n, "by": MEDIATOR, "round": at, "terms": dict(terms)}
    return {**table, "offers": [*table["offers"], offer], "accepted": [], "status": "mediation"}


def answering(table: Table) -> str:
    """Who answers the proposal next."""
    return str(table["parties"][len(table["accepted"])])


def answered(table: Table, party: str, yes: bool) -> dict[str, Any]:
    """The table after an answer to the proposal; one out of turn changes nothing, and stands in `refused`."""
    if table["status"] != "mediation" or party != answering(table):
        return {**table, "refused": [*table["refused"], f"{party}: no answer is asked of it"]}
    if not yes:
        *before, last = table["offers"]
        return {**table, "offers": [*before, {**last, "refused_by": party}], "status": "no deal"}
    accepted = [*table["accepted"], party]
    done = len(accepted) == len(table["parties"])
    return {**table, "accepted": accepted, **({"status": "agreed", "by": party} if done else {})}
