"""Group chat: what ends it, what a turn that fails costs, and persons and graphs who take part."""

from typing import Any

import pytest
from langgraph.types import Command
from scripted import Scripted
from test_group_chat import agent, breaks, manager, order, prompts, says, team

from graphs.bind import bind
from graphs.group_chat import build
from runtime.persistence import Persistence
from runtime.stop import stop
from runtime.travel import at, fork
from state.agent import ABORT, PERSON
from state.condition import agreement, external, max_messages, max_turns, said_by, text_mention, token_budget, wall_time
from state.record import repeated
from state.speaker import Selection

# What ends it


@pytest.mark.parametrize(
    ("until", "turns", "outcome", "why"),
    [
        (max_turns(2), 2, "completed", "2 turn(s) were taken"),
        (max_messages(3), 3, "completed", "3 message(s) stand in the conversation"),
        (text_mention("bob says"), 2, "completed", "bob said 'bob says'"),
        (said_by("eve"), 3, "completed", "eve said 'eve says'"),
        (said_by("ann") & said_by("bob"), 2, "completed", "ann said 'ann says'; bob said 'bob says'"),
        (token_budget(40), 3, "completed", "45 tokens were used, 40 were given"),
        (text_mention("never") | max_turns(2), 2, "degraded", "2 turn(s) were taken"),
        (text_mention("never"), 5, "degraded", "5 turn(s) were taken, the most allowed"),
        (lambda now: now.turns == 4, 4, "completed", "<lambda> holds"),
        (lambda now: "it is late" if now.turns == 4 else "", 4, "completed", "it is late"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # a function shows its address, another in each process
)
async def test_a_condition_ends_it_and_says_why(until: Any, turns: int, outcome: str, why: str) -> None:
    out = await build(team(), until=until, max_turns=5).ainvoke({"task": "talk"})
    assert (len(out["talk"]), out["outcome"], out["reason"]) == (turns, outcome, why)


async def test_agreement_of_all_ends_it() -> None:
    voices = [says("ann", "No.", "yes"), says("bob", "Yes!"), says("eve", "  YES ")]
    out = await build(voices, until=agreement()).ainvoke({"task": "is it?"})
    assert (len(out["talk"]), out["outcome"], out["reason"]) == (4, "completed", "ann, bob, eve agree: 'yes'")


async def test_wall_time_comes_from_the_state_and_not_from_a_clock_in_the_condition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hours = iter(range(100))
    monkeypatch.setattr("nodes.group_chat.now", lambda: 3600.0 * next(hours))
    out = await build(team(), until=wall_time(3 * 3600)).ainvoke({"task": "talk"})
    assert (len(out["talk"]), out["floor"]["now"] - out["floor"]["since"]) == (3, 10800)
    assert out["reason"] == "10800 s have passed, 10800 were given"


async def test_a_word_from_outside_stops_it_with_the_answer_so_far(memory: Persistence) -> None:
    async def interrupted(task: Any) -> str:
        await stop(memory.store, "t", "dinner is ready")
        return "hold on"

    graph = memory.bind(build([*team("ann"), bind(agent("bob"), interrupted)], until=external()))
    out = await graph.ainvoke({"task": "talk"}, at("t"))
    assert (order(out), out["outcome"]) == (["ann", "bob"], "cancelled")
    assert (out["reason"], out["answer"]["text"]) == ("stopped from outside: dinner is ready", "hold on")


async def test_a_stop_does_not_reach_a_later_turn_or_another_thread(memory: Persistence) -> None:
    graph = memory.bind(build(team(), until=external() | max_turns(2)))
    await stop(memory.store, "t", "before it began")
    out = await graph.ainvoke({"task": "talk"}, at("t"))
    other = await graph.ainvoke({"task": "talk"}, at("other"))
    assert [len(found["talk"]) for found in (out, other)] == [2, 2]


async def test_a_condition_that_raises_ends_it_in_an_outcome() -> None:
    out = await build(team(), until=lambda now: 1 / 0).ainvoke({"task": "talk"})  # type: ignore[arg-type, return-value]
    assert (out["outcome"], len(out["talk"])) == ("degraded", 1)
    assert "ZeroDivisionError" in out["reason"]


async def test_too_few_super_steps_end_it_well() -> None:
    out = await build(team(), max_turns=100).ainvoke({"task": "talk"}, {"recursion_limit": 25})
    assert out["outcome"] == "degraded"
    assert "no super-steps are left" in out["reason"]
    assert out["answer"] is not None


@pytest.mark.parametrize("managed", [False, True])
async def test_500_turns_meet_no_limit_of_the_engine(managed: bool) -> None:
    voices = [bind(agent(name), lambda task: "on and on") for name in ("ann", "bob")]
    chair = bind(agent("chair", output=Selection), lambda task: {"speaker": "ann"}) if managed else None
    graph = build(voices, max_turns=500, allow_repeats=managed, **({"select": chair} if chair else {}))
    out = await graph.ainvoke({"task": "talk"})
    assert (len(out["talk"]), out["outcome"]) == (500, "completed")


# Failures


async def test_a_turn_that_fails_is_skipped_and_named() -> None:
    ann, eve = team("ann", "eve")
    out = await build([ann, breaks("bob"), eve], max_turns=6).ainvoke({"task": "talk"})
    assert (order(out), out["outcome"]) == (["ann", "eve", "ann", "eve"], "degraded")
    assert "bob was skipped 2 time(s): bob: lost its voice" in out["reason"]
    assert out["faults"]["bob"]["skipped"] == 2


async def test_when_all_fail_it_ends() -> None:
    out = await build([breaks("ann"), breaks("bob")], max_turns=50).ainvoke({"task": "talk"})
    assert (out["outcome"], out["answer"], out["floor"]["turns"]) == ("failed", None, 2)
    assert [part for part in ("nobody could speak", "ann", "bob") if part not in out["reason"]] == []


async def test_who_aborts_ends_it_with_the_answer_so_far() -> None:
    out = await build([*team("ann"), breaks("bob", on_failure=ABORT)]).ainvoke({"task": "talk"})
    assert (out["outcome"], out["answer"]["text"], order(out)) == ("degraded", "ann says", ["ann"])


async def test_a_budget_that_ends_in_the_middle_leaves_the_best_answer() -> None:
    out = await build(team(), answer=says("writer", "x")).ainvoke({"task": "talk"}, context={"max_calls": 2})
    assert (out["outcome"], out["answer"]["text"], out["usage"]["total"]["calls"]) == ("out_of_budget", "bob says", 2)


async def test_a_team_that_ran_out_of_budget_inside_ends_it_with_what_it_has() -> None:
    inner = bind(agent("board"), build(team("ann", "bob"), max_turns=4))
    out = await build([inner, *team("eve")]).ainvoke({"task": "talk"}, context={"max_calls": 2})
    assert (out["outcome"], out["answer"]["text"], order(out)) == ("out_of_budget", "bob says", ["board"])


async def test_a_crash_repeats_no_turn_that_was_taken(sqlite: Persistence) -> None:
    class Crash(BaseException):
        pass

    once = [Crash()]

    def falls(messages: Any, tools: Any) -> str:
        if once:
            raise once.pop()
        return "eve says"

    graph = sqlite.bind(build([*team("ann", "bob"), bind(agent("eve"), Scripted(script=falls))], max_turns=4))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "talk"}, at("t"), durability="sync")
    out = await graph.ainvoke(None, at("t"), durability="sync")
    assert order(out) == ["ann", "bob", "eve", "ann"]
    assert repeated([item.value for item in sqlite.store.search(("book",), limit=100)]) == []  # type: ignore[misc]


