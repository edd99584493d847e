import asyncio
from typing import Any

import pytest
from costs import formula
from langgraph.types import Command
from makers import scripted
from scripted import Scripted

from graphs import critic, handoff, magentic
from graphs.bind import Bindable, bind
from nodes.agent import Bound
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import at, fork
from state.agent import ABORT, ESCALATE, PERSON, Agent
from state.critic import Critique
from state.errors import ContractError
from state.magentic import ProgressLedger, TaskLedger
from state.record import Record, repeated


def ledger(*steps: str, facts: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    plan = [{"worker": "worker", "task": step} for step in steps or ("do it",)]
    return {"facts_given": list(facts), "plan": plan, **more}


def said(*, done: bool = False, loop: bool = False, on: bool = True, who: str = "worker", do: str = "") -> Any:
    return {
        "satisfied": {"reason": "all is there" if done else "parts are missing", "holds": done},
        "in_loop": {"reason": "the same again" if loop else "all new", "repeats": loop},
        "progress": {"reason": "it moves" if on else "nothing new", "holds": on},
        "next_speaker": {"reason": "knows best", "speaker": who},
        "instruction": {"reason": "is next", "instruction": do},
    }


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    worker = bind(who)

    def judge(task: Any) -> Any:
        return said(done="result" in task.context, who=worker.agent.name)

    return magentic.build(
        bind(agent("planner", output=TaskLedger), lambda task: ledger()),
        bind(agent("manager", output=ProgressLedger), judge),
        [worker],
        scripted("editor", lambda m, t: m[1].text.rsplit('": "', 1)[-1].split('"')[0]),
    )


CONFIG: Any = {"configurable": {"thread_id": "t"}}
DONE = said(done=True)
LOOP, STUCK = said(loop=True), said(on=False)


class Crash(BaseException):
    pass


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Does {name}.", **options)


def script(name: str, *answers: Any, form: str = "", **options: Any) -> Bound:
    """A model that says one after the other, and the last one again and again."""
    left = list(answers)

    def says(messages: Any, tools: Any) -> Any:
        now = left.pop(0) if len(left) > 1 else left[0]
        return now if isinstance(now, str) else [(form, now)]

    return bind(agent(name, **options), Scripted(script=says))


def planner(*answers: Any, **options: Any) -> Bound:
    return script("planner", *(answers or [ledger()]), form="TaskLedger", output=TaskLedger, **options)


def manager(*answers: Any, **options: Any) -> Bound:
    return script("manager", *answers, form="ProgressLedger", output=ProgressLedger, **options)


def breaks(name: str, **options: Any) -> Bound:
    def broken(task: Any) -> Any:
        raise ValueError("out of ink")

    return bind(agent(name, **options), broken)


def team(*judged: Any, plans: Bound | None = None, workers: Any = None, writer: Any = None, **options: Any) -> Graph:
    hands = workers or [script("worker", "the word")]
    return magentic.build(
        plans or planner(), manager(*judged), hands, writer or script("writer", "the answer"), **options
    )


def shown(bound: Bound) -> list[str]:
    """What a model was shown, call by call."""
    assert isinstance(bound.by, Scripted)
    return [messages[1].text for messages in bound.by.calls]


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


# The two loops


async def test_workers_go_on_by_the_managers_word_until_the_request_is_satisfied() -> None:
    one, two = script("one", "first word"), script("two", "second word")
    judge = manager(said(who="one", do="begin"), said(who="two", do="go on"), DONE)
    out = await magentic.build(planner(), judge, [one, two], script("writer", "the answer")).ainvoke({"task": "x"})
    assert (out["outcome"], out["reason"], out["answer"]["text"]) == ("completed", "", "the answer")
    assert out["messages"][-1].name == "writer"
    assert [(m.name, m.text) for m in out["talk"]] == [
        ("manager", "To one: begin"), ("one", "first word"), ("manager", "To two: go on"), ("two", "second word"),
    ]  # fmt: skip


async def test_the_task_ledger_has_facts_guesses_and_plan_and_is_typed() -> None:
    made = ledger("count", facts=("there are ten",), questions_to_look_up=["which"], to_derive=["how many"])
    out = await team(DONE, plans=planner(made)).ainvoke({"task": "x"})
    assert TaskLedger.model_validate(out["ledger"]).model_dump() == {**made, "guesses": []}


async def test_every_word_of_the_progress_ledger_has_its_reason() -> None:
    out = await team(said(who="worker"), DONE).ainvoke({"task": "x"})
    assert all(word["reason"] for word in ProgressLedger.model_validate(out["progress"]).model_dump().values())


async def test_workers_get_what_they_need_of_the_task_not_only_an_instruction() -> None:
    worker = script("worker", "the word")
    task = {"goal": "the whole", "context": {"atlas": "maps"}, "constraints": ["in one word"], "success": ["short"]}
    judged = [said(do="look"), said(do="look again"), DONE]
    await team(*judged, plans=planner(ledger(facts=("known",))), workers=[worker]).ainvoke({"task": task})
    first, second = shown(worker)
    wanted = ("look", "the whole", "maps", "in one word", "short", "known")
    assert [word for word in wanted if word not in first] == []
    assert "To worker: look" in second
    assert "the word" in second


async def test_the_manager_judges_by_the_whole_task() -> None:
    judge = manager(said(do="look"), DONE)
    graph = magentic.build(planner(ledger(facts=("known",))), judge, [script("worker", "w")], script("writer", "a"))
    await graph.ainvoke({"task": {"goal": "the whole", "context": {"atlas": "maps"}, "success": ["short"]}})
    wanted = ("the whole", "maps", "short", "known", "Does worker", "To worker: look")
    assert [word for word in wanted if word not in shown(judge)[1]] == []


async def test_without_an_instruction_a_worker_is_given_the_task() -> None:
    worker = script("worker", "the word")
    await team(said(do=" "), DONE, workers=[worker]).ainvoke({"task": "the whole"})
    assert shown(worker)[0].splitlines()[0] == "the whole"


async def test_the_answer_is_written_from_the_whole_talk() -> None:
    words, writer = [f"word {n}" for n in range(6)], script("writer", "the answer")
    judged = [*(said(do=f"order {n}") for n in range(6)), DONE]
    await team(*judged, workers=[script("worker", *words)], writer=writer, window=1).ainvoke({"task": "x"})
    assert all(f"order {n}" in shown(writer)[0] and f"word {n}" in shown(writer)[0] for n in range(6))


async def test_workers_and_manager_see_the_newest_of_a_long_talk() -> None:
    worker, judge = script("worker", *(f"word {n}" for n in range(6))), manager(*[said(do="go")] * 6, DONE)
    await magentic.build(planner(), judge, [worker], script("writer", "a"), window=2).ainvoke({"task": "x"})
    for text in (shown(worker)[-1], shown(judge)[5]):
        assert "word 2" not in text
        assert "word 4" in text


async def test_every_ledger_is_in_the_history(memory: Persistence) -> None:
    plans = planner(ledger("first"), ledger("second"))
    graph = memory.bind(team(said(), STUCK, said(do="anew"), DONE, plans=plans, max_stalls=0))
    await graph.ainvoke({"task": "x"}, CONFIG)
    values = [s.values async for s in graph.aget_state_history(CONFIG)][::-1]
    steps = [v["ledger"]["plan"][0]["task"] for v in values if v.get("ledger")]
    assert list(dict.fromkeys(steps)) == ["first", "second"]
    assert {v["standing"]["round"]: v["progress"]["instruction"]["instruction"] for v in values if v.get("progress")}[
        3
    ] == "anew"


async def test_of_a_long_talk_every_message_is_kept() -> None:
    out = await team(*[said(do="go")] * 150, DONE, max_rounds=150).ainvoke({"task": "x"})
    assert (out["outcome"], len(out["talk"]), out["standing"]["round"]) == ("completed", 300, 151)


# Stalls, new plans, bounds


async def test_stalls_rise_on_a_loop_or_no_progress_and_fall_on_progress(memory: Persistence) -> None:
    graph = memory.bind(team(said(), LOOP, STUCK, said(), DONE))
    await graph.ainvoke({"task": "x"}, CONFIG)
    values = [s.values async for s in graph.aget_state_history(CONFIG)][::-1]
    now = [v["standing"] for v in values if v.get("progress")]
    counted = {n["round"]: n["stalls"] for n in now}
    assert counted == {1: 0, 2: 1, 3: 2, 4: 1, 5: 1}


async def test_before_anybody_spoke_nothing_stalls() -> None:
    out = await team(STUCK, DONE, max_stalls=0, max_resets=0).ainvoke({"task": "x"})
    assert (out["outcome"], out["standing"]["stalls"]) == ("completed", 0)


async def test_a_new_plan_is_made_of_the_full_talk_and_resets_team_and_counter() -> None:
    worker, plans = script("worker", "word 1", "word 2", "word 3"), planner(ledger("first"), ledger("second"))
    judged = [said(do="order 1"), said(do="order 2"), LOOP, said(do="order 3"), DONE]
    graph = team(*judged, plans=plans, workers=[worker], max_stalls=0, window=1)
    out = await graph.ainvoke({"task": "x"})
    assert (out["outcome"], out["standing"]["resets"], out["standing"]["stalls"]) == ("completed", 1, 0)
    replanned = shown(plans)[1]
    wanted = ("order 1", "word 1", "order 2", "word 2", "first", "the same again")
    assert [word for word in wanted if word not in replanned] == []
    assert "word 2" not in shown(worker)[2]
    assert len(out["talk"]) == 6


async def test_after_its_new_plans_a_team_that_stalls_gives_its_best_answer_degraded() -> None:
    writer = script("writer", "as far as we know")
    out = await team(said(), LOOP, writer=writer, max_stalls=1, max_resets=2).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"], out["standing"]["resets"]) == ("degraded", "as far as we know", 2)
    assert out["reason"] == "stalled again after 2 new plan(s): parts are missing; the same again"
    assert "the word" in shown(writer)[0]
    assert "stalled again" in shown(writer)[0]


async def test_the_rounds_are_bounded_and_the_last_word_is_still_judged() -> None:
    worker = script("worker", "the word")
    out = await team(said(), workers=[worker], max_rounds=3).ainvoke({"task": "x"})
    assert (out["outcome"], len(shown(worker)), out["answer"]["text"]) == ("degraded", 3, "the answer")
    assert out["reason"] == "not done after 3 round(s): parts are missing"
    just = await team(said(), DONE, max_rounds=1).ainvoke({"task": "x"})
    assert just["outcome"] == "completed"


async def test_near_the_engines_limit_the_answer_comes_in_time() -> None:
    out = await team(said(), max_rounds=500).ainvoke({"task": "x"}, {"recursion_limit": 20})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "the answer")
    assert "steps ran out" in out["reason"]


