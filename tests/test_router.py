import asyncio
from typing import Any

import pytest
from costs import formula
from langgraph.types import Command
from makers import scripted
from scripted import Scripted

from graphs import critic, pipeline, router
from graphs.bind import Bindable, bind
from graphs.router import build
from nodes.agent import Bound
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import fork
from state.agent import PERSON, Agent, Limits, fallback
from state.critic import Critique
from state.errors import ContractError
from state.record import Record, repeated
from state.router import Route


def route(agent: str, *also: str, sure: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"agent": agent, "also": list(also), "confidence": sure, **more}


def make(who: Bindable) -> Graph:
    """What the conformance suite runs. The specialist works with somebody who reads it once more: two model calls."""
    work = pipeline.build(who, scripted("reader", "the answer, read once more"))
    clerk = bind(Agent(name="clerk", responsibility="Knows one team.", output=Route), lambda task: route("team"))
    return router.build(clerk, [bind(Agent(name="team", responsibility="Works."), work)])


CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Crash(BaseException):
    pass


def clerk(*routes: dict[str, Any], **options: Any) -> Bound:
    """A classifier that names one after the other, and the last one again and again."""
    left = list(routes)

    def script(messages: Any, tools: Any) -> Any:
        return [("Route", left.pop(0) if len(left) > 1 else left[0])]

    return scripted("clerk", script, output=Route, **options)


def breaks(name: str, **options: Any) -> Bound:
    def broken(task: Any) -> Any:
        raise ValueError("out of ink")

    return bind(Agent(name=name, responsibility="Fails.", **options), broken)


def team(*names: str) -> list[Bound]:
    return [scripted(name, f"{name} says [{name}.md#a]") for name in names or ("billing", "tech", "sales")]


def seen(bound: Bound, call: int = -1) -> str:
    return "\n".join(m.text for m in calls(bound)[call])


def calls(bound: Bound) -> list[Any]:
    assert isinstance(bound.by, Scripted)
    return bound.by.calls


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


# Classify once, dispatch


async def test_the_one_who_is_named_answers_and_nobody_else_is_asked() -> None:
    experts = team()
    out = await build(clerk(route("tech")), experts).ainvoke({"task": "it is broken"})
    assert (out["outcome"], out["reason"], out["messages"][-1].name) == ("completed", "", "tech")
    assert out["answer"]["text"].startswith("tech says")
    assert [len(calls(e)) for e in experts] == [0, 1, 0]
    assert out["route"]["agent"] == "tech"
    assert out["chosen"] == ["tech"]
    assert out["usage"]["total"]["calls"] == formula("router", classifications=1, specialists=1, syntheses=0) == 2


async def test_the_classifier_sees_the_task_and_what_each_specialist_is_for() -> None:
    who, experts = clerk(route("tech")), team("billing", "tech")
    await build(who, experts).ainvoke({"task": {"goal": "it is broken", "context": {"customer": "Ann"}}})
    assert [w for w in ("it is broken", "Ann", "billing", "Plays tech", "one worker only") if w not in seen(who)] == []
    assert "Plays billing" not in seen(experts[1])
    assert "Ann" in seen(experts[1])


async def test_several_specialists_answer_at_once_and_are_joined_under_their_names() -> None:
    experts = team()
    out = await build(clerk(route("sales", "billing")), experts, several=True).ainvoke({"task": "go"})
    assert out["answer"]["text"] == "billing: billing says [billing.md#a]\n\nsales: sales says [sales.md#a]"
    assert out["answer"]["citations"] == ["billing.md#a", "sales.md#a"]
    assert (out["outcome"], out["chosen"], out["messages"][-1].name) == ("completed", ["billing", "sales"], "router")
    assert out["usage"]["total"]["calls"] == formula("router", classifications=1, specialists=2, syntheses=0) == 3


