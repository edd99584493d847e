"""The graph lint: each fault is named with its node and its mend, and nothing sound is refused."""

import asyncio
import operator
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.channels import UntrackedValue
from langgraph.graph import END, START, StateGraph
from langgraph.managed import RemainingSteps
from langgraph.types import CachePolicy, Command, RetryPolicy, Send
from typing_extensions import TypedDict

from graphs import react
from runtime.lint import Builder, faults, lint
from runtime.writes import seen
from state.agent import Agent
from state.errors import ContractError

Node = Callable[..., Awaitable[Any]]


class State(TypedDict, total=False):
    answer: str
    score: int
    notes: Annotated[list[str], operator.add]
    remaining_steps: RemainingSteps


class Stranger(TypedDict, total=False):
    answer: str
    mood: str


async def idle(state: State) -> dict[str, Any]:
    return {}


async def answer(state: State) -> dict[str, Any]:
    return {"answer": "42"}


async def note(state: State) -> dict[str, Any]:
    return {"notes": ["seen"]}


async def to_a_or_end(state: State) -> Literal["a", "__end__"]:
    return "a" if state.get("score") else END


def wired(edges: Sequence[tuple[str, str]], **nodes: Node) -> Builder:
    """A builder of these nodes and edges; a node that is not given does nothing."""
    builder: Builder = StateGraph(State)
    names = {name for edge in edges for name in edge if len(name) == 1} | nodes.keys()
    for name in sorted(names):
        builder.add_node(name, nodes.get(name, idle))
    for source, target in edges:
        builder.add_edge(source, target)
    return builder


def line(node: Node) -> Builder:
    """START -> a -> END, with `a` as given."""
    return wired([(START, "a"), ("a", END)], a=node)


def only(builder: Builder) -> str:
    """The one fault of a builder."""
    found = faults(builder)
    assert len(found) == 1, found
    return found[0]


# What is sound passes


def test_a_line_a_fan_out_a_join_and_a_loop_with_a_way_out_are_sound() -> None:
    assert faults(line(answer)) == []
    diamond = wired([(START, "a"), ("a", "b"), ("a", "c"), ("d", END)], b=note, c=note).add_edge(["b", "c"], "d")
    assert faults(diamond) == []
    assert faults(wired([(START, "a"), ("a", "b")], b=answer).add_conditional_edges("b", to_a_or_end)) == []


def test_the_tool_loop_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Builder] = []
    monkeypatch.setattr("graphs.compile.lint", lambda builder, name: built.append(builder))
    react.build(Agent(name="helper", responsibility="Helps."))
    assert faults(built[0]) == []


def test_every_fault_is_told_at_once_under_the_name_of_the_graph() -> None:
    builder = wired([(START, "a"), ("a", END)], a=partial(_writes_two_wrong), b=idle)
    with pytest.raises(ContractError) as caught:
        lint(builder, "muddle")
    text = str(caught.value)
    assert "graph 'muddle'" in text
    assert all(word in text for word in ("'b' is never reached", "'b' has no way out", "'anwser'", "'scor'"))


async def _writes_two_wrong(state: State) -> dict[str, Any]:
    return {"anwser": "42", "scor": 1}


# Edges


def test_a_node_that_is_never_reached_is_named() -> None:
    fault = only(wired([(START, "a"), ("a", END), ("b", "a")]))
    assert "node 'b' is never reached" in fault
    assert "lead an edge or a router to it" in fault


def test_a_join_is_not_reached_while_one_that_it_waits_for_is_not() -> None:
    builder = wired([(START, "a"), ("c", END), ("b", "b")]).add_edge(["a", "b"], "c")
    assert {f.split(" is never")[0] for f in faults(builder) if "is never reached" in f} == {"node 'b'", "node 'c'"}