async def test_a_spent_budget_returns_the_newest_word() -> None:
    out = await team(said()).ainvoke({"task": "x"}, context={"max_calls": 4})
    assert (out["outcome"], out["answer"]["text"], out["messages"][-1].name) == ("out_of_budget", "the word", "worker")


# Ledgers that are no use


async def test_a_ledger_that_does_not_parse_costs_one_repair_and_counts_as_a_stall() -> None:
    judge = manager("gibberish")
    graph = magentic.build(planner(), judge, [script("worker", "w")], script("writer", "a"), max_stalls=1, max_resets=1)
    out = await graph.ainvoke({"task": "x"})
    assert (out["outcome"], out["standing"]["resets"], len(shown(judge))) == ("degraded", 1, 8)
    assert "manager: no valid answer after 1 repair(s)" in out["reason"]
    assert formula("magentic", plans=2, ledgers=8, turns=0) == out["usage"]["total"]["calls"]


async def test_a_ledger_that_parses_the_second_time_is_no_stall() -> None:
    out = await team("gibberish", said(), DONE).ainvoke({"task": "x"})
    assert (out["outcome"], out["standing"]["stalls"]) == ("completed", 0)


async def test_without_a_task_ledger_the_team_works_and_the_answer_says_so() -> None:
    out = await team(said(do="go"), DONE, plans=planner("gibberish")).ainvoke({"task": "x"})
    assert (out["outcome"], out["ledger"], out["answer"]["text"]) == ("degraded", None, "the answer")
    assert "planner: no valid answer" in out["reason"]


