"""Independent voters of accuracy p: how often their majority is right, against the binomial formula.

Condorcet (1785): with p above 1/2 a majority is right more often than one voter, and nearly always in the end;
below 1/2 it is wrong more often. The votes go through the rules of the house, and for few voters once through
the whole graph. A measurement is within its error when it is at most four standard errors from theory.
"""

import asyncio
import random
from math import comb, sqrt

from graphs import consensus
from graphs.bind import bind
from nodes.agent import Bound
from state.agent import Agent
from state.ballot import Ballot
from state.task import Task
from state.voting import count, majority, supermajority

SEED, TRIALS, WHOLE = 7, 2000, 40
VOTERS, ACCURACIES = (1, 3, 5, 11, 25, 51, 101), (0.45, 0.6, 0.8)
ERRORS = 4


def theory(n: int, p: float, least: int) -> float:
    """The chance that at least `least` of n independent voters are right."""
    return float(sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(least, n + 1)))


def least(n: int, *, two_thirds: bool) -> int:
    """Votes that a majority, or two thirds, of n needs."""
    return -(-2 * n // 3) if two_thirds else n // 2 + 1


def measured(n: int, p: float, dice: random.Random, *, two_thirds: bool) -> float:
    """The share of votes in which the rule decided for what is right."""
    rule, hits = supermajority() if two_thirds else majority(), 0
    for _ in range(TRIALS):
        votes = [
            {"voter": str(v), "abstain": False, "choice": "right" if dice.random() < p else "wrong"} for v in range(n)
        ]
        hits += count(rule, votes, ("right", "wrong"), eligible=n).decision == "right"
    return hits / TRIALS


def within(found: float, expected: float, trials: int) -> bool:
    """Whether a share is no further from its expectation than sampling explains."""
    return abs(found - expected) <= ERRORS * sqrt(expected * (1 - expected) / trials) + 1 / trials


async def whole(n: int, p: float, dice: random.Random) -> float:
    """The same through the compiled graph, with voters who are functions."""

    def voter(name: str) -> Bound:
        def vote(task: Task) -> Ballot:
            return Ballot(choice="right" if dice.random() < p else "wrong")

        return bind(Agent(name=name, responsibility="Votes.", output=Ballot), vote)

    graph = consensus.build([voter(f"v{v}") for v in range(n)], options=["right", "wrong"], max_rounds=1)
    found = [await graph.ainvoke({"task": "Which is it?"}) for _ in range(WHOLE)]
    return sum(bool(f["answer"]["choice"] == "right") for f in found) / WHOLE


def rows(seed: int = SEED) -> list[tuple[str, int, float, float, float, bool]]:
    """Rows of (rule, voters, accuracy of one, measured, theory, whether it is within the sampling error)."""
    dice, out = random.Random(seed), []
    for p in ACCURACIES:
        for n in VOTERS:
            for two_thirds in (False, True):
                expected = theory(n, p, least(n, two_thirds=two_thirds))
                found = measured(n, p, dice, two_thirds=two_thirds)
                name = "two thirds" if two_thirds else "majority"
                out.append((name, n, p, found, expected, within(found, expected, TRIALS)))
    expected, found = theory(3, 0.8, 2), asyncio.run(whole(3, 0.8, dice))
    return [*out, ("majority, graph", 3, 0.8, found, expected, within(found, expected, WHOLE))]


def main() -> None:
    print(f"{'rule':<16}{'voters':>7}{'one':>7}{'measured':>10}{'theory':>9}  within {ERRORS} standard errors")
    for name, n, p, found, expected, good in rows():
        print(f"{name:<16}{n:>7}{p:>7.2f}{found:>10.4f}{expected:>9.4f}  {'yes' if good else 'NO'}")


if __name__ == "__main__":
    main()
