"""The contract net protocol over plain data: one manager, its bidders, one task, one award at most.

A contract is one task announced once: a call for proposals to named bidders, their answers, one
verdict for each proposer, one end. What is announced again is another contract, under the next epoch,
so that nothing said of an earlier one counts. Source: Smith, The Contract Net Protocol (1980); FIPA
SC00029.

A contract holds
    task, epoch, called   what it is about, its number from 1 on, and who was called
    deadline, due         seconds since the epoch of Unix until which proposals, and the end, may come; None: no such
    answers               bidder -> {"kind": propose | refuse | not_understood, "body"}
    late                  who has been told that its answer came too late
    verdicts              proposer -> accept | reject
    winner                who was accepted
    end, body             how it ended, inform | failure | expired | cancelled | unsold, and with what
A message to the manager is {"from", "kind", "epoch", "at", "body"}; `at` is when it came.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from state.errors import InputError

Contract = dict[str, Any]
Message = Mapping[str, Any]
Heard = Literal["taken", "late", "duplicate", "stale", "unexpected"]

ANSWERS = ("propose", "refuse", "not_understood")
ENDS = ("inform", "failure")


def announced(task: str, bidders: Iterable[str], *, epoch: int = 1, deadline: float | None = None) -> Contract:
    """A call for proposals, sent to each bidder once."""
    return {
        "task": task,
        "epoch": epoch,
        "called": list(dict.fromkeys(bidders)),
        "deadline": deadline,
        "due": None,
        "answers": {},
        "late": [],
        "verdicts": {},
        "winner": "",
        "end": "",
        "body": {},
    }


def again(contract: Contract, bidders: Iterable[str], *, deadline: float | None = None) -> Contract:
    """The same task announced anew, under the next epoch. Raises InputError while somebody may be at work on it."""
    if not over(contract):
        raise InputError(f"{contract['task']} is still {phase(contract)}: it cannot be announced again")
    return announced(contract["task"], bidders, epoch=contract["epoch"] + 1, deadline=deadline)


def phase(contract: Contract) -> Literal["bidding", "working", "ended"]:
    """Where a contract stands."""
    return "ended" if contract["end"] else "working" if contract["winner"] else "bidding"


def hear(contract: Contract, message: Message) -> tuple[Contract, Heard]:
    """The contract after a message, and what its sender is answered; only what is `taken` counts."""
    contract = expire(contract, message["at"])
    said = judged(contract, message)
    who, kind, body = message["from"], message["kind"], message.get("body") or {}
    if said == "late" and kind in ANSWERS and who not in contract["late"]:
        return {**contract, "late": [*contract["late"], who]}, said
    if said != "taken":
        return contract, said
    if kind in ENDS:
        return {**contract, "end": kind, "body": body}, said
    return {**contract, "answers": {**contract["answers"], who: {"kind": kind, "body": body}}}, said


def judged(contract: Contract, message: Message) -> Heard:
    """What a message comes to: whoever was not called, or not accepted, is not expected to say anything."""
    who, kind = message["from"], message["kind"]
    if stale(contract, message):
        return "stale"
    if kind in ANSWERS and who in contract["called"]:
        if repeated(contract, message):
            return "duplicate"
        return "late" if late(contract, message) else "taken"
    if kind in ENDS and who == contract["winner"]:
        if repeated(contract, message):
            return "duplicate"
        return "late" if over(contract) else "taken"
    return "unexpected"


def stale(contract: Contract, message: Message) -> bool:
    """Whether it speaks of another epoch."""
    return bool(message["epoch"] != contract["epoch"])


def late(contract: Contract, message: Message) -> bool:
    """Whether a bidder's answer comes after the deadline, or when the award is made."""
    passed = contract["deadline"] is not None and message["at"] > contract["deadline"]
    return passed or phase(contract) != "bidding"


def repeated(contract: Contract, message: Message) -> bool:
    """Whether the sender has said its one word on this already."""
    return message["from"] in contract["answers"] if message["kind"] in ANSWERS else contract["end"] in ENDS


def over(contract: Contract) -> bool:
    """Whether it has its one end."""
    return bool(contract["end"])


def proposers(contract: Contract) -> list[str]:
    """Whose proposals are live: made in time, and not yet decided on."""
    if phase(contract) != "bidding":
        return []
    return sorted(who for who, answer in contract["answers"].items() if answer["kind"] == "propose")


def award(contract: Contract, winner: str, *, due: float | None = None) -> Contract:
    """Accept one live proposal and reject all others. Raises InputError for anything else."""
    live = proposers(contract)
    if not acceptable(contract, winner):
        raise InputError(
            f"{contract['task']} cannot go to {winner!r}: its live proposals are of {', '.join(live) or 'nobody'}"
        )
    return {**contract, "winner": winner, "due": due, "verdicts": verdicts(live, winner)}


def acceptable(contract: Contract, bidder: str) -> bool:
    """Whether the task may be given to this bidder now."""
    return bidder in proposers(contract)


def verdicts(live: Iterable[str], winner: str) -> dict[str, str]:
    """One word for each proposer."""
    return {who: "accept" if who == winner else "reject" for who in live}


def close(contract: Contract) -> Contract:
    """End the bidding without an award: every proposer is rejected. Raises InputError when it is too late for that."""
    if phase(contract) != "bidding":
        raise InputError(f"{contract['task']} is {phase(contract)}: its bidding is over")
    return {**contract, "end": "unsold", "verdicts": verdicts(proposers(contract), "")}


def cancel(contract: Contract) -> tuple[Contract, bool]:
    """Take the task back, unless it has ended; says whether the cancellation came in time."""
    if over(contract):
        return contract, False
    said = contract["verdicts"] or verdicts(proposers(contract), "")
    return {**contract, "end": "cancelled", "verdicts": said}, True


def expire(contract: Contract, now: float) -> Contract:
    """A winner that has said nothing by the time its work was due has failed: dead, or never reached."""
    if phase(contract) != "working" or contract["due"] is None or now <= contract["due"]:
        return contract
    return {**contract, "end": "expired", "body": {"reason": "no word by the time the work was due"}}


def conversation(contract: Contract) -> list[dict[str, str]]:
    """All messages of a contract, {"from", "to", "kind"}, in the order of the protocol; "" is the manager."""
    out = [{"from": "", "to": who, "kind": "cfp"} for who in contract["called"]]
    out += [{"from": who, "to": "", "kind": contract["answers"][who]["kind"]} for who in sorted(contract["answers"])]
    out += [{"from": "", "to": who, "kind": "late"} for who in contract["late"]]
    out += [{"from": "", "to": who, "kind": f"{word}_proposal"} for who, word in sorted(contract["verdicts"].items())]
    if contract["end"] in ENDS:
        out.append({"from": contract["winner"], "to": "", "kind": contract["end"]})
    elif contract["end"] == "cancelled" and contract["winner"]:
        out.append({"from": "", "to": contract["winner"], "kind": "cancel"})
    return out