async def test_a_new_plan_that_does_not_parse_leaves_the_old_one_and_one_stall() -> None:
    judge = manager(said(), LOOP, LOOP, said(), DONE)
    graph = magentic.build(
        planner(ledger("first"), "gibberish"), judge, [script("worker", "w")], script("writer", "a"), max_stalls=1
    )
    out = await graph.ainvoke({"task": "x"})
    assert (out["ledger"]["plan"][0]["task"], out["standing"]["resets"], out["standing"]["stalls"]) == ("first", 1, 1)
    assert (out["outcome"], "planner: no valid answer" in out["reason"]) == ("degraded", True)


async def test_an_unknown_speaker_is_asked_for_again_with_the_names() -> None:
    judge = manager(said(who="nobody"), said(), DONE)
    out = await magentic.build(planner(), judge, [script("worker", "w")], script("writer", "a")).ainvoke({"task": "x"})
    assert (out["outcome"], out["standing"]["stalls"], out["standing"]["round"]) == ("completed", 0, 2)
    assert "no worker is called 'nobody'; name one of worker" in shown(judge)[1]


async def test_an_unknown_speaker_twice_counts_as_a_stall() -> None:
    judge = manager(said(who="nobody"))
    graph = magentic.build(planner(), judge, [script("worker", "w")], script("writer", "a"), max_stalls=1, max_resets=0)
    out = await graph.ainvoke({"task": "x"})
    assert (out["outcome"], len(shown(judge)), out["talk"]) == ("degraded", 4, [])
    assert "no worker is called 'nobody'" in out["reason"]


