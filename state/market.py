"""What a market remembers of each task, and the pure decisions of a round: whom to call, what it came to.

A lot is one task on the market: {"at", "given", "contract", "past", "circle", "excluded", "pick",
"waits", "result", "over", "why", "end"}. `contract` is of the newest epoch (state.contract_net), `past` has those
before; `circle` is the widest circle of bidders called; `excluded` says who is not called again, and why;
`pick` is the award to be made, `waits` says that its bidders have no room yet; `over` is empty, "done" or
"missing".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from state import contract_net as net
from state.agent import Outcome
from state.auction import Bid, Offer, Pick, Rule, reputation, worth
from state.blame import says
from state.concurrent import Splitter, dealt
from state.errors import InputError
from state.reducers import merge_keys
from state.task import Task
from state.turn import Result, Turn, explain

Lot = dict[str, Any]
Circles = Sequence[Sequence[str]]

LONGEST = 300  # characters of one bidder's reason
NAMED = 5  # tasks with the same reason that are named in it; the answer names all


class Done(BaseModel):
    """One task of several, and who did it; `price` is what it was awarded at, None where nobody bid for it."""

    model_config = ConfigDict(extra="forbid")

    task: str
    by: str
    price: float | None = None
    output: dict[str, Any]


class Allocated(BaseModel):
    """The answer to several tasks: each with what came of it, and those that nobody did."""

    model_config = ConfigDict(extra="forbid")

    results: list[Done]
    missing: list[str] = Field(default_factory=list)


class Shown(Result, total=False):
    """What a caller also sees: every lot with its calls, bids, awards and ends."""

    lots: Annotated[dict[str, Any], merge_keys]


class State(Turn, Shown, total=False):
    """`heard` is written by all bidders of a round at once, each under its visit; all else by one node at a time.

    `load` and `reputation` are of each bidder as this round was announced.
    """

    round: int
    heard: Annotated[dict[str, Any], merge_keys]
    load: dict[str, int]
    reputation: dict[str, dict[str, int]]
    spent: str


def lots_of(task: Task, split: Splitter) -> dict[str, Lot]:
    """One lot for each task, numbered from 1 on. Raises InputError for what is no task."""
    try:
        tasks = [Task.model_validate(branch["given"]) for branch in dealt(task, [""], split)]
    except ValidationError as error:
        raise InputError(f"what is put on the market must be a Task: {explain(error)}") from error
    return {str(n): _lot(n, one) for n, one in enumerate(tasks, 1)}


def _lot(at: int, task: Task) -> Lot:
    given = task.model_copy(update={"turn": 0}).model_dump(mode="json")
    blank: dict[str, Any] = {"contract": None, "past": [], "circle": 0, "excluded": {}, "pick": None, "result": None}
    return {"at": at, "given": given, **blank, "waits": False, "over": "", "why": [], "end": ""}


def still_open(lots: Mapping[str, Lot]) -> dict[str, Lot]:
    """The lots that are on the market yet."""
    return {key: lot for key, lot in lots.items() if not lot["over"]}


def candidates(lot: Lot, circles: Circles, room: Mapping[str, int]) -> list[str]:
    """Who is called for a lot: all of its circles with room for it, but for those that are excluded."""
    reached = [who for circle in circles[: lot["circle"] + 1] for who in circle]
    return [who for who in reached if who not in lot["excluded"] and room[who] > 0]


def widened(lot: Lot, circles: Circles, room: Mapping[str, int]) -> Lot:
    """The lot with as many circles as it takes to have somebody to call; all of them, when nobody is left."""
    while not candidates(lot, circles, room) and lot["circle"] < len(circles) - 1:
        lot = {**lot, "circle": lot["circle"] + 1}
    return lot


def to_announce(lots: Mapping[str, Lot]) -> dict[str, Lot]:
    """The open lots that nobody has been called for yet, or not since their last call came to nothing."""
    return {key: lot for key, lot in still_open(lots).items() if not lot["waits"]}


def announce(lot: Lot, called: Iterable[str], deadline: float | None) -> Lot:
    """The lot under its next epoch."""
    before = lot["contract"]
    if before is None:
        return {**lot, "contract": net.announced(str(lot["at"]), called, deadline=deadline)}
    return {**lot, "contract": net.again(before, called, deadline=deadline), "past": [*lot["past"], before]}


def hear(lot: Lot, messages: Iterable[net.Message]) -> Lot:
    """The lot after what was said about it; who is late, or not understood, is excluded with the reason."""
    contract, excluded = lot["contract"], dict(lot["excluded"])
    for message in messages:
        contract, heard = net.hear(contract, message)
        why = " ".join(str((message.get("body") or {}).get("why") or "no reason given").split())[:LONGEST]
        if heard == "late":
            excluded[message["from"]] = f"late: {why}" if message["kind"] != "propose" else "late"
        elif heard == "taken" and message["kind"] in ("refuse", "not_understood"):
            excluded[message["from"]] = f"{'refused' if message['kind'] == 'refuse' else 'made no bid'}: {why}"
    return {**lot, "contract": contract, "excluded": excluded}


def offers(lot: Lot, known: Mapping[str, Mapping[str, int]]) -> list[Offer]:
    """The live proposals with their bidders' reputations."""
    contract = lot["contract"]
    made = [(who, contract["answers"][who]["body"]["bid"]) for who in net.proposers(contract)]
    return [{**bid, "bidder": who, "reputation": reputation(**known.get(who, NEW))} for who, bid in made]


