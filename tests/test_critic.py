import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.types import Command
from makers import scripted
from scripted import Scripted

from graphs import critic
from graphs.bind import Bindable, bind
from graphs.critic import build
from nodes.agent import Bound
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import fork
from state.agent import ABORT, Agent, Limits
from state.critic import Critique, blocking, issues_of, verdict_of, weight
from state.errors import ContractError
from state.record import Record, repeated


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    return critic.build(who, [scripted("editor", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)])


CONFIG: Any = {"configurable": {"thread_id": "t"}}
ACCEPT = {"verdict": "accept", "issues": []}


class Crash(BaseException):
    pass


def issue(what: str, severity: str = "major") -> dict[str, str]:
    return {"severity": severity, "where": "line 1", "what": what, "check": "read it"}


def revise(*whats: str, severity: str = "major") -> dict[str, Any]:
    return {"verdict": "revise", "issues": [issue(what, severity) for what in whats]}


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Does {name}.", **options)


def drafts(name: str, *texts: str, **options: Any) -> Bound:
    """An author that writes one text after the other, and the last one again and again."""
    left = list(texts)
    return bind(agent(name, **options), Scripted(script=lambda m, t: left.pop(0) if len(left) > 1 else left[0]))


def says(name: str, *critiques: Any, seconds: float = 0, **options: Any) -> Bound:
    left = list(critiques)

    def script(messages: Any, tools: Any) -> Any:
        return [("Critique", left.pop(0) if len(left) > 1 else left[0])]

    return bind(agent(name, output=Critique, **options), Scripted(script=script, seconds=seconds))


def breaks(name: str, **options: Any) -> Bound:
    def broken(task: Any) -> Any:
        raise ValueError("out of ink")

    return bind(agent(name, **options), broken)


def calls(bound: Bound) -> list[Any]:
    assert isinstance(bound.by, Scripted)
    return bound.by.calls


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


# Generate, critique, revise


async def test_a_good_draft_is_accepted_at_once() -> None:
    author, judge = drafts("author", "good"), says("judge", ACCEPT)
    out = await build(author, [judge]).ainvoke({"task": "write"})
    assert (out["answer"]["text"], out["outcome"], out["messages"][-1].name) == ("good", "completed", "author")
    assert (len(calls(author)), len(calls(judge))) == (1, 1)


async def test_issues_go_back_until_the_critic_accepts() -> None:
    author, judge = drafts("author", "one", "two", "three"), says("judge", revise("dry"), revise("long"), ACCEPT)
    out = await build(author, [judge]).ainvoke({"task": "write"})
    assert (out["answer"]["text"], out["outcome"], out["reason"]) == ("three", "completed", "")
    assert (len(calls(author)), len(calls(judge))) == (3, 3)


async def test_the_critic_sees_task_and_draft_and_the_reviser_the_issues_too() -> None:
    author, judge = drafts("author", "one", "two"), says("judge", revise("too dry"), ACCEPT)
    await build(author, [judge]).ainvoke({"task": {"goal": "write on ink", "success": ["short"]}})
    review, second = calls(judge)[0][1].text, calls(author)[1][1].text
    assert [word for word in ("write on ink", "short", "one") if word not in review] == []
    assert [word for word in ("write on ink", "one", "too dry", "line 1", "read it") if word not in second] == []


async def test_a_critic_has_no_way_to_edit() -> None:
    judge = says("judge", {**ACCEPT, "draft": "mine"}, limits=Limits(repairs=0))
    out = await build(drafts("author", "yours"), [judge]).ainvoke({"task": "x"})
    assert out["answer"]["text"] == "yours"
    assert "draft: Extra inputs are not permitted" in out["reason"]


async def test_a_separate_reviser_revises() -> None:
    author, reviser = drafts("author", "one"), drafts("reviser", "two")
    out = await build(author, [says("judge", revise("dry"), ACCEPT)], reviser=reviser).ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["messages"][-1].name) == ("two", "reviser")
    assert (len(calls(author)), len(calls(reviser))) == (1, 1)


