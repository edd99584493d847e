import asyncio
from typing import Any

import pytest
from costs import formula
from langgraph.types import Command
from makers import scripted
from scripted import Scripted

from graphs import consensus, pipeline
from graphs.bind import Bindable, bind
from graphs.consensus import build
from nodes.agent import Bound
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import fork
from state.agent import PERSON, Agent, Limits, Text, retry
from state.ballot import Ballot
from state.errors import ContractError, InputError
from state.record import Record, repeated
from state.voting import approval, borda, byzantine, instant_runoff, majority, plurality, supermajority, unanimous
from state.voting import weighted as by_weight


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    return consensus.build([who, scripted("quiet", "Abstain.")])


CONFIG: Any = {"configurable": {"thread_id": "t"}}
COLOURS = ["red", "green", "blue"]


class Crash(BaseException):
    pass


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Votes as {name}.", **options)


def votes(name: str, *said: Any, **options: Any) -> Bound:
    """A voter with one ballot after the other, and the last one again and again; a string is a choice."""
    ballots = [{"choice": b} if isinstance(b, str) else b for b in said]

    def script(messages: Any, tools: Any) -> Any:
        return [("Ballot", ballots.pop(0) if len(ballots) > 1 else ballots[0])]

    return bind(agent(name, output=Ballot, **options), Scripted(script=script))


def says(name: str, *texts: str, **options: Any) -> Bound:
    left = list(texts)
    return bind(agent(name, **options), Scripted(script=lambda m, t: left.pop(0) if len(left) > 1 else left[0]))


def broken(name: str, **options: Any) -> Bound:
    def fails(task: Any) -> Any:
        raise ValueError("the pen is dry")

    return bind(agent(name, output=Ballot, **options), fails)


def shown(bound: Bound) -> list[str]:
    assert isinstance(bound.by, Scripted)
    return [messages[1].text for messages in bound.by.calls]