def test_a_target_that_does_not_exist_is_named_with_the_nearest() -> None:
    builder = wired([(START, "a"), ("a", "writter"), ("a", "writer"), ("writer", END)], writer=idle)
    assert "'a' -> 'writter' leads to 'writter', which does not exist" in only(builder)
    assert "nearest is 'writer'" in only(builder)


def test_a_source_that_does_not_exist_is_named() -> None:
    fault = only(wired([(START, "a"), ("a", END), ("ghost", "a")]))
    assert "'ghost' -> 'a' starts at 'ghost', which does not exist" in fault


def test_a_conditional_edge_from_or_to_nowhere_is_named() -> None:
    builder = wired([(START, "a")]).add_conditional_edges("a", to_a_or_end, ["b", END])
    assert any("router 'to_a_or_end' of node 'a' leads to 'b', which does not exist" in f for f in faults(builder))
    builder = wired([(START, "a"), ("a", END)]).add_conditional_edges("ghost", to_a_or_end)
    assert "router 'to_a_or_end' of node 'ghost' starts at a node that does not exist" in only(builder)


def test_a_node_without_a_way_out_is_named() -> None:
    fault = only(wired([(START, "a")]))
    assert "node 'a' has no way out: add an edge to a node or to END, or a router" in fault


def test_a_graph_without_an_entry_is_named() -> None:
    found = faults(wired([("a", END)]))
    assert any("START has no way out" in f for f in found)


def test_two_kinds_of_ways_out_of_one_node_are_refused() -> None:
    builder = wired([(START, "a"), ("a", "b"), ("b", END)]).add_conditional_edges("a", to_a_or_end)
    assert "node 'a' has 2 ways out, and takes all of them" in only(builder)
    assert "router 'to_a_or_end'; an edge to 'b'" in only(builder)


# Routers


def test_a_router_that_does_not_say_where_it_leads_is_refused() -> None:
    async def anywhere(state: State) -> str:
        return state["answer"]

    fault = only(wired([(START, "a"), ("b", END)]).add_conditional_edges("a", anywhere))
    assert "router 'anywhere' of node 'a' does not say where it leads" in fault
    assert "-> Literal[...]" in fault


def test_a_router_of_many_graphs_may_know_of_places_that_this_one_lacks() -> None:
    async def roomy(state: State) -> str:
        return "b" if state else "elsewhere"

    assert faults(wired([(START, "a"), ("b", END)]).add_conditional_edges("a", roomy, ["b"])) == []


def test_a_router_may_return_the_keys_of_its_map() -> None:
    async def grade(state: State) -> str:
        return "good" if state else "bad"

    builder = wired([(START, "a"), ("b", END)]).add_conditional_edges("a", grade, {"good": "b", "bad": END})
    assert faults(builder) == []


def test_a_send_to_what_is_not_announced_or_not_there_is_refused() -> None:
    async def fan(state: State) -> list[Send]:
        return [*(Send("b", n) for n in state["notes"]), Send("hidden", {}), Send("ghost", {})]

    builder = wired([(START, "a"), ("b", END), ("hidden", END)], b=note, hidden=note)
    found = faults(builder.add_conditional_edges("a", fan, ["b"]))
    assert any("router 'fan' of node 'a' leads to 'ghost', which does not exist" in f for f in found)
    assert any("router 'fan' of node 'a' sends to 'hidden', which is not among its destinations" in f for f in found)


def test_a_sync_router_among_async_nodes_is_refused() -> None:
    def slow(state: State) -> Literal["b"]:
        return "b"

    fault = only(wired([(START, "a"), ("b", END)]).add_conditional_edges("a", slow))
    assert "router 'slow' of node 'a' is sync" in fault
    assert "make it async" in fault


def test_a_sync_router_among_sync_nodes_passes() -> None:
    def plain(state: State) -> dict[str, Any]:
        return {"answer": "42"}

    builder: Builder = StateGraph(State).add_node("a", plain).add_edge(START, "a")
    assert faults(builder.add_conditional_edges("a", lambda state: END, [END])) == []


# Loops


