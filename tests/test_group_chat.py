"""Group chat: who speaks, what they see, what ends it, and what a turn that fails costs."""

from collections.abc import Callable
from typing import Any

import pytest
from costs import formula
from makers import scripted
from scripted import Scripted

from graphs import critic
from graphs.bind import Bindable, bind
from graphs.group_chat import build
from graphs.group_chat import graph as default
from nodes.agent import Bound
from runtime.cost import calls_of
from runtime.sync import Graph
from state.agent import Agent, Limits
from state.critic import Critique
from state.errors import ContractError
from state.speaker import Selection


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    return build([who, scripted("colleague", "the answer")], max_turns=2)


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Does {name}.", **options)


def says(name: str, *texts: str, **options: Any) -> Bound:
    """Says one text after the other, and the last one again and again."""
    left = list(texts)
    return bind(agent(name, **options), Scripted(script=lambda m, t: left.pop(0) if len(left) > 1 else left[0]))


def breaks(name: str, **options: Any) -> Bound:
    def broken(task: Any) -> Any:
        raise ValueError("lost its voice")

    return bind(agent(name, **options), broken)


def manager(*names: str, **options: Any) -> Bound:
    """Names one speaker after the other, and the last one again and again."""
    left = list(names)

    def script(messages: Any, tools: Any) -> Any:
        name = left.pop(0) if len(left) > 1 else left[0]
        return [("Selection", {"speaker": name, "reason": "their turn"})]

    return bind(agent("chair", output=Selection, **options), Scripted(script=script))


def team(*names: str) -> list[Bound]:
    return [says(name, f"{name} says") for name in names or ("ann", "bob", "eve")]


def prompts(bound: Bound) -> list[str]:
    assert isinstance(bound.by, Scripted)
    return [messages[1].text for messages in bound.by.calls]


def order(out: Any) -> list[str]:
    return [m.name for m in out["talk"]]


def edges(graph: Graph) -> list[str]:
    return sorted(f"{e.source} -> {e.target}" for e in graph.get_graph().edges)


# Who speaks


async def test_round_robin_gives_everybody_the_floor_in_turn() -> None:
    out = await build(team(), max_turns=7).ainvoke({"task": "talk"})
    assert order(out) == ["ann", "bob", "eve", "ann", "bob", "eve", "ann"]
    assert (out["outcome"], out["reason"]) == ("completed", "7 turn(s) were taken, the most allowed")
    assert (out["answer"]["text"], out["messages"][-1].name) == ("ann says", "ann")


async def test_a_function_of_the_conversation_selects() -> None:
    def shortest(now: Any) -> str:
        return "bob" if now.speaker == "eve" else "eve"

    out = await build(team(), select=shortest, max_turns=4).ainvoke({"task": "talk"})
    assert order(out) == ["eve", "bob", "eve", "bob"]
    assert out["usage"]["total"]["calls"] == 4


async def test_a_function_sees_the_whole_conversation() -> None:
    seen: list[list[str]] = []

    def look(now: Any) -> str:
        seen.append([m.text for m in now.talk])
        return str(now.candidates[0])

    await build(team("ann", "bob"), select=look, max_turns=3).ainvoke({"task": "talk"})
    assert seen == [[], ["ann says"], ["ann says", "bob says"]]


async def test_a_model_manager_selects_by_a_typed_word() -> None:
    chair = manager("eve", "ann", "eve")
    out = await build(team(), select=chair, max_turns=3).ainvoke({"task": "talk"})
    assert order(out) == ["eve", "ann", "eve"]
    assert out["usage"]["chair"]["calls"] == 3


async def test_the_manager_sees_the_task_the_candidates_and_the_conversation() -> None:
    chair = manager("eve", "ann")
    await build(team(), select=chair, max_turns=2).ainvoke({"task": "peace"})
    first, second = prompts(chair)
    assert [word for word in ("peace", "- ann: Does ann.", "- eve") if word not in first] == []
    assert "eve says" in second
    assert "- eve" not in second


@pytest.mark.parametrize("word", ["bob", " Bob. ", "@bob", "I think bob should go on."])
async def test_an_agent_manager_may_say_the_name_in_its_own_words(word: str) -> None:
    out = await build(team(), select=says("chair", word), max_turns=1).ainvoke({"task": "talk"})
    assert (order(out), out["refused"]) == (["bob"], [])