async def test_a_fork_gives_the_floor_to_another_and_goes_on(memory: Persistence) -> None:
    graph = memory.bind(build(team(), select=lambda now: now.candidates[0], max_turns=3))
    await graph.ainvoke({"task": "talk"}, at("t"), durability="sync")
    (before,) = [s async for s in graph.aget_state_history(at("t")) if s.next == ("bob",)]
    floor = before.values["floor"] | {"next": "eve"}
    await fork(graph, "t", before.config["configurable"]["checkpoint_id"], values={"floor": floor})
    out = await graph.ainvoke(None, at("t"), durability="sync")
    assert (order(out), out["outcome"]) == (["ann", "eve", "ann"], "completed")


async def test_a_second_turn_talks_anew_and_knows_what_was_answered(memory: Persistence) -> None:
    voices = team("ann", "bob")
    graph = memory.bind(build(voices, max_turns=2))
    await graph.ainvoke({"task": "one"}, at("t"))
    out = await graph.ainvoke({"task": "two"}, at("t"))
    assert (order(out), out["floor"]["turns"]) == (["ann", "bob"], 2)
    assert "bob says" in prompts(voices[0])[1]


# Persons and graphs


async def test_a_person_takes_part_and_is_answered_from_outside(memory: Persistence) -> None:
    ann, eve = team("ann", "eve")
    graph = memory.bind(build([ann, bind(agent("bob"), PERSON), eve], max_turns=3))
    waiting = await graph.ainvoke({"task": "talk"}, at("t"), durability="sync")
    (question,) = waiting["__interrupt__"]
    assert question.value["kind"] == "input"
    assert "ann says" in str(question.value["case"])
    answer = Command(resume={"decisions": [{"type": "respond", "message": "here I am"}]})
    out = await graph.ainvoke(answer, at("t"), durability="sync")
    assert [(m.name, m.type) for m in out["talk"]] == [("ann", "ai"), ("bob", "human"), ("eve", "ai")]
    assert "here I am" in prompts(eve)[0]
    assert out["usage"]["ann"]["calls"] == 1


async def test_a_person_who_declines_is_skipped_and_named(memory: Persistence) -> None:
    graph = memory.bind(build([*team("ann"), bind(agent("bob"), PERSON)], max_turns=2))
    await graph.ainvoke({"task": "talk"}, at("t"), durability="sync")
    no = Command(resume={"decisions": [{"type": "reject", "message": "not now"}]})
    out = await graph.ainvoke(no, at("t"), durability="sync")
    assert (out["outcome"], order(out)) == ("degraded", ["ann"])
    assert "bob: declined: not now" in out["reason"]


async def test_a_chat_is_an_agent_of_a_chat() -> None:
    inner = bind(agent("board"), build(team("ann", "bob"), max_turns=2))
    out = await build([inner, *team("eve")], max_turns=2).ainvoke({"task": "talk"})
    assert [(m.name, m.text) for m in out["talk"]] == [("board", "bob says"), ("eve", "eve says")]
    assert out["usage"]["ann"]["calls"] == 1


async def test_an_output_of_another_form_is_said_as_json() -> None:
    out = await build([*team("ann"), says("bob", "x"), manager("x")], max_turns=3).ainvoke({"task": "talk"})
    assert out["talk"][-1].text == '{"speaker": "x", "reason": "their turn"}'
    assert out["answer"] == {"speaker": "x", "reason": "their turn"}