def test_a_node_that_cannot_reach_end_is_named() -> None:
    found = faults(wired([(START, "a"), ("a", "b"), ("b", "a")]))
    assert [f.split(":")[0] for f in found] == ["node 'a' cannot reach END", "node 'b' cannot reach END"]
    assert "give one a way out" in found[0]


def test_a_loop_of_edges_is_refused_though_one_of_its_nodes_has_an_edge_to_end() -> None:
    fault = only(wired([(START, "a"), ("a", "b"), ("b", "a"), ("b", END)]))
    assert "node 'a', node 'b': this loop is never left" in fault
    assert "let a router choose" in fault


def test_a_loop_whose_router_leads_only_back_into_it_is_refused() -> None:
    async def back(state: State) -> Literal["a", "c"]:
        return "a"

    builder = wired([(START, "a"), ("a", "b"), ("c", "a"), ("c", END)]).add_conditional_edges("b", back)
    assert "node 'a', node 'b', node 'c': this loop is never left" in only(builder)


def test_a_join_of_one_closes_a_loop_and_a_join_of_two_may_wait_for_ever() -> None:
    one = wired([(START, "a"), ("b", END)]).add_edge(["a"], "b").add_edge(["b"], "a")
    assert "node 'a', node 'b': this loop is never left" in only(one)
    two = wired([(START, "a"), (START, "c"), ("b", "a"), ("b", END)]).add_edge(["a", "c"], "b")
    assert faults(two) == []


# Commands


def test_a_goto_beside_an_edge_is_refused() -> None:
    async def leap(state: State) -> Command[Literal["b"]]:
        return Command(goto="b")

    fault = only(wired([(START, "a"), ("a", "c"), ("b", END), ("c", END)], a=leap))
    assert "node 'a' has 2 ways out, and takes all of them: keep one of an edge to 'c'; Command(goto=...)" in fault


def test_an_unannounced_goto_is_seen_in_the_source() -> None:
    async def leap(state: State) -> Any:
        return Command(update={"answer": "42"}, goto="b") if state else {"answer": ""}

    found = faults(wired([(START, "a"), ("a", "c"), ("b", END), ("c", END)], a=leap))
    assert any("node 'a' does not say where its goto leads: annotate it `-> Command[Literal" in f for f in found)
    assert any("node 'a' has 2 ways out" in f for f in found)


def test_a_goto_to_what_does_not_exist_is_refused() -> None:
    async def leap(state: State) -> Command[Literal["b", "ghost"]]:
        return Command(goto=["b", "gohst"])

    found = faults(wired([(START, "a"), ("b", END)], a=leap))
    assert any("node 'a' goes to 'ghost', which does not exist" in f for f in found)
    assert any("node 'a' goes to 'gohst', which does not exist" in f for f in found)


def test_a_goto_that_the_annotation_leaves_out_is_refused() -> None:
    async def leap(state: State) -> Command[Literal["b"]]:
        return Command(goto="b" if state else "c")

    fault = only(wired([(START, "a"), ("b", "c"), ("c", END)], a=leap))
    assert "node 'a' goes to 'c', which its Command[Literal[...]] leaves out: add it" in fault


def test_a_command_without_goto_or_for_a_parent_is_an_update_like_any_other() -> None:
    async def polite(state: State) -> Any:
        if state:
            return Command(graph=Command.PARENT, goto="somewhere above", update={"theirs": 1})
        return Command(update={"answer": "42"}, goto=[])

    assert faults(line(polite)) == []


def test_a_command_that_is_not_returned_is_no_jump() -> None:
    async def asks(state: State) -> dict[str, Any]:
        inner = Command(goto="elsewhere", update={"theirs": 1})
        await asyncio.sleep(0, inner)
        return {"answer": "42"}

    assert faults(line(asks)) == []