async def test_a_pattern_manages() -> None:
    accept = scripted("editor", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)
    chair = bind(agent("board"), critic.build(says("drafter", "eve"), [accept]))
    out = await build(team(), select=chair, max_turns=1).ainvoke({"task": "talk"})
    assert (order(out), out["usage"]["drafter"]["calls"]) == (["eve"], 1)


async def test_nobody_speaks_twice_in_a_row_unless_allowed() -> None:
    out = await build(team(), select=lambda now: "bob", max_turns=3).ainvoke({"task": "talk"})
    assert order(out) == ["bob", "eve", "bob"]
    out = await build(team(), select=lambda now: "bob", max_turns=3, allow_repeats=True).ainvoke({"task": "talk"})
    assert order(out) == ["bob", "bob", "bob"]


async def test_only_allowed_transitions_are_taken() -> None:
    only = {"ann": ["eve"], "eve": ["bob"]}
    out = await build(team(), select=manager("ann"), transitions=only, max_turns=4).ainvoke({"task": "talk"})
    assert order(out) == ["ann", "eve", "bob", "ann"]
    assert out["usage"]["chair"]["calls"] == 2


async def test_a_transition_to_nobody_ends_the_conversation() -> None:
    out = await build(team("ann", "bob"), transitions={"bob": []}).ainvoke({"task": "talk"})
    assert (order(out), out["outcome"], out["reason"]) == (["ann", "bob"], "completed", "nobody may speak after bob")


async def test_a_single_candidate_is_not_asked_for() -> None:
    chair = manager("ann")
    out = await build(team("ann", "bob"), select=chair, max_turns=4).ainvoke({"task": "talk"})
    assert (order(out), out["usage"]["chair"]["calls"]) == (["ann", "bob", "ann", "bob"], 1)


# Invalid selections


async def test_an_unknown_speaker_is_asked_again_with_the_list_of_names() -> None:
    chair = manager("zoe", "eve")
    out = await build(team(), select=chair, max_turns=1).ainvoke({"task": "talk"})
    assert order(out) == ["eve"]
    assert "'zoe' names no participant. Name one of: ann, bob, eve" in prompts(chair)[1]
    assert out["refused"] == [{"turn": 1, "fault": "'zoe' names no participant", "then": "asked again"}]
    assert "1 invalid selection(s)" in out["reason"]


@pytest.mark.parametrize("reasks", [0, 1, 3])
async def test_it_then_falls_to_round_robin_and_is_recorded(reasks: int) -> None:
    chair = manager("zoe")
    out = await build(team(), select=chair, max_turns=2, max_reasks=reasks).ainvoke({"task": "talk"})
    assert order(out) == ["ann", "bob"]
    assert out["usage"]["chair"]["calls"] == 2 * (1 + reasks)
    again = ["asked again"] * reasks
    assert [r["then"] for r in out["refused"]] == [*again, "ann in turn", *again, "bob in turn"]
    assert (out["outcome"], out["floor"]["refused"]) == ("completed", 2 * (1 + reasks))


async def test_who_may_not_speak_now_is_an_invalid_selection() -> None:
    out = await build(team(), select=manager("bob"), max_turns=2, max_reasks=0).ainvoke({"task": "talk"})
    assert (order(out), out["refused"][0]["fault"]) == (["bob", "eve"], "'bob' may not speak now")


async def test_only_the_newest_invalid_selections_are_kept_and_all_are_counted() -> None:
    out = await build(team(), select=lambda now: "zoe", max_turns=50).ainvoke({"task": "talk"})
    assert (len(out["refused"]), out["floor"]["refused"]) == (20, 50)
    assert (out["refused"][-1]["turn"], "50 invalid selection(s)" in out["reason"]) == (50, True)


async def test_a_selecting_function_that_raises_falls_to_round_robin() -> None:
    def wrong(now: Any) -> str:
        return str(1 / 0)

    out = await build(team(), select=wrong, max_turns=2).ainvoke({"task": "talk"})
    assert (order(out), out["refused"][0]["fault"]) == (["ann", "bob"], "ZeroDivisionError: division by zero")


