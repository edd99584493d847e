"""Instant runoff, stage by stage: who can win, and how."""

from collections.abc import Callable, Sequence
from typing import Any

from state.ballot import Vote

Stage = dict[str, Any]
Ways = dict[str, tuple[Stage, ...]]

MOST_RANKED = 12  # options that can be ranked: every way to break ties for the last place is followed


def winners(votes: Sequence[Vote], options: Sequence[str]) -> Ways:
    """Who can win, each with the stages of one way to it: {"tally", "exhausted", "out"}. More than one is a tie."""
    known: dict[frozenset[str], Ways] = {}

    def of(left: frozenset[str]) -> Ways:
        if left not in known:
            known[left] = _stage(votes, options, left, of)
        return known[left]

    return of(frozenset(options)) if votes and options else {}


def _stage(
    votes: Sequence[Vote], options: Sequence[str], left: frozenset[str], after: Callable[[frozenset[str]], Ways]
) -> Ways:
    """Who can win among those who are left."""
    firsts = [next((o for o in v["ranking"] if o in left), None) for v in votes]
    tally = {o: firsts.count(o) for o in options if o in left}
    alive, most, least = sum(tally.values()), max(tally.values()), min(tally.values())
    stage: Stage = {"tally": tally, "exhausted": firsts.count(None)}
    if 2 * most > alive:
        return {next(o for o in tally if tally[o] == most): ({**stage, "out": []},)}
    last = [o for o in tally if tally[o] == least]
    if len(last) == len(left):  # also when every ballot is exhausted
        return {o: ({**stage, "out": []},) for o in last}
    above = min(n for n in tally.values() if n > least)
    together = sum(tally[o] for o in last) < above  # whatever they pass on to each other, none of them survives
    found: Ways = {}
    for out in [last] if together else [[o] for o in last]:
        for winner, rest in after(left - set(out)).items():
            way = ({**stage, "out": out}, *rest)
            found[winner] = min(found.get(winner, way), way, key=lambda stages: _closeness(stages, winner))
    return found


def _closeness(stages: tuple[Stage, ...], winner: str) -> tuple[int, int, int]:
    """Of several ways to win the closest is told, so that no option's name or place makes a difference."""
    last = stages[-1]["tally"]
    return last[winner], sum(last.values()), len(stages)
