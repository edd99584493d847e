"""Strategies: how a party that sees its own interests and all offers moves next. Pure.

A strategy aims at a worth that sinks over the rounds, accepts what reaches it, and else offers, of all deals
that reach it, the one nearest to the other side's latest offer (Faratin, Sierra, Jennings 1998 and 2002).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from state.errors import ContractError
from state.interests import Interests, Issues, Terms, acceptable, deals, distance, suited, utility
from state.offers import MEDIATOR


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that a party sees: itself, the issues, its own interests, every offer so far, and the time."""

    me: str
    issues: Issues
    interests: Interests
    offers: Sequence[Mapping[str, Any]]
    round: int
    rounds: int

    @property
    def time(self) -> float:
        """The part of the time that is gone: 0 in the first round, 1 in the last."""
        return 1.0 if self.rounds == 1 else (self.round - 1) / (self.rounds - 1)

    def worth(self, terms: Terms) -> float:
        """What a deal is worth to this party."""
        return utility(terms, self.issues, self.interests)


Aim = Callable[[View, float], float]


@dataclass(frozen=True, slots=True)
class Strategy:
    """A named way to move: a function of the view to {"kind": offer | accept | withdraw, "terms" or "offer"}."""

    name: str
    move: Callable[[View], dict[str, Any]]


def curve(beta: float, name: str = "") -> Strategy:
    """Concede by time: of the way from the best to the reservation, time ** (1 / beta) is gone.

    Raises ContractError for a `beta` of 0 or less.
    """
    if beta <= 0:
        raise ContractError(f"negotiation: `beta` must be above 0, not {beta}")

    def aim(view: View, best: float) -> float:
        gone = float(view.time ** (1 / beta))
        return best - (best - view.interests.reservation) * gone

    return aiming(aim, name or f"curve({beta:g})")


def boulware(beta: float = 0.2) -> Strategy:
    """Hold out, and concede near the deadline."""
    return curve(beta, "boulware")


def linear() -> Strategy:
    """Concede by the same amount in every round."""
    return curve(1, "linear")


def conceder(beta: float = 5.0) -> Strategy:
    """Concede early."""
    return curve(beta, "conceder")


def tit_for_tat(gift: float = 0.02) -> Strategy:
    """Concede as much as the other side did with its latest offer, by one's own measure, and `gift` more."""

    def aim(view: View, best: float) -> float:
        mine = [o for o in view.offers if o["by"] == view.me]
        theirs = [view.worth(o["terms"]) for o in view.offers if o["by"] not in (view.me, MEDIATOR)]
        if not mine:
            return best
        given = max(0.0, theirs[-1] - theirs[-2]) if len(theirs) > 1 else 0.0
        return max(view.interests.reservation, view.worth(mine[-1]["terms"]) - given - gift)

    return aiming(aim, "tit_for_tat")


def aiming(aim: Aim, name: str) -> Strategy:
    """A strategy that aims, in every round, at a worth: `aim` gets the view and the best that can be had."""

    def move(view: View) -> dict[str, Any]:
        mine = suited(view.issues, view.interests)
        if not mine:
            return {"kind": "withdraw"}
        best = max(worth for _, worth in mine)
        target = round(min(aim(view, best), best), 9)
        heard = next((o for o in reversed(view.offers) if o["by"] != view.me), None)
        latest = view.offers[-1] if view.offers else None
        if latest is not None and latest is heard and reaches(view, heard["terms"], target):
            return {"kind": "accept", "offer": heard["n"]}
        good = [(deal, worth) for deal, worth in mine if worth >= target]
        if heard is None:
            return {"kind": "offer", "terms": max(good, key=lambda d: d[1])[0]}
        near = min(good, key=lambda d: (distance(d[0], heard["terms"], view.issues), -d[1]))
        return {"kind": "offer", "terms": near[0]}

    return Strategy(name, move)


def reaches(view: View, terms: Terms, target: float) -> bool:
    """Whether a deal is acceptable, and worth what is aimed at."""
    return acceptable(terms, view.issues, view.interests) and view.worth(terms) >= target


def compromise(issues: Issues, offers: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """A mediator's next proposal, who sees the offers alone: the deal nearest to what each party offered last.

    Whoever refused a proposal counts once more for each refusal. Nothing is proposed twice; None when
    nothing is left.
    """
    last = {o["by"]: o["terms"] for o in offers if o["by"] != MEDIATOR}
    tried = [o["terms"] for o in offers if o["by"] == MEDIATOR]
    said_no = [o.get("refused_by") for o in offers]
    weights = {party: 1 + said_no.count(party) for party in last}
    left = [deal for deal in deals(issues) if deal not in tried]
    return min(
        left, key=lambda deal: sum(w * distance(deal, last[p], issues) for p, w in weights.items()), default=None
    )