async def test_a_manager_that_fails_is_named_and_the_next_in_turn_speaks() -> None:
    out = await build(team(), select=breaks("chair", output=Selection), max_turns=2).ainvoke({"task": "talk"})
    assert (order(out), out["outcome"]) == (["ann", "bob"], "degraded")
    assert "chair: lost its voice" in out["reason"]


# What they see


async def test_each_sees_task_and_conversation_under_the_speakers_names() -> None:
    voices = team()
    await build(voices, max_turns=3).ainvoke({"task": {"goal": "make peace", "constraints": ["softly"]}})
    (seen,) = prompts(voices[2])
    assert seen.splitlines()[0] == "make peace"
    for word in ("softly", '{"from": "ann", "text": "ann says"}', '"bob says"', "You are eve", "with ann, bob"):
        assert word in seen


@pytest.mark.parametrize(("window", "last"), [(2, 2), ({"ann": 3}, 3), ({"bob": 1}, 10)])
async def test_a_window_bounds_what_is_seen_and_not_what_is_kept(window: Any, last: int) -> None:
    count = iter(range(100))
    ann = bind(agent("ann"), Scripted(script=lambda m, t: f"word {next(count)}"))
    bob = bind(agent("bob"), Scripted(script=lambda m, t: f"word {next(count)}"))
    out = await build([ann, bob], max_turns=11, window=window).ainvoke({"task": "talk"})
    assert [m.text for m in out["talk"]] == [f"word {n}" for n in range(11)]
    seen = prompts(ann)[-1]
    assert [n for n in range(10) if f'"word {n}"' in seen] == list(range(10 - last, 10))


async def test_what_leaves_the_window_is_summarised_and_still_kept() -> None:
    count, asked = iter(range(100)), []

    def sum_up(messages: Any, tools: Any) -> str:
        asked.append(messages[1].text)
        return f"summary {len(asked)}"

    voices = [bind(agent(n), Scripted(script=lambda m, t: f"word {next(count)}")) for n in ("ann", "bob")]
    scribe = bind(agent("scribe"), Scripted(script=sum_up))
    out = await build(voices, max_turns=7, window=2, summarize=scribe).ainvoke({"task": "talk"})
    assert len(out["talk"]) == 7
    assert [[n for n in range(7) if f'"word {n}"' in text] for text in asked] == [[0, 1], [2, 3]]
    assert "summary 1" in asked[1]
    seen = prompts(voices[0])[-1]
    assert "summary 2" in seen
    assert [n for n in range(7) if f'"word {n}"' in seen] == [4, 5]
    assert formula("group_chat", turns=7, selections=0, summaries=2, answers=0) == out["usage"]["total"]["calls"]


async def test_a_summary_that_fails_is_named() -> None:
    out = await build(team(), max_turns=7, window=2, summarize=breaks("scribe")).ainvoke({"task": "talk"})
    assert (out["outcome"], len(out["talk"])) == ("degraded", 7)
    assert "scribe: lost its voice" in out["reason"]


async def test_an_agent_writes_the_answer_from_the_conversation() -> None:
    writer = says("writer", "all in all")
    out = await build(team(), max_turns=3, answer=writer).ainvoke({"task": "talk"})
    assert (out["answer"]["text"], out["messages"][-1].name, out["outcome"]) == ("all in all", "writer", "completed")
    assert [word for word in ("talk", "ann says", "eve says") if word not in prompts(writer)[0]] == []
    assert order(out) == ["ann", "bob", "eve"]


async def test_without_its_writer_the_last_word_is_the_answer() -> None:
    out = await build(team(), max_turns=3, answer=breaks("writer")).ainvoke({"task": "talk"})
    assert (out["answer"]["text"], out["outcome"]) == ("eve says", "degraded")
    assert "writer: lost its voice" in out["reason"]


# Drawing, cost, build