async def test_several_critics_review_at_the_same_time() -> None:
    team = [says(name, ACCEPT, seconds=0.3) for name in ("style", "facts", "security")]
    began = time.monotonic()
    out = await build(drafts("author", "x"), team).ainvoke({"task": "x"})
    assert time.monotonic() - began < 0.8
    assert out["usage"]["total"]["calls"] == 4


async def test_all_critics_must_accept() -> None:
    style, facts = says("style", ACCEPT), says("facts", revise("wrong"), ACCEPT)
    out = await build(drafts("author", "one", "two"), [style, facts]).ainvoke({"task": "x"})
    assert (out["answer"]["text"], len(calls(style))) == ("two", 2)


async def test_a_blocking_issue_must_be_closed_even_where_the_critic_accepts() -> None:
    judge = says("judge", {"verdict": "accept", "issues": [issue("leaks", "blocking")]}, ACCEPT)
    out = await build(drafts("author", "one", "two"), [judge]).ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["outcome"]) == ("two", "completed")


async def test_any_reject_ends_without_an_answer() -> None:
    team = [says("style", ACCEPT), says("facts", {"verdict": "reject", "issues": [issue("invented", "blocking")]})]
    out = await build(drafts("author", "x"), team).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]) == ("rejected", None)
    assert out["reason"] == "blocking at line 1: invented"


# Bounds and failures


@pytest.mark.parametrize("rounds", [1, 2, 5])
async def test_max_rounds_bounds_the_reviews(rounds: int) -> None:
    author, judge = drafts("author", *map(str, range(9))), says("judge", revise("dry"))
    out = await build(author, [judge], max_rounds=rounds).ainvoke({"task": "x"})
    assert (len(calls(author)), len(calls(judge))) == (rounds, rounds)
    assert (out["outcome"], out["reason"]) == ("degraded", f"open after {rounds} round(s): major at line 1: dry")


async def test_at_the_bound_the_best_draft_so_far_is_returned_with_its_open_issues() -> None:
    judge = says("judge", revise("a", "b"), revise("c", severity="minor"), revise("d", severity="blocking"))
    out = await build(drafts("author", "one", "two", "three"), [judge]).ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["outcome"]) == ("two", "degraded")
    assert out["reason"] == "open after 3 round(s): minor at line 1: c"


async def test_the_same_draft_again_stops_the_loop_at_once() -> None:
    author, judge = drafts("author", "same"), says("judge", revise("dry"))
    out = await build(author, [judge], max_rounds=9).ainvoke({"task": "x"})
    assert (len(calls(author)), len(calls(judge))) == (2, 1)
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "same")
    assert "no longer changes: major at line 1: dry" in out["reason"]


async def test_an_author_that_fails_is_a_failure() -> None:
    out = await build(breaks("author"), [says("judge", ACCEPT)]).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"], out["reason"]) == ("failed", None, "author: out of ink")


async def test_a_reviser_that_fails_leaves_the_best_draft() -> None:
    graph = build(drafts("author", "one"), [says("judge", revise("dry"))], reviser=breaks("reviser"))
    out = await graph.ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"], out["reason"]) == ("degraded", "one", "reviser: out of ink")


@pytest.mark.parametrize("policy", [{}, {"on_failure": ABORT}])
async def test_a_draft_that_not_all_critics_saw_is_never_completed(policy: Any) -> None:
    team = [says("style", ACCEPT), breaks("facts", output=Critique, **policy)]
    out = await build(drafts("author", "one"), team).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "one")
    assert out["reason"] == "not reviewed by all: facts: out of ink"