async def test_a_synthesizer_makes_one_answer_of_several_and_is_not_asked_about_one() -> None:
    writer = scripted("writer", "in one")
    graph = build(clerk(route("sales", "tech"), route("tech")), team(), several=True, synthesizer=writer)
    out = await graph.ainvoke({"task": "go"})
    assert (out["answer"]["text"], out["outcome"], out["messages"][-1].name) == ("in one", "completed", "writer")
    assert out["usage"]["total"]["calls"] == formula("router", classifications=1, specialists=2, syntheses=1)
    assert [w for w in ("go", "sales says", "tech says") if w not in seen(writer)] == []
    alone = await graph.ainvoke({"task": "go"})
    assert (alone["messages"][-1].name, len(calls(writer))) == ("tech", 1)


async def test_a_specialist_that_fails_is_missing_and_named() -> None:
    for writer in (None, scripted("writer", "in one")):
        graph = build(clerk(route("tech", "lost")), [*team("tech"), breaks("lost")], several=True, synthesizer=writer)
        out = await graph.ainvoke({"task": "go"})
        assert (out["outcome"], out["reason"]) == ("degraded", "lost: out of ink")
        assert "tech says" in out["answer"]["text"] or (writer is not None and "out of ink" in seen(writer))


async def test_a_synthesizer_that_fails_leaves_the_answers_under_their_names() -> None:
    graph = build(clerk(route("tech", "sales")), team(), several=True, synthesizer=breaks("writer"))
    out = await graph.ainvoke({"task": "go"})
    assert (out["outcome"], out["reason"]) == ("degraded", "writer: out of ink")
    assert "tech: tech says" in out["answer"]["text"]


async def test_the_only_specialist_that_fails_fails_the_turn() -> None:
    out = await build(clerk(route("lost")), [breaks("lost")]).ainvoke({"task": "go"})
    assert (out["outcome"], out["answer"], out["reason"]) == ("failed", None, "lost: out of ink")


async def test_a_fallback_of_a_specialists_own_answers_under_its_own_name() -> None:
    lost = breaks("lost", on_failure=fallback(scripted("spare", "in its stead")))
    out = await build(clerk(route("lost")), [lost]).ainvoke({"task": "go"})
    assert (out["outcome"], out["messages"][-1].name) == ("completed", "spare")


async def test_an_answer_keeps_the_form_of_the_one_who_gave_it() -> None:
    judge = scripted("judge", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)
    out = await build(clerk(route("judge")), [judge]).ainvoke({"task": "go"})
    assert Critique.model_validate(out["answer"]).verdict == "accept"


# The confidence floor


@pytest.mark.parametrize(("sure", "by"), [(0.5, "tech"), (0.49, "general")])
async def test_below_the_floor_the_fallback_answers_and_the_reason_says_so(sure: float, by: str) -> None:
    out = await build(clerk(route("tech", sure=sure)), team(), fallback=scripted("general", "well")).ainvoke(
        {"task": "hm"}
    )
    assert (out["outcome"], out["messages"][-1].name) == ("completed", by)
    assert out["reason"] == ("" if by == "tech" else "clerk is not sure of tech: 0.49 is below 0.5")


async def test_without_a_fallback_the_question_is_the_answer_and_the_next_message_settles_it(
    memory: Persistence,
) -> None:
    who = clerk(route("tech", sure=0.2, question="The bill, or the box?"), route("billing"))
    graph = memory.bind(build(who, team()))
    out = await graph.ainvoke({"messages": [("user", "it is wrong")]}, CONFIG)
    assert (out["answer"]["text"], out["outcome"]) == ("The bill, or the box?", "degraded")
    assert out["reason"] == "asked back: clerk is not sure of tech: 0.2 is below 0.5"
    out = await graph.ainvoke({"messages": [("user", "the bill")]}, CONFIG)
    assert (out["outcome"], out["messages"][-1].name) == ("completed", "billing")
    assert [w for w in ("it is wrong", "The bill, or the box?", "the bill") if w not in seen(who)] == []