# Failures of the team


async def test_a_worker_that_fails_is_reported_to_the_manager_who_may_choose_another() -> None:
    judge = manager(said(who="one"), said(who="two"), DONE)
    out = await magentic.build(planner(), judge, [breaks("one"), script("two", "w")], script("writer", "a")).ainvoke(
        {"task": "x"}
    )
    assert "could not do it: one: out of ink" in shown(judge)[1]
    assert (out["outcome"], out["reason"]) == ("degraded", "one: out of ink")


async def test_who_makes_good_or_is_planned_around_is_missing_no_more() -> None:
    flaky = iter([ValueError("out of ink"), "mended"])

    def sometimes(task: Any) -> Any:
        now = next(flaky)
        if isinstance(now, Exception):
            raise now
        return now

    out = await team(said(), said(), DONE, workers=[bind(agent("worker"), sometimes)]).ainvoke({"task": "x"})
    assert (out["outcome"], out["reason"]) == ("completed", "")
    hands = [breaks("worker"), script("two", "w")]
    around = await team(said(), STUCK, said(who="two"), DONE, workers=hands, max_stalls=0).ainvoke({"task": "x"})
    assert (around["outcome"], around["standing"]["resets"]) == ("completed", 1)


async def test_a_worker_whose_policy_is_to_abort_ends_the_turn_with_the_best_so_far() -> None:
    hands = [script("one", "so far"), breaks("two", on_failure=ABORT)]
    out = await team(said(who="one"), said(who="two"), workers=hands).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"], out["reason"]) == ("degraded", "so far", "two: out of ink")
    assert len(out["talk"]) == 4


async def test_a_writer_that_fails_leaves_the_newest_word() -> None:
    out = await team(said(), DONE, writer=breaks("writer")).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"], out["reason"]) == ("degraded", "the word", "writer: out of ink")


# People


def reviewed(memory: Persistence, plans: Bound, **options: Any) -> Graph:
    return memory.bind(team(said(), DONE, plans=plans, review_plan=True, **options))


def decide(kind: str, **more: Any) -> Command[Any]:
    return Command(resume={"decisions": [{"type": kind, **more}], "by": "ann"})


async def test_a_plan_is_shown_to_a_person_before_it_is_worked_by(memory: Persistence) -> None:
    worker = script("worker", "the word")
    graph = reviewed(memory, planner(ledger("first")), workers=[worker])
    (question,) = (await graph.ainvoke({"task": "x"}, CONFIG))["__interrupt__"]
    assert question.value["case"]["ledger"]["plan"][0]["task"] == "first"
    assert shown(worker) == []
    out = await graph.ainvoke(decide("approve"), CONFIG)
    assert (out["outcome"], len(shown(worker))) == ("completed", 1)


async def test_an_edited_plan_is_what_is_executed(memory: Persistence) -> None:
    plans, judge = planner(ledger("first")), manager(said(), DONE)
    graph = memory.bind(magentic.build(plans, judge, [script("worker", "w")], script("writer", "a"), review_plan=True))
    await graph.ainvoke({"task": "x"}, CONFIG)
    out = await graph.ainvoke(decide("edit", args={"plan": [{"worker": "worker", "task": "by hand"}]}), CONFIG)
    assert (out["outcome"], out["ledger"]["plan"][0]["task"]) == ("completed", "by hand")
    assert "by hand" in shown(judge)[0]
    assert "first" not in shown(judge)[0]