NEW = {"done": 0, "failed": 0}


def evaluated(lot: Lot, some: Sequence[Offer], rule: Rule, pick: Pick | None, *, moving: bool) -> Lot:
    """The lot with the award that is due to it; an offer that cannot be taken excludes its bidder.

    While the market is `moving`, a lot whose good offers are of bidders without room waits for them.
    """
    useless = {o["bidder"]: f"its offer does not pass {rule.name}" for o in some if worth(o, rule) is None}
    award = None if pick is None else {"bidder": pick.bidder, "price": pick.price}
    waits = moving and award is None and len(useless) < len(some)
    return {**lot, "pick": award, "waits": waits, "excluded": {**lot["excluded"], **useless}}


def awarded(lot: Lot, due: float | None) -> Lot:
    """Accept the one and reject the rest; without a pick, reject all, unless the lot waits."""
    contract, pick = lot["contract"], lot["pick"]
    if pick:
        return {**lot, "contract": net.award(contract, pick["bidder"], due=due)}
    return lot if lot["waits"] else {**lot, "contract": net.close(contract)}


def refused(lot: Lot, why: str) -> Lot:
    """The lot whose award was not approved: its bidder is not picked again."""
    return {**lot, "pick": None, "excluded": {**lot["excluded"], lot["pick"]["bidder"]: why}}


def settled(lot: Lot) -> Lot:
    """The lot after the work: done, or its winner excluded."""
    contract, winner = lot["contract"], lot["contract"]["winner"]
    if contract["end"] == "inform":
        result = {**contract["body"], "by": winner, "price": lot["pick"]["price"]}
        said = {key: value for key, value in contract["body"].items() if key != "output"}  # that stands in the result
        return {**lot, "contract": {**contract, "body": said}, "over": "done", "result": result}
    if contract["end"] in ("failure", "expired"):
        why = str(contract["body"].get("reason") or "failed")
        named = why if says(winner, why) else f"{winner}: {why}"
        return {**lot, "excluded": {**lot["excluded"], winner: named}, "why": [*lot["why"], named]}
    return lot


def missed(lot: Lot, why: str = "") -> Lot:
    """The lot that nobody does; the reason says what each bidder that was called had to say."""
    contract = lot["contract"]
    contract = net.close(contract) if net.phase(contract) == "bidding" else contract
    said = [v if says(k, v) else f"{k} {v}" for k, v in lot["excluded"].items()]
    return {
        **lot,
        "contract": contract,
        "over": "missing",
        "why": [*([why] if why else []), *said] or ["nobody has room for it"],
    }


