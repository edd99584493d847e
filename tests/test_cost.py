"""What a run may cost is known before it begins, and what it did cost lies within."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from makers import scripted
from test_conformance import foreign

from graphs import critic, orchestrator_worker, pipeline, react
from graphs.bind import bind
from runtime.cost import calls_of
from runtime.persistence import open_persistence
from state.agent import Agent, Limits, fallback, retry
from state.cost import Calls, either, total
from state.critic import Critique
from state.plan import Plan

BOUNDS = st.integers(0, 9).flatmap(lambda n: st.builds(Calls, st.just(n), st.one_of(st.none(), st.integers(n, 30))))


@given(BOUNDS, BOUNDS, BOUNDS)
def test_calls_add_up_in_any_order_and_least_never_passes_most(a: Calls, b: Calls, c: Calls) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a | b == b | a
    assert total([a, b, c]) == a + b + c
    assert either([a, b, c]) == a | b | c
    for x in (a + b, a | b, a.times(2), a.times(0, 3), a.times(1, 2)):
        assert x.most is None or x.least <= x.most


def test_nothing_done_no_times_costs_nothing_whatever_it_is() -> None:
    assert Calls(1, None).times(0, 0) == Calls(0, 0)
    assert str(Calls(1, None)) == "1 or more"
    assert (str(Calls(2, 2)), str(Calls(2, 5))) == ("2", "2 to 5")


def plain(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility="Works.", limits=Limits(repairs=1), **options)


def test_an_agent_costs_its_call_its_repairs_and_what_its_policy_adds() -> None:
    assert bind(plain("a")).calls == Calls(1, 2)
    assert bind(plain("a", on_failure=retry(3))).calls == Calls(1, 6)
    assert bind(plain("a", on_failure=fallback(plain("b")))).calls == Calls(1, 4)
    assert bind(plain("a", cache=True)).calls == Calls(0, 2)
    assert bind(plain("a"), lambda task: "x").calls == Calls(0, 0)
    assert bind(plain("a"), foreign(1)).calls == Calls(0, None)


def test_bounds_pass_through_the_levels_of_a_composition() -> None:
    judge = bind(plain("judge", output=Critique))
    inner = critic.build(plain("author"), [judge], max_rounds=2)
    assert calls_of(inner) == Calls(2, 2 + 4 + 2)
    middle = pipeline.build(bind(plain("team"), inner), plain("closer"))
    assert calls_of(middle) == Calls(3, 10)
    planner = bind(plain("planner", output=Plan))
    outer = orchestrator_worker.build(planner, [bind(plain("crew"), middle)], plain("writer"))
    assert calls_of(outer) == Calls(1 + 3 + 1, None)


def test_a_bound_graph_costs_what_it_did_before_it_was_bound() -> None:
    graph = react.build(plain("assistant"))
    assert calls_of(open_persistence("memory://").bind(graph)) == calls_of(graph) == Calls(1, 24)


async def test_repairs_are_within_the_most() -> None:
    faulty = scripted("author", lambda messages, tools: "" if len(messages) < 5 else "at last")
    graph = pipeline.build(faulty)
    found = await graph.ainvoke({"task": "go"})
    most = calls_of(graph).most
    assert most is not None
    assert 1 < found["usage"]["total"]["calls"] <= most