@pytest.mark.parametrize(
    ("args", "words"), [({"plan": [{"worker": "bob", "task": "x"}]}, "bob"), ({"plan": "x"}, "plan")]
)
async def test_an_edit_that_cannot_be_worked_by_is_refused(memory: Persistence, args: Any, words: str) -> None:
    graph = reviewed(memory, planner())
    await graph.ainvoke({"task": "x"}, CONFIG)
    with pytest.raises(Exception, match=words):
        await graph.ainvoke(decide("edit", args=args), CONFIG)
    assert (await graph.ainvoke(decide("approve"), CONFIG))["outcome"] == "completed"


async def test_feedback_makes_a_new_plan_at_most_so_often(memory: Persistence) -> None:
    plans = planner(ledger("first"), ledger("second"))
    graph = reviewed(memory, plans, max_reviews=1)
    await graph.ainvoke({"task": "x"}, CONFIG)
    (again,) = (await graph.ainvoke(decide("respond", message="too short"), CONFIG))["__interrupt__"]
    assert "too short" in shown(plans)[1]
    assert again.value["review_configs"][0]["allowed_decisions"] == ["approve", "edit", "reject"]
    out = await graph.ainvoke(decide("approve"), CONFIG)
    assert (out["ledger"]["plan"][0]["task"], out["standing"]["resets"]) == ("second", 0)
    assert formula("magentic", plans=2, ledgers=2, turns=1) == out["usage"]["total"]["calls"]


async def test_a_person_may_reject_the_plan(memory: Persistence) -> None:
    graph = reviewed(memory, planner())
    await graph.ainvoke({"task": "x"}, CONFIG)
    out = await graph.ainvoke(decide("reject", message="not now"), CONFIG)
    assert (out["outcome"], out["reason"]) == ("rejected", "the plan was rejected: not now")


async def test_a_person_can_be_a_worker(memory: Persistence) -> None:
    graph = memory.bind(team(said(do="what is it?"), DONE, workers=[bind(agent("worker"), PERSON)]))
    (question,) = (await graph.ainvoke({"task": "x"}, CONFIG))["__interrupt__"]
    assert question.value["case"]["task"]["goal"] == "what is it?"
    out = await graph.ainvoke(decide("respond", message="a tree"), CONFIG)
    assert (out["outcome"], out["talk"][-1].text) == ("completed", "a tree")


async def test_a_person_who_declines_an_escalation_ends_the_turn(memory: Persistence) -> None:
    graph = memory.bind(team(said(), workers=[breaks("worker", on_failure=ESCALATE)]))
    await graph.ainvoke({"task": "x"}, CONFIG)
    out = await graph.ainvoke(decide("reject", message="nor can I"), CONFIG)
    assert (out["outcome"], out["answer"]) == ("escalated", None)


# Threads


async def test_a_second_turn_sees_nothing_of_the_first(memory: Persistence) -> None:
    judge = manager(said(do="one"), DONE, said(do="two"), DONE)
    graph = memory.bind(magentic.build(planner(), judge, [script("worker", "w")], script("writer", "a")))
    await graph.ainvoke({"task": "first"}, CONFIG)
    out = await graph.ainvoke({"task": "second"}, CONFIG)
    assert ([m.text for m in out["talk"]], out["standing"]["round"]) == (["To worker: two", "w"], 2)
    assert "## result" not in shown(judge)[2]


async def test_after_a_crash_nobody_who_spoke_is_asked_again(sqlite: Persistence) -> None:
    count: list[int] = []

    async def crash_once(task: Any) -> Any:
        count.append(1)
        if len(count) == 1:
            raise Crash
        return "the second word"

    plans, first = planner(), script("one", "the first word")
    judged = [said(who="one"), said(who="two"), DONE]
    graph = sqlite.bind(team(*judged, plans=plans, workers=[first, bind(agent("two"), crash_once)]))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["outcome"], len(shown(plans)), len(shown(first)), len(count)) == ("completed", 1, 1, 2)
    assert repeated(records(sqlite)) == []
    assert len(out["talk"]) == 4


async def test_a_fork_sends_whom_the_changed_ledger_names(memory: Persistence) -> None:
    one, two = script("one", "first"), script("two", "second")
    graph = memory.bind(team(said(who="one"), DONE, workers=[one, two]))
    await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    step = await anext(s async for s in graph.aget_state_history(CONFIG) if s.next == ("one",))
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], values={"progress": said(who="two")})
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["talk"][-1].name, len(shown(one)), len(shown(two))) == ("two", 1, 1)