async def asked(memory: Persistence, who: Bound, decision: Any, **options: Any) -> tuple[Any, Any, list[Bound]]:
    experts = team("billing", "tech")
    graph = memory.bind(build(who, experts, clarify=True, **options))
    waiting = await graph.ainvoke({"task": "it is wrong"}, CONFIG)
    assert [len(calls(e)) for e in experts] == [0, 0]
    (question,) = waiting["__interrupt__"]
    return question.value, await graph.ainvoke(Command(resume={"decisions": [decision]}), CONFIG), experts


async def test_the_user_is_asked_what_they_mean_and_their_answer_is_added_to_the_task(memory: Persistence) -> None:
    who = clerk(route("tech", sure=0.2, question="The bill, or the box?"), route("billing"))
    question, out, experts = await asked(memory, who, {"type": "respond", "message": "the bill"})
    assert (question["kind"], question["action_requests"][0]["description"]) == ("input", "The bill, or the box?")
    assert question["case"]["specialists"] == {"billing": "Plays billing", "tech": "Plays tech"}
    assert (out["outcome"], out["messages"][-1].name, len(calls(who))) == ("completed", "billing", 2)
    for sight in (seen(who), seen(experts[0])):
        assert [w for w in ("it is wrong", "The bill, or the box?", "the bill") if w not in sight] == []
    assert repeated(records(memory)) == []


async def test_the_user_is_asked_once_only(memory: Persistence) -> None:
    who = clerk(route("tech", sure=0.2, question="Which?"))
    _, out, _ = await asked(memory, who, {"type": "respond", "message": "no idea"})
    assert (out["outcome"], out["answer"]["text"], len(calls(who))) == ("degraded", "Which?", 2)


@pytest.mark.parametrize("decision", [{"type": "reject"}, {"type": "respond", "message": "no idea"}])
async def test_whoever_declines_or_stays_unclear_gets_the_fallback(memory: Persistence, decision: Any) -> None:
    spare = scripted("general", "well")
    _, out, _ = await asked(memory, clerk(route("tech", sure=0.2)), decision, fallback=spare)
    assert (out["outcome"], out["messages"][-1].name) == ("completed", "general")


# Bounds and failures


async def test_an_unknown_name_is_sent_back_with_the_list() -> None:
    who = clerk(route("plumbing"), route("tech"))
    out = await build(who, team()).ainvoke({"task": "go"})
    assert (out["outcome"], out["messages"][-1].name) == ("completed", "tech")
    assert "there is no 'plumbing'; the names are billing, tech, sales" in seen(who)
    assert out["usage"]["total"]["calls"] == formula("router", classifications=2, specialists=1, syntheses=0)


async def test_several_names_are_sent_back_where_one_is_wanted() -> None:
    who = clerk(route("tech", "sales"), route("tech"))
    out = await build(who, team()).ainvoke({"task": "go"})
    assert (out["outcome"], len(calls(who))) == ("completed", 2)
    assert "name one only" in seen(who)


@pytest.mark.parametrize("repairs", [0, 1, 2, 60])
async def test_max_repairs_bounds_unknown_names_and_then_the_fallback_answers(repairs: int) -> None:
    who, spare = clerk(route("plumbing")), scripted("general", "well")
    out = await build(who, team(), fallback=spare, max_repairs=repairs).ainvoke({"task": "go"}, {"recursion_limit": 70})
    assert (out["outcome"], out["messages"][-1].name, len(calls(who))) == ("degraded", "general", 1 + repairs)
    assert "clerk names nobody who could do it: there is no 'plumbing'" in out["reason"]


async def test_without_a_fallback_an_unknown_name_fails_the_turn() -> None:
    out = await build(clerk(route("plumbing")), team(), max_repairs=1).ainvoke({"task": "go"})
    assert (out["outcome"], out["answer"]) == ("failed", None)
    assert "'plumbing'" in out["reason"]


async def test_it_ends_well_before_the_engines_limit() -> None:
    who = clerk(route("plumbing"))
    out = await build(who, team(), max_repairs=99).ainvoke({"task": "go"}, {"recursion_limit": 20})
    assert out["outcome"] == "failed"
    assert len(calls(who)) < 20