async def test_a_critic_that_failed_is_named_however_the_loop_ends() -> None:
    for author, words in (
        (drafts("author", "one", "two"), "open after 2"),
        (drafts("author", "one"), "no longer changes"),
    ):
        team = [says("style", revise("dry")), breaks("facts", output=Critique)]
        out = await build(author, team, max_rounds=2).ainvoke({"task": "x"})
        assert out["outcome"] == "degraded"
        assert words in out["reason"]
        assert "not reviewed by all: facts: out of ink" in out["reason"]


async def test_a_waiver_does_not_stand_in_for_a_critic_that_failed(memory: Persistence) -> None:
    team = [says("style", revise("leaks", severity="blocking")), breaks("facts", output=Critique)]
    graph = memory.bind(build(drafts("author", "one"), team, max_rounds=1, ask_to_waive=True))
    await graph.ainvoke({"task": "x"}, CONFIG)
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), CONFIG)
    assert out["outcome"] == "degraded"
    assert "not reviewed by all: facts" in out["reason"]


async def test_a_budget_that_is_spent_returns_the_draft_so_far() -> None:
    graph = build(drafts("author", "one", "two"), [says("judge", revise("dry"))])
    out = await graph.ainvoke({"task": "x"}, context={"max_calls": 2})
    assert (out["outcome"], out["answer"]["text"]) == ("out_of_budget", "one")


# A person waives


async def waived(memory: Persistence, decision: Any) -> dict[str, Any]:
    judge = says("judge", revise("leaks", severity="blocking"))
    graph = memory.bind(build(drafts("author", "one", "two"), [judge], max_rounds=1, ask_to_waive=True))
    out = await graph.ainvoke({"task": "write"}, CONFIG)
    (question,) = out["__interrupt__"]
    assert question.value["case"]["task"] == "write"
    assert question.value["case"]["draft"]["text"] == "one"
    assert [i["what"] for i in question.value["case"]["issues"]] == ["leaks"]
    found: dict[str, Any] = await graph.ainvoke(Command(resume={"decisions": [decision], "by": "ann"}), CONFIG)
    return found


async def test_a_person_may_waive_what_blocks(memory: Persistence) -> None:
    out = await waived(memory, {"type": "approve"})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "one")
    assert out["reason"] == "waived by ann: blocking at line 1: leaks"


async def test_a_person_may_insist(memory: Persistence) -> None:
    out = await waived(memory, {"type": "reject"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "one")
    assert "leaks" in out["reason"]


async def test_nobody_is_asked_about_what_does_not_block() -> None:
    graph = build(drafts("author", "one"), [says("judge", revise("dry"))], max_rounds=1, ask_to_waive=True)
    assert (await graph.ainvoke({"task": "x"}))["outcome"] == "degraded"


# Threads


async def test_a_second_turn_sees_nothing_of_the_first(memory: Persistence) -> None:
    author, judge = drafts("author", "one", "two", "three"), says("judge", revise("dry"), ACCEPT)
    graph = memory.bind(build(author, [judge]))
    await graph.ainvoke({"task": "first"}, CONFIG)
    out = await graph.ainvoke({"task": "second"}, CONFIG)
    assert (out["answer"]["text"], out["usage"]["total"]["calls"]) == ("three", 2)
    assert "first" not in calls(judge)[-1][1].text


async def test_after_a_crash_among_the_critics_those_who_spoke_are_not_asked_again(sqlite: Persistence) -> None:
    style, count = says("style", ACCEPT), []

    async def crash_once(task: Any) -> Any:
        count.append(1)
        if len(count) == 1:
            await asyncio.sleep(0.2)
            raise Crash
        return ACCEPT

    author = drafts("author", "one")
    graph = sqlite.bind(build(author, [style, bind(agent("facts", output=Critique), crash_once)]))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["outcome"], len(calls(author)), len(calls(style)), len(count)) == ("completed", 1, 1, 2)
    assert repeated(records(sqlite)) == []