async def test_one_graph_serves_many_threads_at_once(memory: Persistence) -> None:
    graph = memory.bind(make(scripted("worker", lambda m, t: m[1].text.splitlines()[0])))
    outs = await asyncio.gather(*(graph.ainvoke({"task": f"number {n}"}, at(str(n))) for n in range(8)))
    assert [out["answer"]["text"] for out in outs] == [f"number {n}" for n in range(8)]


# Nested


async def test_a_worker_may_be_a_pattern_and_the_team_an_agent() -> None:
    judge = scripted("judge", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)
    inner = team(
        said(who="pair"), DONE, workers=[bind(agent("pair"), critic.build(script("author", "draft"), [judge]))]
    )
    outer = critic.build(bind(agent("team"), inner), [judge])
    assert "pair" in [name for name, _ in inner.get_subgraphs()]
    out = await outer.ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "the answer")
    assert {"planner", "manager", "author", "writer"} <= set(out["usage"])


async def test_a_team_may_be_a_handoff_and_its_question_is_answered_from_outside(sqlite: Persistence) -> None:
    triage = scripted("triage", [("transfer_to_expert", {"reason": "theirs", "open": ""})])
    desk = handoff.build([triage, bind(agent("expert"), PERSON)], hands_to={"triage": ["expert"]})
    graph = sqlite.bind(team(said(who="desk", do="ask"), DONE, workers=[bind(agent("desk"), desk)]))
    (question,) = (await graph.ainvoke({"task": "x"}, CONFIG, durability="sync"))["__interrupt__"]
    assert "ask" in str(question.value["case"])
    out = await graph.ainvoke(decide("respond", message="by hand"), CONFIG, durability="sync")
    assert (out["outcome"], out["talk"][-1].text, repeated(records(sqlite))) == ("completed", "by hand", [])


# Costs, and what build refuses


@pytest.mark.parametrize(("judged", "turns"), [([DONE], 0), ([said(), DONE], 1), ([said(), STUCK, said(), DONE], 3)])
async def test_the_cost_formula_is_exact_and_within_what_was_said_before(judged: Any, turns: int) -> None:
    graph = team(*judged)
    out = await graph.ainvoke({"task": "x"})
    used = out["usage"]["total"]["calls"]
    assert formula("magentic", plans=1, ledgers=len(judged), turns=turns) == used
    bounds = calls_of(graph)
    assert bounds.most is not None
    assert bounds.least <= used <= bounds.most


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: team(DONE, plans=script("planner", "x")), "planner 'planner' must return a TaskLedger"),
        (lambda: magentic.build(planner(), agent("m"), [agent("w")], agent("a")), "'m' must return a ProgressLedger"),
        (lambda: magentic.build(planner(), manager(DONE), [], agent("a")), "`workers` is empty"),
        (lambda: team(DONE, workers=[agent("w"), agent("w")]), "'w'.*rename"),
        (lambda: team(DONE, workers=[agent("plan")]), "'plan'.*rename"),
        (lambda: team(DONE, workers=[agent("w", input=TaskLedger)]), "takes TaskLedger"),
        (lambda: team(DONE, max_rounds=0), "`max_rounds`"),
        (lambda: team(DONE, max_stalls=-1), "`max_stalls`"),
        (lambda: team(DONE, max_resets=-1), "`max_resets`"),
        (lambda: team(DONE, max_reviews=-1), "`max_reviews`"),
        (lambda: team(DONE, window=0), "`window`"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        make()


# The drawing


def test_the_drawing_reads_like_the_figure() -> None:
    graph = team(DONE, workers=[agent("one"), agent("two")], review_plan=True).get_graph()
    assert sorted(f"{e.source} -{'?' if e.conditional else ''}> {e.target}" for e in graph.edges) == [
        "__start__ -> begin", "answer -> finish", "begin -> plan", "finish -> __end__",
        "one -?> finish", "one -?> progress",
        "plan -?> finish", "plan -?> progress", "plan -?> review",
        "progress -?> answer", "progress -?> finish", "progress -?> one", "progress -?> plan",
        "progress -?> progress", "progress -?> two",
        "review -?> finish", "review -?> plan", "review -?> progress",
        "two -?> finish", "two -?> progress",
    ]  # fmt: skip


async def test_the_default_graph_runs_without_a_key() -> None:
    task = {"goal": "What is the capital of France?", "context": {"atlas": "Paris is the capital of France."}}
    out = await magentic.graph.ainvoke({"task": task})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "Paris is the capital of France. [given#atlas]")
    assert out["ledger"]["facts_given"] == ["Paris is the capital of France."]
