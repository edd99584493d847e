"""Who gets a task, and at which price: the award rules, and the allocation of several tasks at once.

An offer is a live proposal with what is known of its bidder: {"bidder", "cost", "price", "utility",
"confidence", "why", "reputation"}. Every decision is a pure function of all offers, whatever their order.
"""

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from state.errors import ContractError

Offer = Mapping[str, Any]
Value = Callable[[dict[str, Any]], float]

MOST = 1e12  # of any unit: sums and weights of it stay finite


class Bid(BaseModel):
    """A bidder's answer to a call for proposals."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cost: float = Field(1.0, ge=0, le=MOST, description="What doing the task costs the bidder")
    price: float | None = Field(None, ge=0, le=MOST, description="What it asks, or offers in a sale; else its cost")
    utility: float = Field(0.5, ge=0, le=1, description="How good the result would be, 0 to 1")
    confidence: float = Field(1.0, ge=0, le=1, description="How sure the bidder is of that, 0 to 1")
    refuse: bool = Field(False, description="Whether the bidder does not want the task")
    why: str = Field("", description="The reason, in one sentence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How offers on one task are compared: the highest `value` wins.

    `priced` says what is paid: the winner's cost, its own price, or the second price. `reserve` is the
    value that an offer must reach.
    """

    name: str
    value: Value
    priced: Literal["cost", "own", "second"] = "own"
    reserve: float = -math.inf


@dataclass(frozen=True, slots=True)
class Pick:
    """One award: to whom, at which price, and what the winning offer was worth once weighed."""

    bidder: str
    price: float
    worth: float


def lowest_cost() -> Rule:
    """The lowest cost wins, and is the price."""
    return Rule(name="lowest_cost", value=lambda offer: -offer["cost"], priced="cost")


def highest_utility(function: Value | None = None) -> Rule:
    """The highest value of an own function of the offer wins, by default utility x confidence; it costs its cost."""
    return Rule(name="highest_utility", value=function or expected, priced="cost")


def first_price(*, selling: bool = False, reserve: float | None = None) -> Rule:
    """A sealed auction: the best price wins, and is paid.

    The caller buys work, so that the lowest price asked is the best and none above `reserve` is taken;
    when it is `selling`, the highest price offered is, and none below. Raises ContractError for a
    reserve below 0.
    """
    return _auction("first_price", "own", selling, reserve)


def second_price(*, selling: bool = False, reserve: float | None = None) -> Rule:
    """A Vickrey auction: the best price wins, the second best is paid, so that the true price is the best bid.

    The second is the best other offer on the same task of a bidder with room for it, or the reserve
    where that is better; without either, the winner's own. With reputations weighed, it is the price at
    which the winner would have tied. Raises ContractError for a reserve below 0.
    """
    return _auction("second_price", "second", selling, reserve)


def _auction(name: str, priced: Literal["own", "second"], selling: bool, reserve: float | None) -> Rule:
    if reserve is not None and not reserve >= 0:
        raise ContractError(f"market: the reserve of {name} must be 0 or more, not {reserve}")
    sign = 1 if selling else -1
    least = -math.inf if reserve is None else sign * reserve
    return Rule(name=name, value=lambda offer: sign * asked(offer), priced=priced, reserve=least)


def asked(offer: Offer) -> float:
    """The price of an offer: the one it names, else its cost."""
    return float(offer["cost"] if offer["price"] is None else offer["price"])


def expected(offer: Offer) -> float:
    """The utility to be expected."""
    return float(offer["utility"] * offer["confidence"])


def reputation(done: int, failed: int) -> float:
    """The share of awards that a bidder brought to a good end, by Laplace's rule: one half when nothing is known."""
    return (done + 1) / (done + failed + 2)


def weighed(value: float, factor: float) -> float:
    """A value made worse by a factor in (0, 1], whatever its sign."""
    return value * factor if value >= 0 else value / factor


def unweighed(value: float, factor: float) -> float:
    """What is worth so much once weighed."""
    return value / factor if value >= 0 else value * factor


def allocate(
    offers: Mapping[str, Sequence[Offer]],
    rule: Rule,
    *,
    room: Mapping[str, int],
    load: Mapping[str, int],
    weigh: float = 0.0,
) -> dict[str, Pick]:
    """Who gets which task: the best offer of all is accepted, then the best of what is left.

    No task goes to two bidders, no bidder gets more than its `room`, and a task is left over only when
    none of its bidders has room. Ties go to the lower load, awards of this round included, then by
    name. `weigh` is the power to which reputations weigh: 0 not at all. Source: sequential single-item
    auctions (Koenig et al., 2006).
    """
    rated = {task: sorted(_rated(some, rule, weigh), key=lambda o: (-o[0], o[1])) for task, some in offers.items()}
    busy, left = dict(load), dict(room)
    heap = [(-worth, busy[who], who, n, task) for n, (task, some) in enumerate(rated.items()) for worth, who, _ in some]
    heapq.heapify(heap)
    out: dict[str, Pick] = {}
    while heap:
        minus, at_load, who, n, task = heapq.heappop(heap)
        if taken(task, out) or full(who, left):
            continue
        if busy[who] != at_load:
            heapq.heappush(heap, (minus, busy[who], who, n, task))
            continue
        out[task] = Pick(who, price(rule, who, [o for o in rated[task] if o[1] == who or not full(o[1], left)]), -minus)
        busy[who], left[who] = busy[who] + 1, left[who] - 1
    return {task: out[task] for task in rated if task in out}


def taken(task: str, picks: Mapping[str, Pick]) -> bool:
    """Whether the task has its winner."""
    return task in picks


def full(bidder: str, room: Mapping[str, int]) -> bool:
    """Whether a bidder can take no more."""
    return room[bidder] <= 0


def price(rule: Rule, winner: str, rated: Sequence[tuple[float, str, Offer]]) -> float:
    """What the winner's task is awarded at, given all offers on it: (worth, bidder, offer), the best first."""
    offer = next(o for _, who, o in rated if who == winner)
    if rule.priced == "cost":
        return float(offer["cost"])
    if rule.priced == "own":
        return asked(offer)
    second = [unweighed(worth, offer["factor"]) for worth, who, _ in rated if who != winner][:1]
    floor = [rule.reserve] if rule.reserve > -math.inf else []
    return abs(max([*second, *floor], default=rule.value(dict(offer))))


def worth(offer: Offer, rule: Rule) -> float | None:
    """What an offer is worth before it is weighed; None when it misses the reserve, or has no number for a value."""
    try:
        value = float(rule.value(dict(offer)))
    except Exception:  # a function of the user's, on an offer it did not foresee
        return None
    return value if math.isfinite(value) and value >= rule.reserve else None


def _rated(offers: Sequence[Offer], rule: Rule, weigh: float) -> Iterator[tuple[float, str, Offer]]:
    for offer in offers:
        if (value := worth(offer, rule)) is not None:
            factor = offer.get("reputation", 0.5) ** weigh
            yield weighed(value, factor), offer["bidder"], {**offer, "factor": factor}