async def run(voters: Any, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = await build(voters, **{"options": COLOURS, **options}).ainvoke({"task": "which?"})
    return found


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


# Voting


async def test_voters_vote_in_parallel_and_the_answer_has_tally_and_share() -> None:
    found = await run([votes("ann", "red"), votes("bob", "Blue."), votes("cy", "blue")])
    assert (found["outcome"], found["reason"]) == ("completed", "")
    answer = found["answer"]
    assert (answer["choice"], answer["votes"], answer["of"], answer["share"]) == ("blue", 2, 3, 0.6667)
    assert answer["tally"] == {"red": 1, "green": 0, "blue": 2}
    assert (found["usage"]["total"]["calls"], formula("consensus", voters=3, rounds=1)) == (3, 3)


async def test_all_voters_are_at_it_at_the_same_time() -> None:
    together = asyncio.Barrier(3)

    async def wait(task: Any) -> Any:
        async with asyncio.timeout(20):
            await together.wait()
        return {"choice": "red"}

    found = await run([bind(agent(name, output=Ballot), wait) for name in ("ann", "bob", "cy")])
    assert (found["outcome"], found["answer"]["votes"]) == ("completed", 3)


async def test_voters_are_independent_none_sees_another() -> None:
    team = [votes("ann", {"choice": "red", "argument": "SECRET of ann"}), votes("bob", "red"), votes("cy", "red")]
    await run(team)
    for voter in team:
        (text,) = shown(voter)
        assert "SECRET" not in text
        assert [c for c in COLOURS if c not in text] == []


RULED = [
    (plurality(), [{"choice": "red"}, {"choice": "red"}, {"choice": "blue"}, {"choice": "green"}], "red"),
    (majority(), [{"choice": "red"}, {"choice": "red"}, {"choice": "blue"}, {"choice": "green"}], None),
    (majority(), [{"choice": "red"}, {"choice": "red"}, {"choice": "blue"}, {"abstain": True}], "red"),
    (majority(of="eligible"), [{"choice": "red"}, {"choice": "red"}, {"choice": "blue"}, {"abstain": True}], None),
    (supermajority(), [{"choice": "red"}, {"choice": "red"}, {"choice": "blue"}], "red"),
    (supermajority("3/4"), [{"choice": "red"}, {"choice": "red"}, {"choice": "blue"}], None),
    (unanimous(), [{"choice": "red"}, {"choice": "red"}, {"abstain": True}], "red"),
    (unanimous(), [{"choice": "red"}, {"choice": "red"}, {"choice": "blue"}], None),
    (by_weight(), [{"choice": "red", "confidence": 0.9}, {"choice": "blue", "confidence": 0.4}, "blue"], None),
    (by_weight(), [{"choice": "red", "confidence": 1.0}, {"choice": "blue", "confidence": 0.4}, "blue"], "red"),
    (by_weight({"v0": 3}), ["red", "blue", "blue"], "red"),
    (borda(), [{"ranking": ["red", "blue", "green"]}, {"ranking": ["blue", "red", "green"]}] * 2, None),
    (borda(), [{"ranking": ["red", "blue", "green"]}] * 3 + [{"ranking": ["blue", "green", "red"]}] * 2, "blue"),
    (
        instant_runoff(),
        [{"ranking": ["red"]}] * 2 + [{"ranking": ["blue"]}] * 2 + [{"ranking": ["green", "red"]}],
        "red",
    ),
    (approval(), [{"approved": ["red", "blue"]}, {"approved": ["blue"]}, {"approved": ["red", "blue"]}], "blue"),
    (byzantine(1), ["red", "red", "red", "blue"], "red"),
    (byzantine(1), ["red", "red", "blue", {"abstain": True}], None),
]


@pytest.mark.parametrize(("rule", "ballots", "decided"), RULED, ids=lambda v: getattr(v, "name", ""))
async def test_each_rule_decides_as_it_says(rule: Any, ballots: list[Any], decided: str | None) -> None:
    team = [votes(f"v{n}", ballot) for n, ballot in enumerate(ballots)]
    found = await run(team, rule=rule, max_rounds=1)
    assert found["answer"]["choice"] == decided
    assert found["outcome"] == ("completed" if decided else "degraded")


async def test_a_quorum_is_needed_and_abstentions_do_not_make_it() -> None:
    team = [votes("ann", "red"), votes("bob", {"abstain": True}), votes("cy", {"abstain": True})]
    found = await run(team, quorum=2, max_rounds=1)
    assert "no quorum: 1 of 3 voted, 2 needed" in found["reason"]


@pytest.mark.parametrize(("tie_break", "choice"), [("none", None), ("listed", "red"), ("seeded", "blue")])
async def test_a_tie_is_broken_only_as_asked(tie_break: Any, choice: str | None) -> None:
    graph = build(
        [votes("ann", "red"), votes("bob", "blue")],
        rule=plurality(),
        options=COLOURS,
        tie_break=tie_break,
        max_rounds=1,
    )
    seeds = [await graph.ainvoke({"task": "which?"}, context={"seed": seed}) for seed in (3, 3)]
    assert seeds[0]["answer"] == seeds[1]["answer"]
    chosen = {
        (await graph.ainvoke({"task": "which?"}, context={"seed": seed}))["answer"]["choice"] for seed in range(9)
    }
    assert chosen == ({"red", "blue"} if tie_break == "seeded" else {choice})


# Who votes with what


async def test_texts_vote_with_themselves_and_the_answer_is_a_text() -> None:
    found = await run([says("ann", "42"), says("bob", " 42. "), says("cy", "7")], options=())
    assert Text.model_validate(found["answer"]).text == "42"
    assert (found["answer"]["confidence"], found["messages"][-1].name) == (0.6667, "ann")
    assert found["counts"][-1]["tally"] == {"42": 2, "7": 1}


async def test_one_agent_sampled_several_times_is_self_consistent_by_a_key() -> None:
    texts = ["It is 6 x 7, so 42", "I get 41", "Six sevens: 42", "Surely 42", "41"]
    left = list(texts)
    solver = bind(agent("solver"), Scripted(script=lambda m, t: left.pop(0)))
    graph = build(solver, samples=5, key=lambda text: text.split()[-1], max_rounds=1)
    found = await graph.ainvoke({"task": "6 x 7?"})
    assert found["answer"]["text"] in texts
    assert (found["answer"]["text"][-2:], found["answer"]["confidence"]) == ("42", 0.6)
    assert sorted(found["papers"]) == [f"solver {n}/1" for n in range(1, 6)]


async def test_a_text_votes_for_the_only_option_that_it_names() -> None:
    found = await run([says("ann", "The handbook says red is right."), votes("bob", "red")])
    assert (found["outcome"], found["answer"]["choice"]) == ("completed", "red")


async def test_options_of_the_task_go_before_those_of_the_build() -> None:
    graph = build([votes("ann", "tea"), votes("bob", "tea")], options=COLOURS)
    found = await graph.ainvoke({"task": {"goal": "which?", "context": {"options": ["tea", "milk"]}}})
    assert (found["answer"]["choice"], found["options"]) == ("tea", ["tea", "milk"])


@pytest.mark.parametrize("wrong", ["tea", ["tea", 3], ["tea"], ["tea", "Tea"], [""]])
async def test_options_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="options"):
        await build([votes("ann", "x")]).ainvoke({"task": {"goal": "which?", "context": {"options": wrong}}})