def in_stead(lot: Lot, reply: Mapping[str, Any]) -> Lot:
    """The lot after it was put to whoever stands in for the market."""
    if reply["output"] is None:
        return {**lot, "why": [*lot["why"], reply["reason"]], "end": reply["outcome"]}
    reason = "; ".join(part for part in (f"no bidder did it: {'; '.join(lot['why'])}", reply["reason"]) if part)
    result = {**reply, "reason": reason, "price": None}
    return {**lot, "over": "done", "result": result, "why": []}


def outcomes(lots: Iterable[Lot]) -> list[tuple[str, str, bool]]:
    """Whose award came to which end: (bidder, lot, whether it was done). A spent budget is nobody's fault."""
    ended = [lot for lot in lots if lot["contract"] and lot["contract"]["end"] in ("inform", "failure", "expired")]
    ended = [lot for lot in ended if lot["contract"]["body"].get("outcome") != "out_of_budget"]
    return [(c["winner"], str(lot["at"]), c["end"] == "inform") for lot in ended for c in [lot["contract"]]]


def concluded(lots: Mapping[str, Lot], spent: str) -> tuple[Outcome, str, dict[str, Any] | None, str]:
    """What all lots come to: (outcome, reason, answer, author). One task: its output; several: an Allocated."""
    every = sorted(lots.values(), key=lambda lot: lot["at"])
    done, gone = [lot for lot in every if lot["result"]], [lot for lot in every if not lot["result"]]
    said = [part for lot in done for part in (*lot["why"], lot["result"]["reason"]) if part]
    said += _undone(gone, of=len(every))
    ends = [lot["result"]["outcome"] for lot in done] + [lot["end"] for lot in gone if lot["end"]]
    outcome: Outcome = "completed" if not gone and set(ends) <= {"completed"} else "degraded"
    if spent or "out_of_budget" in ends:
        outcome = "out_of_budget"
    elif len(every) == 1 and ends:
        outcome = ends[0]
    if not done:
        wrong = outcome if outcome in ("out_of_budget", "rejected", "escalated", "cancelled") else "failed"
        return wrong, "; ".join(dict.fromkeys([*([spent] if spent else []), *said])), None, ""
    reason = "; ".join(dict.fromkeys([*([spent] if spent else []), *said]))
    if len(every) == 1:
        return outcome, reason, done[0]["result"]["output"], done[0]["result"]["by"]
    results = [
        Done(task=lot["given"]["goal"], **{k: lot["result"][k] for k in ("by", "price", "output")}) for lot in done
    ]
    whole = Allocated(results=results, missing=[lot["given"]["goal"] for lot in gone])
    return outcome, reason, whole.model_dump(mode="json"), ""


def _undone(gone: Sequence[Lot], *, of: int) -> list[str]:
    """What nobody did, by reason; of many with the same reason, the first few by name."""
    groups: dict[str, list[str]] = {}
    for lot in gone:
        groups.setdefault("; ".join(lot["why"]), []).append(repr(lot["given"]["goal"][:80]))
    out = []
    for why, names in groups.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        out.append(f"nobody did {'it' if of == 1 else ', '.join(names[:NAMED]) + more}: {why}")
    return out


def declared(cost: float, skills: Iterable[str]) -> Any:
    """The bid of a bidder that has none of its own: its declared cost, and as utility the share of the task's
    words that its skills name."""
    known = set(words(" ".join(skills)))

    def bid(task: Task) -> Bid:
        asked = words(task.goal)
        share = sum(word in known for word in asked) / len(asked) if asked else 0.0
        return Bid(cost=cost, utility=share, why=f"{share:.0%} of the task's words are among its skills")

    return bid


def words(text: str) -> list[str]:
    """The words of a text that can say what it is about: three letters or more, in lower case, each once."""
    return list(dict.fromkeys(re.findall(r"\w{3,}", text.casefold())))
