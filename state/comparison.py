"""Two runs held against each other, step by step: who ran, what they wrote, what it cost.

What differs between any two runs is left out: identities of messages, numbers of turns, moments of time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from langchain_core.messages import BaseMessage
from typing_extensions import TypedDict

from state.record import Record

OWN = ("asked", "branch", "turn", "usage")  # channels that name the run, or fold its book
MOMENTS = (1e9, 1e10)  # seconds since the epoch: a float within is a time of day
CALLS = ("model", "function", "tool", "graph", "human")


class Step(TypedDict):
    """One step of a run. `open` says that it did not end; `below` has the steps of the graphs that it called."""

    number: int
    at: str
    ran: list[str]
    wrote: dict[str, Any]
    open: bool
    below: dict[str, list["Step"]]


class Pair(TypedDict):
    """The same step of two runs; of one that only one of them has, the other side is None."""

    inside: str
    number: int
    ran: tuple[list[str] | None, list[str] | None]
    wrote: dict[str, tuple[Any, Any]]
    differs: Literal["", "routing", "outputs"]


class Calls(TypedDict):
    """What was called at one visit, all attempts together; money in millionths of a dollar."""

    agent: str
    calls: int
    outcome: str
    tokens: int
    cost_microusd: int
    answer: Any


class Comparison(TypedDict):
    """Two runs. `first` is the first step at which they part; `calls` are those that differ, by path and visit."""

    same: bool
    first: Pair | None
    steps: list[Pair]
    calls: dict[str, tuple[Calls | None, Calls | None]]
    cost: tuple[Calls, Calls]


def comparable(value: Any, name: str = "") -> Any:
    """A value of a channel as it is compared: plain data, without what no two runs share."""
    if isinstance(value, BaseMessage):
        said = {"type": value.type, "content": value.content, "name": value.name}
        wanted = [{"name": c["name"], "args": comparable(c["args"])} for c in getattr(value, "tool_calls", ())]
        return said | ({"calls": wanted} if wanted else {})
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items() if not (name == "task" and k == "turn")}
    if isinstance(value, list | tuple):
        return [comparable(v) for v in value]
    if isinstance(value, float) and MOMENTS[0] < value < MOMENTS[1]:
        return "a moment"
    return value


def written(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What a step changed."""
    named = {n: (comparable(before.get(n), n), comparable(v, n)) for n, v in after.items() if n not in OWN}
    return {name: now for name, (was, now) in named.items() if was != now}


def compared(a: Sequence[Step], b: Sequence[Step], booked: tuple[Iterable[Record], Iterable[Record]]) -> Comparison:
    """Two runs, held against each other."""
    steps = list(pairs(a, b))
    one, other = (calls(records) for records in booked)
    differing = {at: (one.get(at), other.get(at)) for at in {**one, **other} if one.get(at) != other.get(at)}
    first = next((p for p in steps if p["differs"]), None)
    return Comparison(
        same=first is None and not differing,
        first=first,
        steps=steps,
        calls=differing,
        cost=(_sum(one.values()), _sum(other.values())),
    )


def pairs(a: Sequence[Step], b: Sequence[Step], inside: str = "") -> Iterator[Pair]:
    """The steps of two runs side by side, in order: where they part on the way, what is below a step comes first."""
    for n in range(max(len(a), len(b))):
        one, other = a[n] if n < len(a) else None, b[n] if n < len(b) else None
        pair = _pair(one, other, inside)
        if pair["differs"] != "routing" and one is not None and other is not None:
            for name in (n for n in one["below"] if n in other["below"]):  # one that is not shows in the calls
                yield from pairs(one["below"][name], other["below"][name], f"{inside}/{name}" if inside else name)
        yield pair


def _pair(one: Step | None, other: Step | None, inside: str) -> Pair:
    there = one or other
    assert there is not None
    ran = (one and one["ran"], other and other["ran"])
    wrote: dict[str, tuple[Any, Any]] = {}
    if one is not None and other is not None and not (one["open"] or other["open"]):
        names = sorted({*one["wrote"], *other["wrote"]})
        both = {name: (one["wrote"].get(name), other["wrote"].get(name)) for name in names}
        wrote = {name: (was, now) for name, (was, now) in both.items() if was != now}
    differs: Literal["", "routing", "outputs"] = "routing" if ran[0] != ran[1] else "outputs" if wrote else ""
    return Pair(inside=inside, number=there["number"], ran=ran, wrote=wrote, differs=differs)


def calls(records: Iterable[Record]) -> dict[str, Calls]:
    """What was called, by path and visit, in order of time."""
    out: dict[str, Calls] = {}
    for r in records:
        if r["kind"] not in CALLS:
            continue
        done = out.setdefault(f"{r['path']}/{r['visit']}".strip("/"), _none(r["agent"]))
        done["outcome"] = r["outcome"]
        said = r.get("content")
        done["answer"] = comparable(said.get("output", said) if isinstance(said, dict) else said)
        if r["kind"] == "model" and not r.get("cached"):
            done["calls"] += 1
            done["tokens"] += r["tokens_in"] + (r["tokens_out"] if r["outcome"] else 0)
            done["cost_microusd"] += r["cost_microusd"] if r["outcome"] else 0
    return out


def _none(agent: str = "") -> Calls:
    return Calls(agent=agent, calls=0, outcome="", tokens=0, cost_microusd=0, answer=None)


def _sum(each: Iterable[Calls]) -> Calls:
    total = _none()
    for one in each:
        total["calls"] += one["calls"]
        total["tokens"] += one["tokens"]
        total["cost_microusd"] += one["cost_microusd"]
    return total