async def test_a_rule_over_options_refuses_a_turn_without_any() -> None:
    with pytest.raises(InputError, match="borda needs options"):
        await build([votes("ann", "x")], rule=borda()).ainvoke({"task": "which?"})


async def test_a_spoiled_ballot_goes_back_to_its_voter_once() -> None:
    ann = votes("ann", "pink", "red")
    found = await run([ann, votes("bob", "red")])
    assert (found["outcome"], found["answer"]["votes"], len(shown(ann))) == ("completed", 2, 2)


async def test_a_ballot_spoiled_twice_counts_as_abstaining_and_is_named() -> None:
    found = await run([votes("ann", "pink"), votes("bob", "red")])
    assert (found["outcome"], found["answer"]["votes"], found["answer"]["of"]) == ("degraded", 1, 1)
    assert "ann: a spoiled ballot, 'pink' is none of 'red', 'green', 'blue'" in found["reason"]


async def test_a_voter_that_fails_counts_as_abstaining_and_is_named() -> None:
    found = await run([votes("ann", "red"), broken("bob"), votes("cy", "red")])
    assert (found["outcome"], found["answer"]["choice"], found["reason"]) == ("degraded", "red", "bob: the pen is dry")
    assert found["counts"][0]["abstained"] == 1


async def test_when_all_voters_fail_the_vote_fails_at_once() -> None:
    found = await run([broken("ann"), broken("bob")])
    assert (found["outcome"], found["answer"], found["round"]) == ("failed", None, 1)
    assert found["reason"] == "ann: the pen is dry; bob: the pen is dry"


# Rounds


async def test_another_round_shows_anonymous_tallies_and_arguments_and_can_decide() -> None:
    ann = votes("ann", {"choice": "red", "argument": "it is warm"}, "red")
    bob = votes("bob", {"choice": "blue", "argument": "it is calm"}, "red")
    found = await run([ann, bob])
    assert (found["outcome"], found["answer"]["choice"], found["answer"]["rounds"]) == ("completed", "red", 2)
    first, second = shown(ann)
    assert "votes so far" not in first
    assert [w for w in ("1 of 2 for: red", "1 of 2 for: blue", "it is warm", "it is calm") if w not in second] == []
    assert [name for name in ("ann", "bob") if name in second.split()] == []
    assert (found["usage"]["total"]["calls"], formula("consensus", voters=2, rounds=2)) == (4, 4)


@pytest.mark.parametrize("rounds", [1, 2, 4])
async def test_max_rounds_bounds_the_vote_and_no_decision_is_said_plainly(rounds: int) -> None:
    found = await run([votes("ann", "red"), votes("bob", "blue")], max_rounds=rounds)
    assert (found["outcome"], len(found["counts"])) == ("degraded", rounds)
    assert found["reason"] == f"no decision after {rounds} round(s): a tie of 2 options"
    assert (found["answer"]["choice"], found["answer"]["leading"]) == (None, ["red", "blue"])
    texts = await run([says("ann", "one"), says("bob", "two")], max_rounds=rounds, options=())
    assert texts["answer"]["text"].startswith("No decision: a tie of 2 options.")
    assert "1 of 2 for: one" in texts["answer"]["text"]


async def test_a_low_recursion_limit_ends_the_vote_early_and_well() -> None:
    graph = build([votes("ann", "red"), votes("bob", "blue")], options=COLOURS, max_rounds=50)
    found = await graph.ainvoke({"task": "which?"}, {"recursion_limit": 20})
    assert found["outcome"] == "degraded"
    assert 1 < found["round"] < 7


async def test_a_budget_that_does_not_last_decides_nothing_and_says_so() -> None:
    graph = build([votes("ann", "red"), votes("bob", "red")], options=COLOURS)
    found = await graph.ainvoke({"task": "which?"}, context={"max_calls": 1})
    assert (found["outcome"], found["answer"]["choice"]) == ("out_of_budget", None)
    assert found["answer"]["leading"] == ["red"]