def test_an_error_handler_may_go_anywhere_and_is_reached_through_its_node() -> None:
    async def mend(state: State) -> Any:
        return Command(goto="b")

    async def choose(state: State) -> Any:
        return Command(goto=state["answer"])

    for handler in (mend, choose):
        builder: Builder = StateGraph(State).add_node("a", idle, error_handler=handler).add_node("b", idle)
        assert faults(builder.add_edge(START, "a").add_edge("a", END).add_edge("b", END)) == []


def test_a_nodes_error_handler_is_no_way_to_end() -> None:
    builder: Builder = StateGraph(State).add_node("a", idle, error_handler=idle).add_edge(START, "a")
    assert "node 'a' cannot reach END" in only(builder.add_edge("a", "a"))


# Keys


def test_a_key_that_the_state_does_not_have_is_named_with_the_nearest() -> None:
    async def typo(state: State) -> dict[str, Any]:
        return {"anwser": "42", "score": 1}

    fault = only(line(typo))
    assert "node 'a' writes 'anwser', which the state does not have" in fault
    assert "nearest is 'answer'" in fault


def test_a_key_that_the_engine_keeps_is_no_key_to_write() -> None:
    async def greedy(state: State) -> dict[str, Any]:
        return {"remaining_steps": 100}

    assert "writes 'remaining_steps', which the engine keeps itself" in only(line(greedy))


def test_a_declared_return_type_is_held_against_the_state() -> None:
    async def strange(state: State) -> Stranger:
        return {"answer": "42"}

    async def at_home(state: State) -> State:
        return {"answer": "42"}

    assert "node 'a' writes 'mood'" in only(line(strange))
    assert faults(line(at_home)) == []


def _ended(why: str) -> dict[str, Any]:
    return {"answer": why, "wrong": why}


async def _later(why: str) -> dict[str, Any]:
    return _ended(why) if why else {}


class Caller:
    async def __call__(self, state: State) -> dict[str, Any]:
        return {"wrong": 1}

    async def method(self, state: State) -> dict[str, Any]:
        return {"wrong": 1}


def _closure(write: Callable[[Any], dict[str, Any]]) -> Node:
    async def role(state: State) -> dict[str, Any]:
        return write(state)

    return role


def _writers() -> dict[str, Node]:
    """Nodes that write `wrong`, each in another way of writing."""

    async def branch(state: State) -> dict[str, Any]:
        if state:
            return {}
        return {"answer": ""} if state else {"wrong": 1}

    async def variable(state: State) -> dict[str, Any]:
        update: dict[str, Any] = {"answer": "42"}
        if state:
            update["wrong"] = 1
        return update

    async def filled(state: State) -> dict[str, Any]:
        update = {"answer": "42"}
        update.update({"wrong": "1"}, score="1")
        return {**update, "notes": []}

    async def command(state: State) -> Any:
        return Command(update={"wrong": 1})

    async def helped(state: State) -> dict[str, Any]:
        return {**_ended("why")}

    async def awaited(state: State) -> dict[str, Any]:
        return await _later("why")

    async def nested(state: State) -> dict[str, Any]:
        async def inner() -> dict[str, Any]:
            return {"wrong": 1}

        return await inner()

    async def called(state: State) -> dict[str, Any]:
        return dict(wrong=1)  # noqa: C408  # the form is the point

    return {
        "branch": branch,
        "variable": variable,
        "filled": filled,
        "command": command,
        "helped": helped,
        "awaited": awaited,
        "nested": nested,
        "called": called,
        "closure": _closure(lambda state: {"answer": "ä", "wrong": 1}),
        "partial": partial(_closure(_ended)),
        "method": Caller().method,
        "instance": Caller(),
    }


@pytest.mark.parametrize("way", _writers())
def test_a_wrong_key_is_seen_however_it_is_written(way: str) -> None:
    assert "node 'a' writes 'wrong'" in only(line(_writers()[way]))