async def test_a_classifier_that_fails_leaves_the_task_to_the_fallback() -> None:
    out = await build(breaks("clerk", output=Route), team(), fallback=scripted("general", "well")).ainvoke(
        {"task": "x"}
    )
    assert (out["outcome"], out["reason"], out["answer"]["text"]) == ("degraded", "clerk: out of ink", "well")
    out = await build(breaks("clerk", output=Route), team()).ainvoke({"task": "x"})
    assert (out["outcome"], out["reason"]) == ("failed", "clerk: out of ink")


async def test_a_route_that_does_not_parse_is_mended_at_the_door() -> None:
    who = clerk({"agent": "tech", "confidence": 7}, route("tech"))
    assert (await build(who, team()).ainvoke({"task": "x"}))["outcome"] == "completed"
    out = await build(clerk({"agent": 3}, limits=Limits(repairs=0)), team()).ainvoke({"task": "x"})
    assert out["outcome"] == "failed"


async def test_a_spent_budget_ends_the_turn_with_the_answers_so_far() -> None:
    graph = build(clerk(route("tech", "sales")), team(), several=True)
    out = await graph.ainvoke({"task": "x"}, context={"max_calls": 2, "max_concurrency": 1})
    assert out["outcome"] == "out_of_budget"
    assert " says" in out["answer"]["text"]
    nothing = await build(clerk(route("tech")), team(), fallback=scripted("general", "well")).ainvoke(
        {"task": "x"}, context={"max_tokens": 1}
    )
    assert (nothing["outcome"], nothing["usage"]["total"]["calls"]) == ("out_of_budget", 0)


async def test_the_calls_in_the_book_stay_within_what_the_options_allow() -> None:
    experts = team("a", "b", "c")
    for options, said in (
        ({}, [route("a")]),
        ({"several": True}, [route("a", "b", "c")]),
        ({"several": True, "synthesizer": scripted("writer", "in one")}, [route("zz"), route("zz"), route("a", "c")]),
    ):
        graph = build(clerk(*said), experts, **options)  # type: ignore[arg-type]
        out = await graph.ainvoke({"task": "x"})
        bound = calls_of(graph)
        assert out["outcome"] == "completed"
        assert bound.least <= out["usage"]["total"]["calls"] <= (bound.most or 0)
    assert (bound.least, bound.most) == (2, 3 * 3 + 3 * 3 + 3)


# Threads, people, nesting


async def test_a_second_turn_is_classified_anew(memory: Persistence) -> None:
    graph = memory.bind(build(clerk(route("tech", "sales"), route("billing")), team(), several=True))
    await graph.ainvoke({"task": "first"}, CONFIG)
    out = await graph.ainvoke({"task": "second"}, CONFIG)
    assert (out["chosen"], out["usage"]["total"]["calls"]) == (["billing"], 2)


async def test_after_a_crash_only_the_specialist_that_did_not_answer_works_again(sqlite: Persistence) -> None:
    who, (tech,), count = clerk(route("tech", "slow")), team("tech"), []

    async def crash_once(task: Any) -> Any:
        count.append(1)
        if len(count) == 1:
            await asyncio.sleep(0.2)
            raise Crash
        return "at last"

    slow = bind(Agent(name="slow", responsibility="Crashes."), crash_once)
    graph = sqlite.bind(build(who, [tech, slow], several=True))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["outcome"], len(calls(who)), len(calls(tech)), len(count)) == ("completed", 1, 1, 2)
    assert repeated(records(sqlite)) == []


async def test_a_fork_sends_the_task_to_somebody_else_without_classifying_again(memory: Persistence) -> None:
    who, experts = clerk(route("tech")), team("billing", "tech")
    graph = memory.bind(build(who, experts))
    await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    step = await anext(s async for s in graph.aget_state_history(CONFIG) if s.next == ("join",))
    results = {"billing": {"output": {"text": "by hand"}, "outcome": "completed", "reason": "", "by": "billing"}}
    changed = {"chosen": ["billing"], "results": results}
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], values=changed)
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["answer"]["text"], out["messages"][-1].name, len(calls(who))) == ("by hand", "billing", 1)