async def test_a_fork_reviews_the_draft_that_was_put_in_its_place(memory: Persistence) -> None:
    author, judge = drafts("author", "one"), says("judge", ACCEPT)
    graph = memory.bind(build(author, [judge]))
    await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    step = await anext(s async for s in graph.aget_state_history(CONFIG) if s.next == ("judge",))
    draft = {"text": "by hand", "citations": [], "confidence": None}
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], values={"draft": draft})
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["answer"]["text"], len(calls(author)), len(calls(judge))) == ("by hand", 1, 2)


# Nested


async def test_graphs_generate_and_judge_too() -> None:
    inner = build(drafts("author", "draft"), [says("first_judge", ACCEPT)])
    outer = build(bind(agent("team"), inner), [says("second_judge", ACCEPT)])
    assert "generate" in [name for name, _ in outer.get_subgraphs()]
    out = await outer.ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["outcome"]) == ("draft", "completed")
    assert set(out["usage"]) == {"author", "first_judge", "second_judge", "total"}


# What build refuses


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build(agent("a"), []), "`critics` is empty"),
        (lambda: build(agent("a"), [agent("b")]), "'b' must return a Critique"),
        (lambda: build(agent("a"), [says("b", ACCEPT), says("b", ACCEPT)]), "'b'.*rename"),
        (lambda: build(agent("a"), [says("weigh", ACCEPT)]), "'weigh'.*rename"),
        (lambda: build(agent("a"), [says("b", ACCEPT)], max_rounds=0), "`max_rounds`"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        make()


# The decisions, without the engine

ISSUES = st.lists(st.builds(issue, st.sampled_from("abc"), st.sampled_from(["blocking", "major", "minor"])), max_size=4)
CRITIQUES = st.dictionaries(
    st.sampled_from(["style", "facts", "security"]),
    st.fixed_dictionaries({"verdict": st.sampled_from(["accept", "revise", "reject"]), "issues": ISSUES}),
    min_size=1,
)


@given(CRITIQUES)
def test_a_draft_is_accepted_only_by_all_and_with_nothing_blocking(critiques: Any) -> None:
    verdict = verdict_of(critiques)
    assert (verdict == "accept") is (
        all(c["verdict"] == "accept" for c in critiques.values()) and not blocking(critiques)
    )
    assert (verdict == "reject") is any(c["verdict"] == "reject" for c in critiques.values())


@given(CRITIQUES)
def test_no_issue_is_lost_and_their_order_is_that_of_the_names(critiques: Any) -> None:
    turned = dict(reversed(critiques.items()))
    assert issues_of(turned) == issues_of(critiques)
    assert len(issues_of(critiques)) == sum(len(c["issues"]) for c in critiques.values())


@given(ISSUES, ISSUES)
def test_one_blocking_issue_weighs_more_than_any_number_of_others(one: Any, other: Any) -> None:
    mild = [i for i in other if i["severity"] != "blocking"]
    assert weight([*one, issue("x", "blocking")]) > weight(mild)


# The drawing


def test_the_drawing_reads_like_the_figure() -> None:
    edges = sorted((e.source, e.target, e.conditional) for e in critic.graph.get_graph().edges)
    assert edges == [
        ("__start__", "begin", False),
        ("begin", "generate", False),
        ("critic", "weigh", False),
        ("finish", "__end__", False),
        ("generate", "critic", True),
        ("generate", "finish", True),
        ("revise", "critic", True),
        ("revise", "finish", True),
        ("weigh", "finish", True),
        ("weigh", "revise", True),
    ]
    asking = build(agent("a"), [says("b", ACCEPT)], ask_to_waive=True).get_graph().edges
    assert {(e.source, e.target) for e in asking} >= {("weigh", "waive"), ("waive", "finish")}


async def test_the_default_graph_runs_without_a_key() -> None:
    task = {"goal": "What is the capital of France?", "context": {"atlas": "Paris is the capital of France."}}
    out = await critic.graph.ainvoke({"task": task})
    assert out["outcome"] in ("completed", "degraded")
    assert "Paris" in out["answer"]["text"]