# A person


async def decided(memory: Persistence, decision: Any, *team: Bound, **options: Any) -> dict[str, Any]:
    voters = team or (votes("ann", "red"), votes("bob", "red"), votes("cy", "blue"))
    kwargs: Any = {"options": COLOURS, "rule": unanimous(), "max_rounds": 2, **options}
    graph = memory.bind(build(voters, escalate=True, **kwargs))
    waiting = await graph.ainvoke({"task": "which?"}, CONFIG)
    (question,) = waiting["__interrupt__"]
    case = question.value["case"]
    assert (case["task"], len(case["ballots"]), len(case["counts"])) == ("which?", 2 * len(voters), 2)
    assert {b["voter"] for b in case["ballots"]} == {v.agent.name for v in voters}
    found: dict[str, Any] = await graph.ainvoke(Command(resume={"decisions": [decision], "by": "eve"}), CONFIG)
    return found


async def test_a_person_gets_every_ballot_and_may_approve_the_leading_option(memory: Persistence) -> None:
    found = await decided(memory, {"type": "approve"})
    assert (found["outcome"], found["answer"]["choice"], found["answer"]["by"]) == ("completed", "red", "eve")
    assert found["reason"].startswith("decided by eve: no decision after 2 round(s)")


async def test_a_person_may_name_another_option_but_no_stranger(memory: Persistence) -> None:
    found = await decided(memory, {"type": "respond", "message": "Green"})
    assert (found["answer"]["choice"], found["answer"]["votes"]) == ("green", 0)


@pytest.mark.parametrize("wrong", [{"type": "respond", "message": "pink"}, {"type": "approve"}])
async def test_a_persons_word_that_does_not_fit_is_refused_and_the_question_stays(
    memory: Persistence, wrong: Any
) -> None:
    graph = memory.bind(
        build([votes("ann", "red"), votes("bob", "blue")], options=COLOURS, max_rounds=1, escalate=True)
    )
    await graph.ainvoke({"task": "which?"}, CONFIG)
    with pytest.raises(Exception, match=r"none of|no option leads"):
        await graph.ainvoke(Command(resume={"decisions": [wrong]}), CONFIG)
    found = await graph.ainvoke(Command(resume={"decisions": [{"type": "respond", "message": "red"}]}), CONFIG)
    assert found["answer"]["choice"] == "red"


async def test_a_person_who_rejects_leaves_it_undecided(memory: Persistence) -> None:
    found = await decided(memory, {"type": "reject"}, says("ann", "one"), says("bob", "two"), options=())
    assert found["outcome"] == "escalated"
    assert found["answer"]["text"].startswith("No decision")


async def test_a_person_can_be_a_voter(memory: Persistence) -> None:
    graph = memory.bind(build([votes("ann", "red"), bind(agent("eve", output=Ballot), PERSON)], options=COLOURS))
    waiting = await graph.ainvoke({"task": "which?"}, CONFIG)
    assert waiting["__interrupt__"][0].value["kind"] == "input"
    answer = {"decisions": [{"type": "respond", "message": '{"choice": "red"}'}]}
    found = await graph.ainvoke(Command(resume=answer), CONFIG)
    assert (found["outcome"], found["answer"]["votes"]) == ("completed", 2)


# Threads


async def test_a_second_turn_sees_nothing_of_the_first(memory: Persistence) -> None:
    graph = memory.bind(build([votes("ann", "red"), votes("bob", "blue")], options=COLOURS))
    await graph.ainvoke({"task": "one"}, CONFIG)
    found = await graph.ainvoke({"task": "two"}, CONFIG)
    assert (found["round"], len(found["counts"]), len(found["papers"])) == (3, 3, 6)


async def test_after_a_crash_who_voted_does_not_vote_again(sqlite: Persistence) -> None:
    crashed: list[int] = []

    async def crash_once(task: Any) -> Any:
        crashed.append(1)
        if len(crashed) == 1:
            raise Crash
        return {"choice": "red"}

    ann = votes("ann", "red")
    graph = sqlite.bind(build([ann, bind(agent("bob", output=Ballot), crash_once)], options=COLOURS))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "which?"}, CONFIG, durability="sync")
    found = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (found["outcome"], found["answer"]["votes"], len(crashed)) == ("completed", 2, 2)
    assert repeated(records(sqlite)) == []
    assert len([r for r in records(sqlite) if r["agent"] == "ann" and r["outcome"] == "completed"]) == 1


