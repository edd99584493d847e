"""Random negotiations over three issues with linear utilities, for every pair of strategies.

Of the cases in which some deal is acceptable to both: the share that ends in one, by offers alone and with the
built-in mediator; how far the deals are, in utilities, from the Pareto frontier and from the Nash point (the
deal with the largest product of gains over the reservations); and how many moves they took. Beside them stand
the bounds: nobody can find more than all, and a deal drawn by lot from the acceptable ones is what a strategy
has to beat.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from math import dist
from statistics import mean
from typing import Any

from graphs import negotiation
from state.concession import Strategy, View, boulware, compromise, conceder, linear, tit_for_tat
from state.interests import Interests, acceptable, deals, utility
from state.offers import answered, answering, moved, opened, proposals, proposed, round_of, turn_of

SEED, CASES, WHOLE, ROUNDS, PROPOSALS = 7, 60, 5, 12, 10
ISSUES: dict[str, list[Any]] = {"price": list(range(11)), "days": list(range(5)), "grade": ["a", "b", "c"]}
NAMES = ("one", "other")
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Case:
    """Two parties, and what they could come to: every acceptable deal, the frontier, and the Nash point."""

    wants: tuple[Interests, Interests]
    points: tuple[Point, ...]
    frontier: tuple[Point, ...]
    nash: Point


def case(dice: random.Random) -> Case:
    """A random one in which some deal is acceptable to both."""
    while True:
        one, other = (
            Interests(
                prefers={
                    "price": ("low", "high")[side],
                    "days": dice.choice(["low", "high"]),
                    "grade": dice.sample(ISSUES["grade"], 3),
                },
                weights={name: dice.randint(1, 5) for name in ISSUES},
                reservation=dice.choice([0.3, 0.4, 0.5, 0.6]),
            )
            for side in (0, 1)
        )
        everything = [(utility(d, ISSUES, one), utility(d, ISSUES, other)) for d in deals(ISSUES)]
        points = [p for p in everything if p[0] >= one.reservation and p[1] >= other.reservation]
        if points:
            best = [p for p in points if not any(q[0] >= p[0] and q[1] >= p[1] and q != p for q in points)]
            nash = max(best, key=lambda p: (p[0] - one.reservation) * (p[1] - other.reservation))
            return Case((one, other), tuple(points), tuple(best), nash)


def played(found: Case, minds: tuple[Strategy, Strategy]) -> dict[str, Any]:
    """The table after all offers, and where there is no deal the mediator's proposals."""
    table = opened(NAMES, ROUNDS)
    while table["status"] == "open":
        name = turn_of(table)
        at = NAMES.index(name)
        now, mine = round_of(table), found.wants[at]
        view = View(me=name, issues=ISSUES, interests=mine, offers=table["offers"], round=now, rounds=ROUNDS)
        table = moved(table, name, minds[at].move(view))
    while table["status"] == "no deal" and len(proposals(table)) < PROPOSALS:
        terms = compromise(ISSUES, table["offers"]) or {}
        table = proposed(table, terms)
        while table["status"] == "mediation":
            name = answering(table)
            table = answered(table, name, acceptable(terms, ISSUES, found.wants[NAMES.index(name)]))
    return table


def point(terms: Mapping[str, Any], found: Case) -> Point:
    """What a deal is worth to both."""
    one, other = found.wants
    return utility(terms, ISSUES, one), utility(terms, ISSUES, other)


def measured(cases: list[Case], minds: tuple[Strategy, Strategy]) -> tuple[float, float, float, float, float]:
    """Deals by offers, and with the mediator, of all possible; distance to the frontier and to Nash; moves."""
    tables = [(found, played(found, minds)) for found in cases]
    agreed = [(found, t) for found, t in tables if t["status"] == "agreed"]
    direct = [t for _, t in agreed if not proposals(t)]
    worth = [(found, point(t["offers"][-1]["terms"], found)) for found, t in agreed]
    assert all(p in found.points for found, p in worth), "no deal is below a reservation"
    return (
        len(direct) / len(cases),
        len(agreed) / len(cases),
        mean(min(dist(p, q) for q in found.frontier) for found, p in worth),
        mean(dist(p, found.nash) for found, p in worth),
        mean(t["moves"] for _, t in agreed),
    )


def by_lot(cases: list[Case]) -> tuple[float, float]:
    """What a deal drawn by lot from the acceptable ones would be, on average: to the frontier, and to Nash."""
    edge = [mean(min(dist(p, q) for q in c.frontier) for p in c.points) for c in cases]
    return mean(edge), mean(mean(dist(p, c.nash) for p in c.points) for c in cases)


async def whole(cases: list[Case], minds: tuple[Strategy, Strategy]) -> bool:
    """Whether the compiled graph comes to the same tables as the rules alone."""
    for found in cases[:WHOLE]:
        parties = [
            negotiation.party(name, by=mind, **mine.model_dump())
            for name, mind, mine in zip(NAMES, minds, found.wants, strict=True)
        ]
        graph = negotiation.build(parties, issues=ISSUES, rounds=ROUNDS, max_proposals=PROPOSALS)
        out = await graph.ainvoke({"task": "Find a deal."})
        if out["table"] != played(found, minds):
            return False
    return True


def rows(seed: int = SEED) -> tuple[list[tuple[str, float, float, float, float, float]], tuple[float, float], bool]:
    """A row for each pair of strategies; what a lot would bring; whether the graph does the same."""
    dice = random.Random(seed)
    cases = [case(dice) for _ in range(CASES)]
    minds = [boulware(), linear(), conceder(), tit_for_tat()]
    out = [(f"{one.name} / {other.name}", *measured(cases, (one, other))) for one in minds for other in minds]
    return out, by_lot(cases), asyncio.run(whole(cases, (boulware(), linear())))


def main() -> None:
    found, lot, same = rows()
    print(f"{'strategies':<26}{'by offers':>10}{'mediated':>10}{'to Pareto':>11}{'to Nash':>9}{'moves':>7}")
    print(f"{'bound: all of them':<26}{1:>10.2f}{1:>10.2f}{0:>11.3f}{0:>9.3f}")
    print(f"{'by lot':<26}{'':>10}{'':>10}{lot[0]:>11.3f}{lot[1]:>9.3f}")
    for name, direct, all_, pareto, nash, moves in found:
        print(f"{name:<26}{direct:>10.2f}{all_:>10.2f}{pareto:>11.3f}{nash:>9.3f}{moves:>7.1f}")
    print(f"{CASES} possible deals each; the graph comes to the same tables: {'yes' if same else 'NO'}")


if __name__ == "__main__":
    main()