@pytest.mark.parametrize(
    ("graph", "drawn"),
    [
        (
            build(team()),
            "__start__ -> begin, ann -> bob, ann -> finish, begin -> select, bob -> eve, bob -> finish, eve -> ann, "
            "eve -> finish, finish -> __end__, select -> ann",
        ),
        (
            build(team("ann", "bob"), select=manager("ann"), answer=says("writer", "x")),
            "__start__ -> begin, ann -> answer, ann -> finish, ann -> select, answer -> finish, begin -> select, "
            "bob -> answer, bob -> finish, bob -> select, finish -> __end__, select -> ann, select -> answer, "
            "select -> bob, select -> finish, select -> select",
        ),
        (
            build(team(), select=lambda now: "ann", transitions={"ann": ["bob"], "bob": []}, summarize=says("s", "x")),
            "__start__ -> begin, ann -> bob, ann -> finish, ann -> summarize, begin -> select, bob -> finish, "
            "bob -> summarize, eve -> ann, eve -> bob, eve -> finish, eve -> summarize, finish -> __end__, "
            "select -> ann, select -> bob, select -> eve, summarize -> ann, summarize -> bob, summarize -> finish",
        ),
    ],
    ids=["round robin", "managed", "function"],
)
def test_the_drawing_is_the_figure(graph: Graph, drawn: str) -> None:
    assert edges(graph) == drawn.split(", ")


@pytest.mark.parametrize("turns", [1, 4])
async def test_the_cost_is_as_the_catalogue_says(turns: int) -> None:
    graph = build(team(), select=manager("ann", "eve"), allow_repeats=True, max_turns=turns, answer=says("writer", "x"))
    out = await graph.ainvoke({"task": "talk"})
    calls = out["usage"]["total"]["calls"]
    assert formula("group_chat", turns=turns, selections=turns, summaries=0, answers=1) == calls
    least, most = calls_of(graph).least, calls_of(graph).most
    assert least <= calls <= (most or 0)


def test_the_least_and_the_most_calls_follow_from_the_options() -> None:
    once = Limits(repairs=0)
    voices = [says(name, "x", limits=once) for name in ("ann", "bob")]
    assert str(calls_of(build(voices, max_turns=5))) == "1 to 5"
    chair, aide = manager("ann", limits=once), says("aide", "x", limits=once)
    assert str(calls_of(build(voices, max_turns=5, select=chair))) == "2 to 15"
    assert str(calls_of(build(voices, max_turns=5, window=2, summarize=aide, answer=aide))) == "2 to 8"


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (lambda: build([]), "0 participant"),
        (lambda: build(team("ann")), "at least two"),
        (lambda: build(team("ann", "ann")), "rename the agent"),
        (lambda: build(team("ann", "select")), "a role of the pattern"),
        (lambda: build([*team("ann"), agent("bob", input=Selection)]), "'bob' takes Selection"),
        (lambda: build(team(), select=42), "`select` is 42"),  # type: ignore[arg-type]
        (lambda: build(team(), select=says("chair", "x", output=Critique)), "'chair' must return a Selection"),
        (lambda: build(team(), until=42), "42 ends no conversation"),  # type: ignore[arg-type]
        (lambda: build(team(), max_turns=0), "`max_turns` must be at least 1"),
        (lambda: build(team(), select=manager("ann"), max_reasks=-1), "`max_reasks` must be 0 or more"),
        (lambda: build(team(), window=0), "`window` of 'ann' is 0"),
        (lambda: build(team(), window={"zoe": 3}), "`window` of 'zoe'"),
        (lambda: build(team(), transitions={"ann": ["zoe"]}), "name zoe, who take no part"),
        (lambda: build(team(), transitions={"ann": ["bob"], "bob": ["ann"]}), "in turn, eve would never speak"),
    ],
)
def test_what_cannot_work_is_refused_at_build_time(made: Callable[[], Any], fault: str) -> None:
    with pytest.raises(ContractError, match=fault):
        made()


async def test_the_default_graph_discusses_and_answers_without_a_key(tmp_path: Any) -> None:
    (tmp_path / "facts.md").write_text("# Tides\n\nThe tide rises twice a day, every 12 hours and 25 minutes.\n")
    out = await default.ainvoke({"task": "How often does the tide rise?"}, context={"docs": str(tmp_path)})
    assert (out["outcome"], out["messages"][-1].name, len(out["talk"])) == ("completed", "writer", 4)
    assert "twice a day" in out["answer"]["text"]