def _innocents() -> dict[str, Node]:
    """Nodes in whose source `wrong` is a key, but not one that they surely write."""

    async def inside(state: State) -> dict[str, Any]:
        return {"answer": {"wrong": 1}, "notes": [{"wrong": 1}]}

    async def other(state: State) -> dict[str, Any]:
        table = {"wrong": 1}
        return {"answer": table["wrong"]}

    async def inner_return(state: State) -> dict[str, Any]:
        def row() -> dict[str, Any]:
            return {"wrong": 1}

        return {"answer": row()}

    async def popped(state: State) -> dict[str, Any]:
        update = {"wrong": 1, "answer": "42"}
        update.pop("wrong")
        return update

    async def deleted(state: State) -> dict[str, Any]:
        update = {"wrong": 1, "answer": "42"}
        del update["wrong"]
        return update

    async def given_away(state: State) -> dict[str, Any]:
        update = {"wrong": 1, "answer": "42"}
        list(map(update.pop, ["wrong"]))
        return update

    async def captured(state: State) -> dict[str, Any]:
        update = {"wrong": 1}

        def clean() -> None:
            update.clear()

        clean()
        return update

    async def rebound(state: State) -> dict[str, Any]:
        update = {"wrong": 1}
        update = {"answer": str(update)}
        return update

    async def filtered(state: State) -> dict[str, Any]:
        update = {"wrong": 1, "answer": "42"}
        return {key: value for key, value in update.items() if key != "wrong"}

    async def picked(state: State) -> dict[str, Any]:
        return {"wrong": {"answer": "42"}}["wrong"]

    async def changed(state: State) -> dict[str, Any]:
        return _without_wrong({"wrong": 1, "answer": "42"})

    async def shadowed(state: State, _ended: Callable[[str], dict[str, Any]] = lambda why: {}) -> dict[str, Any]:
        return _ended("why")

    async def computed(state: State) -> dict[str, Any]:
        key = "wrong"
        return {key: 1}

    def generated(state: State) -> Any:
        yield {"answer": "42"}
        return {"wrong": 1}

    async def either(state: State) -> dict[str, Any]:
        update: dict[str, Any] = {"answer": "42"}
        if state:
            update = {"wrong": update.pop("answer")}
        update = {"answer": update.get("wrong", "")}
        return update

    async def replaced(state: State) -> dict[str, Any]:
        update = {"wrong": 1}

        def swap() -> None:
            nonlocal update
            update = {}

        swap()
        return update

    async def lent(state: State) -> dict[str, Any]:
        update = {"wrong": 1, "answer": "42"}
        kept = {"notes": update}
        kept["notes"].pop("wrong")
        return update

    async def falsy(state: State) -> Any:
        return {"wrong": 1} and state.get("answer")

    async def reused(state: State) -> dict[str, Any]:
        update: dict[str, Any] = {"answer": "42"}
        if state:
            return update
        update = {"wrong": 1}
        return {"score": len(update)}

    exec(code := "async def sourceless(state):\n    return {'wrong': 1}\n", made := {"code": code})
    functions = [inside, other, inner_return, popped, deleted, given_away, captured, rebound, filtered, picked, changed]
    functions += [shadowed, computed, generated, either, replaced, lent, falsy, reused, made["sourceless"]]
    return {function.__name__: function for function in functions}


def _without_wrong(update: dict[str, Any]) -> dict[str, Any]:
    update.pop("wrong")
    return update


@pytest.mark.parametrize("way", _innocents())
def test_a_key_that_is_not_surely_written_is_not_judged(way: str) -> None:
    assert faults(line(_innocents()[way])) == []


# Parallel writers


def test_two_branches_of_a_fan_out_may_not_write_one_plain_key() -> None:
    edges = [(START, "a"), ("a", "b"), ("a", "c"), ("b", END), ("c", END)]
    fault = only(wired(edges, b=answer, c=answer))
    assert "node 'b' and node 'c' run at once and both write 'answer'" in fault
    assert "give the key a reducer" in fault
    assert faults(wired(edges, b=note, c=note)) == []


