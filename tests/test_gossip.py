"""Gossip, a mode of the mesh: every peer hears all news, in few rounds, whoever tells whom."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import breaks
from makers import scripted

from graphs.bind import bind
from graphs.gossip import build
from runtime.persistence import Persistence
from runtime.travel import at
from state import gossip
from state.agent import Agent
from state.errors import ContractError
from state.mesh import Said
from state.record import Record, repeated


def peers(n: int, **options: Any) -> list[Any]:
    return [scripted(f"p{i}", f"word of p{i}", **options) for i in range(n)]


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


async def test_everybody_is_asked_once_and_the_entry_peer_answers_with_all_news(memory: Persistence) -> None:
    team = peers(5)
    found = await memory.bind(build(team)).ainvoke({"task": "what do you know?"}, at("t"))
    assert (found["outcome"], found["messages"][-1].name) == ("completed", "p0")
    assert found["usage"]["total"]["calls"] == len(team) + 1
    last = team[0].by.calls[-1][1].text
    assert all(f"word of p{n}" in last for n in range(5))
    assert all(len(heard) == 6 for heard in found["heard"].values())
    told = [r for r in records(memory) if r["kind"] == "message"]
    assert told
    assert {r["says"] for r in told} == {"event"}
    assert repeated(records(memory)) == []


async def test_a_single_peer_is_asked_once() -> None:
    found = await build(peers(1)).ainvoke({"task": "go"})
    assert (found["answer"]["text"], found["outcome"]) == ("word of p0", "completed")
    assert found["usage"]["total"]["calls"] == 1


async def test_the_same_seed_tells_the_same_and_another_seed_something_else() -> None:
    runs = [await build(peers(8)).ainvoke({"task": "go"}, context={"seed": seed}) for seed in (1, 1, 2, 3, 4)]
    rounds = [found["round"] for found in runs]
    assert rounds[0] == rounds[1]
    assert gossip.targets("a", "bcdef", fanout=2, seed=1, round=1) == gossip.targets(
        "a", "fedcb", fanout=2, seed=1, round=1
    )
    drawn = {tuple(gossip.targets("a", "bcdef", fanout=2, seed=s, round=1)) for s in range(9)}
    assert len(drawn) > 1


async def test_news_takes_the_ways_that_are_there() -> None:
    ring = {f"p{n}": [f"p{(n + 1) % 4}"] for n in range(4)}
    found = await build(peers(4), knows=ring).ainvoke({"task": "go"})
    assert found["outcome"] == "completed"
    assert found["round"] >= 4


async def test_when_not_everybody_has_heard_everything_in_time_it_is_said() -> None:
    found = await build(peers(9), fanout=1, max_rounds=2).ainvoke({"task": "go"})
    assert found["outcome"] == "degraded"
    assert "after 2 rounds not everybody has heard everything" in found["reason"]
    assert found["answer"]["text"] == "word of p0"


async def test_a_peer_that_fails_is_missing_and_named() -> None:
    def broken(task: Any) -> Any:
        raise ValueError("out of ink")

    team = [*peers(3), bind(Agent(name="mute", responsibility="Fails."), broken)]
    found = await build(team).ainvoke({"task": "go"})
    assert (found["outcome"], found["reason"]) == ("degraded", "mute: out of ink")


async def test_a_budget_that_is_spent_returns_the_entry_peers_word() -> None:
    found = await build(peers(4)).ainvoke({"task": "go"}, context={"max_calls": 2})
    assert (found["outcome"], found["answer"]["text"]) == ("out_of_budget", "word of p0")


async def test_a_second_turn_spreads_its_own_news(memory: Persistence) -> None:
    graph = memory.bind(build(peers(4)))
    first = await graph.ainvoke({"task": "one"}, at("t"))
    second = await graph.ainvoke({"task": "two"}, at("t"))
    assert (second["outcome"], second["usage"]) == ("completed", first["usage"])


def test_the_drawing_spreads_and_then_concludes() -> None:
    drawn = build(peers(2)).get_graph()
    assert sorted((e.source, e.target) for e in drawn.edges) == [
        ("__start__", "begin"),
        ("begin", "spread"),
        ("conclude", "finish"),
        ("finish", "__end__"),
        ("p0", "spread"),
        ("p1", "spread"),
        ("spread", "conclude"),
        ("spread", "finish"),
        ("spread", "p0"),
        ("spread", "p1"),
        ("spread", "spread"),
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"peers": []}, "`peers` is empty"),
        ({"knows": {"p1": ["p0"]}}, "nobody on the way from 'p0' knows 'p1'"),
        ({"fanout": 0}, "`fanout` must be at least 1"),
        ({"max_rounds": 0}, "`max_rounds` must be at least 1"),
        ({"peers": [Agent(name="a", responsibility="Talks.", output=Said)]}, "another output than Said"),
        ({"entry": "x"}, "`entry` is 'x'"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        build(**{"peers": peers(2), **options})


# The decisions, without the engine


def rounds_to_all(n: int, fanout: int, seed: int) -> int:
    """Rounds until all of `n` peers have heard what the first of them knew."""
    names = [f"{i:03}" for i in range(n)]
    knows = {name: [other for other in names if other != name] for name in names}
    heard: dict[str, list[str]] = {names[0]: ["news"]}
    for round in range(1, 1000):
        told = gossip.told(heard, knows, fanout=fanout, seed=seed, round=round)
        assert all(len([t for t in told if t[0] == name]) <= fanout for name in heard)
        before, heard = set(heard), gossip.spread(heard, told)
        assert before <= set(heard)
        if len(heard) == n:
            return round
    raise AssertionError("the news got lost")


@given(st.integers(2, 60), st.integers(1, 4), st.integers(0, 10**6))
def test_all_hear_within_order_log_n_rounds(n: int, fanout: int, seed: int) -> None:
    rounds = rounds_to_all(n, fanout, seed)
    assert math.log(n, fanout + 1) <= rounds + 1e-9
    assert rounds <= gossip.enough(n)


def test_news_that_is_told_to_the_same_few_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip, "targets", lambda name, knows, **_: sorted(knows)[:1])

    breaks(test_all_hear_within_order_log_n_rounds)