async def test_a_fork_counts_the_ballot_that_was_put_in(memory: Persistence) -> None:
    graph = memory.bind(build([votes("ann", "red"), votes("bob", "blue")], options=COLOURS, max_rounds=1))
    first = await graph.ainvoke({"task": "which?"}, CONFIG, durability="sync")
    step = await anext(s async for s in graph.aget_state_history(CONFIG) if s.next == ("tally",))
    paper = {**first["papers"]["bob/1"], "output": {"choice": "red"}}
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], values={"papers": {"bob/1": paper}})
    found = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (found["outcome"], found["answer"]["choice"]) == ("completed", "red")
    assert found["usage"]["total"]["calls"] == 2


async def test_patterns_vote_and_a_vote_is_an_agent() -> None:
    inner = pipeline.build(says("think", "hm"), says("answer", "42"))
    vote = build([bind(agent("team"), inner), says("ann", "42"), says("bob", "7")])
    assert "team" in [name for name, _ in vote.get_subgraphs()]
    outer = build([bind(agent("council"), vote), says("cy", "42")])
    found = await outer.ainvoke({"task": "6 x 7?"})
    assert (found["answer"]["text"], found["outcome"]) == ("42", "completed")
    assert set(found["usage"]) == {"think", "answer", "ann", "bob", "cy", "total"}


# What build refuses, and what it says of its cost


@pytest.mark.parametrize(
    ("build_it", "words"),
    [
        (lambda: build([]), "`voters` is empty"),
        (lambda: build([bind(agent("a", output=Other))]), "'a' must return a Ballot or a Text"),
        (lambda: build([agent("a")], rule=borda(), options=COLOURS), "'a' must return a Ballot, which borda reads"),
        (lambda: build([agent("a"), agent("a")]), "'a'.*rename"),
        (lambda: build([agent("tally")]), "'tally'.*rename"),
        (lambda: build([agent("a")], max_rounds=0), "`max_rounds`"),
        (lambda: build([agent("a")], samples=0), "`samples`"),
        (lambda: build([agent("a")], quorum=2), "`quorum` is 2.*1 voters"),
        (lambda: build([agent("a")], tie_break="coin"), "`tie_break`"),
        (lambda: build([agent("a")], options=["x", "X"]), "twice"),
        (lambda: build([agent("a")], options=["x"]), "only one"),
        (lambda: build([agent(n) for n in "abc"], rule=byzantine(1)), "at least 4 different voters, not 3"),
        (lambda: build([agent(n) for n in "abcd"], rule=byzantine(1), samples=2), "leave `samples` at 1"),
        (lambda: build([agent("a")], rule=by_weight({"z": 2})), "weighs 'z', who is no voter; voters: a"),
        (
            lambda: build([agent("a", output=Ballot)], rule=instant_runoff(), options=[str(n) for n in range(13)]),
            "at most 12",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(build_it: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        build_it()


class Other(Text):
    pass


async def test_the_calls_of_a_vote_are_between_what_it_declares() -> None:
    team = [votes("ann", "pink", "red", limits=Limits(repairs=1)), votes("bob", "blue", on_failure=retry(2))]
    graph = build(team, options=COLOURS, max_rounds=2)
    declared = calls_of(graph)
    assert (declared.least, declared.most) == (2, (2 + 6) * 2)
    found = await graph.ainvoke({"task": "which?"})
    assert declared.least <= found["usage"]["total"]["calls"] <= (declared.most or 0)


# The drawing


def test_the_drawing_reads_like_the_figure() -> None:
    drawn = build([agent("voter")], escalate=True).get_graph().edges
    assert sorted((e.source, e.target, e.conditional) for e in drawn) == [
        ("__start__", "begin", False),
        ("announce", "voter", True),
        ("begin", "announce", False),
        ("decide", "finish", False),
        ("finish", "__end__", False),
        ("tally", "announce", True),
        ("tally", "decide", True),
        ("tally", "finish", True),
        ("voter", "tally", False),
    ]


async def test_the_default_graph_votes_on_what_documents_say(tmp_path: Any) -> None:
    (tmp_path / "facts.md").write_text("# Tides\n\nThe tide rises twice a day.\n")
    found = await consensus.graph.ainvoke({"task": "How often does the tide rise?"}, context={"docs": str(tmp_path)})
    assert found["outcome"] == "completed"
    assert "twice a day" in found["answer"]["text"]