def test_what_follows_a_fan_out_in_step_may_not_either_but_what_comes_later_may() -> None:
    edges = [(START, "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "e"), ("d", END), ("e", "f"), ("f", END)]
    assert "node 'd' and node 'e' run at once" in only(wired(edges, d=answer, e=answer))
    assert faults(wired(edges, d=answer, f=answer)) == []


def test_one_node_behind_two_branches_runs_once() -> None:
    edges = [(START, "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", END)]
    assert faults(wired(edges, d=answer)) == []


def test_a_node_that_is_sent_to_several_times_may_not_write_a_plain_key() -> None:
    async def fan(state: State) -> list[Send]:
        return [Send("b", {"n": n}) for n in state["notes"]]

    async def loop(state: State) -> list[Send]:
        sends = []
        for n in state["notes"]:
            sends.append(Send("b", {"n": n}))
        return sends

    async def opaque(state: State) -> list[Send]:
        return made[0]

    made: list[Any] = []
    for router in (fan, loop, opaque):
        fault = only(wired([(START, "a"), ("b", END)], b=answer).add_conditional_edges("a", router, ["b"]))
        assert "node 'b' runs several times at once and writes 'answer' each time: give the key a reducer" in fault
        assert faults(wired([(START, "a"), ("b", END)], b=note).add_conditional_edges("a", router, ["b"])) == []


def test_a_node_that_is_sent_to_once_may_write_a_plain_key() -> None:
    async def one(state: State) -> list[Send]:
        return [Send("b", state)]

    async def first(state: State) -> Any:
        for n in state["notes"]:
            return Send("b", n)
        return END

    async def found(state: State) -> Any:
        sends = []
        sends.append(Send("b", state))
        return sends

    async def searched(state: State) -> Any:
        sends = []
        for n in state["notes"]:
            if n:
                sends.append(Send("b", n))
                break
        return sends

    for router in (one, first, found, searched):
        builder = wired([(START, "a"), ("b", END)], b=answer).add_conditional_edges("a", router, ["b", END])
        assert faults(builder) == []


def test_a_key_that_guards_its_single_value_counts_as_plain() -> None:
    class Guarded(TypedDict, total=False):
        answer: Annotated[str, UntrackedValue]

    builder: Builder = StateGraph(Guarded).add_node("a", answer).add_node("b", answer)
    builder.add_edge(START, "a").add_edge(START, "b").add_edge("a", END).add_edge("b", END)
    assert "run at once and both write 'answer'" in only(builder)


# Policies


def test_retries_and_caches_on_nodes_are_sent_to_the_door() -> None:
    builder: Builder = StateGraph(State).add_node("a", idle, retry_policy=RetryPolicy())
    builder.add_node("b", idle, cache_policy=CachePolicy()).add_edge(START, "a").add_edge("a", "b").add_edge("b", END)
    retry, cache = faults(builder)
    assert "node 'a' has a retry_policy: remove it: retries and caching live at the door" in retry
    assert "node 'b' has a cache_policy" in cache


def test_retries_by_default_are_too() -> None:
    assert "set_node_defaults has a retry_policy" in only(line(answer).set_node_defaults(retry_policy=RetryPolicy()))


# Against brute force

Random = tuple[set[tuple[str, str]], set[str], set[str]]


@st.composite
def random_graphs(draw: st.DrawFn) -> Random:
    """A random DAG with some more edges, which may close loops: edges, sources that choose one of theirs, nodes."""
    names = "abcde"[: draw(st.integers(1, 5))]
    forward = st.sampled_from([(a, b) for i, a in enumerate([START, *names]) for b in [*names[i:], END]])
    extra = st.tuples(st.sampled_from([START, *names]), st.sampled_from([*names, END]))
    edges = draw(st.sets(forward, max_size=8)) | draw(st.sets(extra, max_size=4))
    return edges, draw(st.sets(st.sampled_from([START, *names]))), set(names)


def built(edges: set[tuple[str, str]], choosing: set[str], names: set[str]) -> Builder:
    async def choose(state: State) -> Any:
        return state["answer"]

    builder = wired(sorted(e for e in edges if e[0] not in choosing), **dict.fromkeys(names, idle))
    for source in sorted(choosing):
        if ends := sorted(b for a, b in edges if a == source):
            builder.add_conditional_edges(source, choose, ends)
    return builder


def closure(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """All pairs with a path between them, by joining pairs until none is new."""
    pairs = set(edges)
    while more := {(a, d) for a, b in pairs for c, d in pairs if b == c} - pairs:
        pairs |= more
    return pairs


def can_finish(start: str, edges: set[tuple[str, str]], choosing: set[str]) -> bool:
    """Whether some run that is at `start` comes to rest, by trying every run: a state is the nodes that run next."""
    after = {a: sorted(b for x, b in edges if x == a) for a, _ in edges}
    todo, known = [frozenset({start})], set()
    while todo:
        active = todo.pop()
        if not active:
            return True
        if active in known:
            continue
        known.add(active)
        ways = [[[b] for b in after.get(n, [])] if n in choosing else [after.get(n, [])] for n in sorted(active)]
        for taken in product(*(way or [[]] for way in ways)):
            todo.append(frozenset(b for ends in taken for b in ends if b != END))
    return False


@settings(max_examples=400, deadline=None)
@given(random_graphs())
def test_reach_and_end_agree_with_brute_force(graph: Random) -> None:
    edges, choosing, names = graph
    found = faults(built(edges, choosing, names))
    paths = closure(edges)
    stuck = {n for n in names if not any(a == n for a, _ in edges)}
    unreached = {n for n in names if (START, n) not in paths}
    endless = {n for n in names - stuck if not any((n, end) in paths for end in {END, *stuck})}
    assert {f[6] for f in found if "is never reached" in f} == unreached
    assert {f[6] for f in found if "cannot reach END" in f} == endless
    assert {f[6] for f in found if f.startswith("node") and "has no way out" in f} == stuck


@settings(max_examples=400, deadline=None)
@given(random_graphs())
def test_a_graph_is_refused_as_endless_when_and_only_when_some_node_has_no_run_that_ends(graph: Random) -> None:
    edges, choosing, names = graph
    found = [f for f in faults(built(edges, choosing, names)) if "cannot reach END" in f or "never left" in f]
    assert bool(found) == any(not can_finish(n, edges, choosing) for n in names)


@settings(max_examples=200, deadline=None)
@given(random_graphs(), st.sets(st.tuples(st.sampled_from("abz"), st.sampled_from("aby")), max_size=3))
def test_the_lint_raises_nothing_but_its_own_error(graph: Random, strays: set[tuple[str, str]]) -> None:
    builder = built(*graph)
    builder.edges |= strays
    if not (found := faults(builder)):
        lint(builder, "any")
        builder.compile()
        return
    with pytest.raises(ContractError) as caught:
        lint(builder, "any")
    assert str(caught.value).count("\n- ") == len(found)


def test_looking_does_not_change_the_builder() -> None:
    builder = line(answer)
    before = (set(builder.edges), set(builder.nodes), dict(builder.branches))
    faults(builder)
    assert (set(builder.edges), set(builder.nodes), dict(builder.branches)) == before


def test_a_second_look_is_quick() -> None:
    chain = "abcdefghijklmnopqrst"
    builder = wired([(START, "a"), *pairwise(chain), ("t", END)], **dict.fromkeys(chain, answer))
    faults(builder)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        faults(builder)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005


def test_two_closures_of_one_source_are_told_apart() -> None:
    good, bad = _closure(lambda state: {"answer": "42"}), _closure(lambda state: {"wrong": 1})
    assert (seen(good).keys, seen(bad).keys) == ({"answer"}, {"wrong"})
