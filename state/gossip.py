"""News that spreads from peer to peer: who tells whom in a round, and what everybody has heard."""

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Annotated, Any

from state.reducers import merge_keys
from state.turn import Result, Turn

TASK = "task"  # the first news: what is to be done


class Shown(Result, total=False):
    """What a caller also sees: all news by their names, who has heard which, and after how many rounds."""

    news: dict[str, dict[str, Any]]
    heard: dict[str, list[str]]
    round: int


class State(Turn, Shown, total=False):
    """`said` is written by all peers of a round at once, each under its own name; all else by one node."""

    said: Annotated[dict[str, Any], merge_keys]
    asked_now: list[str]
    flaws: list[str]
    counts: dict[str, int]
    over: bool


def targets(name: str, knows: Sequence[str], *, fanout: int, seed: int, round: int) -> list[str]:
    """Whom a peer tells in a round: `fanout` of those it knows, at random; the same for the same seed."""
    dice = Random(f"{seed}/{round}/{name}")
    return sorted(dice.sample(sorted(knows), min(fanout, len(knows))))


def told(
    heard: Mapping[str, Sequence[str]], knows: Mapping[str, Sequence[str]], *, fanout: int, seed: int, round: int
) -> list[tuple[str, str, list[str]]]:
    """One round: (who, whom, what is told), all at once, by what each had heard before the round."""
    out = []
    for name in sorted(heard):
        if heard[name]:
            to = targets(name, knows.get(name, ()), fanout=fanout, seed=seed, round=round)
            out += [(name, other, sorted(heard[name])) for other in to]
    return out


def spread(heard: Mapping[str, Sequence[str]], said: Sequence[tuple[str, str, Sequence[str]]]) -> dict[str, list[str]]:
    """What everybody has heard after a round."""
    out = {name: set(news) for name, news in heard.items()}
    for _, to, news in said:
        out.setdefault(to, set()).update(news)
    return {name: sorted(news) for name, news in out.items()}


def enough(peers: int) -> int:
    """Rounds in which news reach everybody all but surely: four times what they need on average, and a few."""
    return math.ceil(4 * expected(peers)) + 4


def expected(peers: int) -> float:
    """Rounds that news need on average to reach all when each tells one other: log2 n + ln n (Pittel, 1987)."""
    return math.log2(peers) + math.log(peers)