async def test_a_person_may_be_a_specialist(memory: Persistence) -> None:
    ann = bind(Agent(name="ann", responsibility="Knows the rest."), PERSON)
    graph = memory.bind(build(clerk(route("ann")), [*team(), ann]))
    waiting = await graph.ainvoke({"task": "x"}, CONFIG)
    assert waiting["__interrupt__"][0].value["kind"] == "input"
    said = Command(resume={"decisions": [{"type": "respond", "message": "so it is"}]})
    out = await graph.ainvoke(said, CONFIG)
    assert (out["outcome"], out["answer"]["text"], out["messages"][-1].name) == ("completed", "so it is", "ann")


async def test_routers_and_patterns_are_specialists_too() -> None:
    accept = scripted("judge", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)
    reviewed = bind(
        Agent(name="reviewed", responsibility="Writes."), critic.build(scripted("author", "deep"), [accept])
    )
    inner = bind(Agent(name="desk", responsibility="Sorts again."), build(clerk(route("reviewed")), [reviewed]))
    outer = build(scripted("porter", [("Route", route("desk"))], output=Route), [inner, *team()])
    assert "desk" in [name for name, _ in outer.get_subgraphs()]
    out = await outer.ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["outcome"]) == ("deep", "completed")
    assert set(out["usage"]) == {"porter", "clerk", "author", "judge", "total"}


# What build refuses


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build(Agent(name="a", responsibility="A."), team()), "'a' must return a Route"),
        (lambda: build(clerk(route("a")), []), "`specialists` is empty"),
        (lambda: build(clerk(route("a")), team("a", "a")), "'a'.*rename"),
        (lambda: build(clerk(route("a")), team("join")), "'join'.*rename"),
        (lambda: build(clerk(route("a")), team("a"), fallback=scripted("a", "x")), "'a'.*rename"),
        (lambda: build(clerk(route("a")), team("a"), floor=1.5), "`floor`"),
        (lambda: build(clerk(route("a")), team("a"), max_repairs=-1), "`max_repairs`"),
        (lambda: build(clerk(route("a")), team("a"), synthesizer=scripted("w", "x")), "set several=True"),
        (lambda: build(clerk(route("a")), [scripted("a", "x", input=Critique)]), "'a' takes Critique"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        make()


# The drawing


def test_the_drawing_reads_like_the_figure() -> None:
    graph = build(clerk(route("a")), team("a", "b"), fallback=scripted("c", "x"), clarify=True)
    edges = sorted((e.source, e.target, e.conditional) for e in graph.get_graph().edges)
    assert edges == [
        ("__start__", "begin", False),
        ("a", "join", False),
        ("b", "join", False),
        ("begin", "classify", False),
        ("c", "join", False),
        ("clarify", "classify", False),
        ("classify", "a", True),
        ("classify", "b", True),
        ("classify", "c", True),
        ("classify", "clarify", True),
        ("classify", "classify", True),
        ("classify", "finish", True),
        ("finish", "__end__", False),
        ("join", "finish", True),
    ]
    joined = build(clerk(route("a")), team("a"), several=True, synthesizer=scripted("w", "x")).get_graph().edges
    assert {(e.source, e.target) for e in joined} >= {("join", "synthesize"), ("synthesize", "finish")}


async def test_the_default_graph_runs_without_a_key(tmp_path: Any) -> None:
    (tmp_path / "tides.md").write_text("# Tides\n\nThe tide rises twice a day, every 12 hours and 25 minutes.\n")
    out = await router.graph.ainvoke({"task": "How often does the tide rise?"}, context={"docs": str(tmp_path)})
    assert (out["outcome"], "twice a day" in out["answer"]["text"]) == ("completed", True)
