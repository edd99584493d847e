"""Fifty knowledge sources that increment shared counters at once: no update is lost, and how often they read again.

Every source reads its counter and writes the next number, `each` times; a counter then stands at exactly
as many as its writes that were accepted. Of c sources that write one counter in the same round one wins
and c - 1 read again; s sources with one write each therefore read again at most (s - 1) / 2 times a
write, which is what happens when all losers come back in the very next round. Waiting with jitter
(`state.versioned.backoff`) keeps them apart.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from graphs import blackboard
from graphs.bind import bind
from state.agent import Agent
from state.blackboard import Event
from state.board import Board, Contribution, Source
from state.task import Task

SOURCES, SEED = 50, 7


@dataclass(frozen=True, slots=True)
class Case:
    """How many counters the sources share, how often each increments, how many act at once, how often they retry."""

    counters: int
    each: int = 1
    at_once: int | None = None
    max_retries: int = SOURCES

    @property
    def bound(self) -> float:
        """The most times that a write is read again, on average."""
        rivals = min(SOURCES / self.counters, self.at_once or SOURCES) - 1
        return rivals / 2 if self.each == 1 and self.at_once is None else rivals


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one case: `counted` is the sum of the counters, `lost` what was given up and said to be."""

    activations: int
    accepted: int
    counted: int
    lost: int
    retries: int


def source(n: int, case: Case) -> Source:
    """One source: it increments its counter until its own tally says it has done so often enough."""
    counter, tally = f"counter-{n * case.counters // SOURCES}", f"tally-{n}"

    def wants(board: Board) -> bool:
        return tally not in board or board[tally]["value"] < case.each

    def adds(task: Task) -> dict[str, Any]:
        values = {entry: task.context.get(entry, 0) + 1 for entry in (counter, tally)}
        return {"entries": [{"entry": entry, "value": value} for entry, value in values.items()]}

    agent = Agent(name=f"source_{n}", responsibility="Adds one.", output=Contribution)
    return Source(who=bind(agent, adds), trigger=wants, writes={counter: int, tally: int})


async def run(case: Case) -> Measured:
    """All sources on one board, until nobody wants to act."""
    graph = blackboard.build(
        [source(n, case) for n in range(SOURCES)],
        at_once=case.at_once,
        max_retries=case.max_retries,
        max_activations=SOURCES * SOURCES * case.each,
    )
    found = await graph.ainvoke({"task": "count"}, context={"seed": SEED})
    log: list[Event] = found["log"]
    wrote, retries, lost = (sum(e["what"] == what for e in log) for what in ("wrote", "retries", "lost"))
    counted = sum(v["value"] for entry, v in found["board"].items() if entry.startswith("counter"))
    return Measured(len(log), wrote, counted, lost, retries)


CASES = {
    "all on one counter": Case(1),
    "all on one counter, three times each": Case(1, each=3),
    "five counters": Case(5),
    "ten counters, ten sources at once": Case(10, at_once=10),
    "a counter each": Case(50),
    "one after the other, by priority": Case(1, at_once=1),
    "all on one counter, at most 3 retries": Case(1, max_retries=3),
}


def main() -> None:
    """Print a row for each case. Raises AssertionError when an update was lost, or a bound broken."""
    print(f"{SOURCES} sources{'':29} activations accepted counted given-up retries/write bound")
    for name, case in CASES.items():
        found = asyncio.run(run(case))
        share = found.retries / (SOURCES * case.each)
        print(
            f"{name:39}{found.activations:12}{found.accepted:9}{found.counted:8}{found.lost:9}"
            f"{share:14.2f}{case.bound:6.1f}"
        )
        assert found.accepted == found.counted, "an update was lost"
        assert found.accepted + found.lost >= SOURCES
        assert share <= case.bound


if __name__ == "__main__":
    main()
