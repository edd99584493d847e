from typing import Any

import pytest
from costs import formula
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Command
from makers import scripted
from scripted import Scripted

from graphs import handoff
from graphs.bind import Bindable, bind
from graphs.handoff import build
from nodes.agent import Bound
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import at
from state.agent import PERSON, Agent, Limits
from state.critic import Critique
from state.errors import ContractError
from state.handoff import Said, Transfer
from state.record import Record, repeated
from state.tool import Arguments, Tool, ToolContext


def to(name: str, reason: str = "it is theirs", left: str = "") -> tuple[str, dict[str, str]]:
    """A transfer as a model asks for it."""
    return (f"transfer_to_{name}", {"reason": reason, "open": left})


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    worker = bind(who)
    triage = scripted("triage", [to(worker.agent.name)])
    return build([triage, worker], hands_to={"triage": [worker.agent.name]}, control="return_to_triage")


def says(*lines: Any) -> Any:
    """A script of one agent: line after line, the last one again and again."""
    left = list(lines)
    return lambda messages, tools: left.pop(0) if len(left) > 1 else left[0]


def plays(name: str, *lines: Any, **options: Any) -> Bound:
    return bind(Agent(name=name, responsibility=f"Does {name}.", **options), Scripted(script=says(*lines)))


def seen(bound: Bound) -> list[list[Any]]:
    """What the agent's model was shown, call by call."""
    model = bound.bare.by
    assert isinstance(model, Scripted)
    return model.calls


def goes(name: str, *targets: str) -> Bound:
    """An agent that always hands over to the next of these, in turn."""
    return plays(name, *([to(t)] for t in targets))


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


def names_of(tools: Any) -> list[str]:
    return [t["function"]["name"] for t in tools]


def answered(message: str = "by hand") -> Command[Any]:
    return Command(resume={"decisions": [{"type": "respond", "message": message}], "by": "ann"})


def person(name: str = "human", **options: Any) -> Bound:
    return bind(Agent(name=name, responsibility="Settles what nobody else can.", **options), PERSON)


class Order(Arguments):
    number: int


def lookup(log: list[int], effects: Any = "none", name: str = "lookup") -> Tool:
    async def run(given: Order, context: ToolContext) -> str:
        log.append(given.number)
        return f"order {given.number} is paid"

    return Tool(name=name, description="Looks an order up.", args=Order, run=run, effects=effects)


# Transfers


async def test_control_goes_to_the_agent_that_was_named_and_its_answer_ends_the_turn() -> None:
    triage, billing = plays("triage", [to("billing", "about money", "a refund")]), plays("billing", "refunded")
    out = await build([triage, billing]).ainvoke({"task": "my money"})
    assert (out["answer"]["text"], out["outcome"], out["reason"]) == ("refunded", "completed", "")
    assert (out["messages"][-1].name, out["holder"], len(out["messages"])) == ("billing", "billing", 2)
    shown = seen(billing)[0][1].text
    assert shown.splitlines()[0] == "my money"
    assert [w for w in ("about money", "a refund", "triage") if w not in shown] == []
    assert [m.name for m in out["talk"]] == ["triage"]


async def test_agents_own_transfer_tools_for_exactly_the_targets_they_may_hand_to() -> None:
    offered: dict[str, list[str]] = {}

    def asked(name: str, line: Any) -> Bound:
        return scripted(name, lambda messages, tools: (offered.update({name: names_of(tools)}), line)[1])

    team = [asked("a", [to("b")]), asked("b", [to("c")]), asked("c", "done")]
    out = await build(team, hands_to={"a": ["c", "b"], "b": ["c"]}).ainvoke({"task": "go"})
    assert out["answer"]["text"] == "done"
    assert offered == {"a": ["transfer_to_c", "transfer_to_b"], "b": ["transfer_to_c"], "c": []}


async def test_the_order_of_tools_is_that_of_the_options_and_a_set_is_refused() -> None:
    offered: list[list[str]] = []
    a = scripted("a", lambda m, tools: offered.append(names_of(tools)) or "done")
    await build([a, plays("z", "x"), plays("b", "x"), plays("m", "x")]).ainvoke({"task": "go"})
    assert offered == [["transfer_to_z", "transfer_to_b", "transfer_to_m"]]
    with pytest.raises(ContractError, match=r"hands_to\['a'\] must be a list"):
        build([a, plays("b", "x")], hands_to={"a": {"b"}})  # type: ignore[dict-item]


async def test_a_transfer_that_is_not_allowed_returns_an_error_the_agent_can_act_on() -> None:
    a = plays("a", [to("nobody")], [to("c")], [to("b")])
    team = [a, plays("b", "done"), plays("c", "never")]
    out = await build(team, hands_to={"a": ["b"]}).ainvoke({"task": "go"})
    assert (out["answer"]["text"], len(seen(a))) == ("done", 3)
    assert "you cannot hand over to nobody: you may hand over to b, or answer" in seen(a)[1][-1].text
    assert "you cannot hand over to c" in seen(a)[2][-1].text


async def test_a_transfer_without_a_reason_is_sent_back() -> None:
    a = plays("a", [("transfer_to_b", {"why": "so"})], [to("b")])
    out = await build([a, plays("b", "done")]).ainvoke({"task": "go"})
    assert out["answer"]["text"] == "done"
    assert "do not fit: reason: Field required" in seen(a)[1][-1].text


async def test_parallel_transfers_are_resolved_to_one_and_that_is_said() -> None:
    a, b, c = plays("a", [to("b"), to("c")]), plays("b", "done"), plays("c", "never")
    out = await build([a, b, c]).ainvoke({"task": "go"})
    assert (out["answer"]["text"], seen(c)) == ("done", [])
    assert "not to c, as only one can have it" in out["talk"][-1].text
    assert "not to c, as only one can have it" in seen(b)[0][1].text


async def test_a_graph_or_a_function_hands_over_by_its_typed_output() -> None:
    def sort(task: Any) -> dict[str, Any]:
        return {"to": "desk", "reason": "it is new"}

    def desk(task: Any) -> dict[str, Any]:
        return {"text": "I looked.", "transfer": {"to": "expert", "reason": "too hard", "open": "all of it"}}

    expert = plays("expert", "done")
    team = [
        bind(Agent(name="sorter", responsibility="Sorts.", output=Transfer), sort),
        bind(Agent(name="desk", responsibility="Sits.", output=Said), desk),
        expert,
    ]
    out = await build(team).ainvoke({"task": "go"})
    assert (out["answer"]["text"], out["outcome"]) == ("done", "completed")
    shown = seen(expert)[0][1].text
    assert [w for w in ("I looked.", "too hard", "all of it", "it is new") if w not in shown] == []


async def test_a_function_is_told_of_a_transfer_that_is_not_allowed_and_cannot_insist_for_ever() -> None:
    told: list[Any] = []

    def lost(task: Any) -> dict[str, Any]:
        told.append(task.context.get("your last transfer was refused"))
        return {"to": "nobody", "reason": "x"}

    team = [bind(Agent(name="lost", responsibility="Is lost.", output=Transfer), lost), plays("b", "never")]
    out = await build(team).ainvoke({"task": "go"})
    assert told == [None, *["you cannot hand over to nobody: you may hand over to b, or answer"] * 2]
    assert (out["outcome"], out["reason"]) == ("failed", "lost gave no answer within 3 turn(s)")


async def test_a_typed_answer_is_the_agents_own_model() -> None:
    judge = scripted("judge", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)
    out = await build([plays("a", [to("judge")]), judge]).ainvoke({"task": "go"})
    assert out["answer"] == {"verdict": "accept", "issues": []}


# Tools of their own


async def test_agents_with_tools_of_their_own_use_them_and_hand_over() -> None:
    log: list[int] = []
    clerk = plays("clerk", [("lookup", {"number": 7})], [to("billing", "it is paid")], tools=(lookup(log),))
    billing = plays("billing", "refunded")
    out = await build([clerk, billing]).ainvoke({"task": "order 7"})
    assert (out["answer"]["text"], log) == ("refunded", [7])
    assert "lookup brought" in seen(billing)[0][1].text
    assert "order 7 is paid" in seen(billing)[0][1].text


async def test_a_transfer_beside_other_tools_waits_for_them() -> None:
    log: list[int] = []
    clerk = plays("clerk", [to("billing"), ("lookup", {"number": 7})], tools=(lookup(log),))
    billing = plays("billing", "refunded")
    out = await build([clerk, billing]).ainvoke({"task": "order 7"})
    assert (out["answer"]["text"], log, len(seen(clerk))) == ("refunded", [7], 1)
    assert "order 7 is paid" in seen(billing)[0][1].text


async def test_every_call_a_model_sees_has_exactly_one_result_and_every_result_its_call() -> None:
    same = AIMessage(
        "",
        id="same",
        tool_calls=[
            {"name": "lookup", "args": {"number": 1}, "id": "c"},
            {"name": "transfer_to_nobody", "args": {"reason": "x"}, "id": "c"},
            {"name": "lookup", "args": {"number": 2}, "id": ""},
        ],
    )
    clerk = plays("clerk", same, same, [to("desk")], [to("nobody")], "done", tools=(lookup([]),))
    desk = plays("desk", [to("nobody")], [to("clerk")])
    out = await build([clerk, desk]).ainvoke({"task": "go"})
    assert out["answer"]["text"] == "done"
    for messages in seen(clerk) + seen(desk):
        waiting: list[str] = []
        for message in messages:
            if isinstance(message, ToolMessage):
                assert waiting.pop(0) == message.tool_call_id
            else:
                assert waiting == []
                waiting = [c["id"] or "" for c in getattr(message, "tool_calls", [])]
                assert len(set(waiting)) == len(waiting)
        assert waiting == []
    ids = [m.id for m in seen(clerk)[2]]
    assert len(seen(clerk)[2]) == 10
    assert len({i for i in ids if i}) == len([i for i in ids if i])


async def test_an_irreversible_tool_waits_for_approval_and_runs_once(memory: Persistence) -> None:
    log: list[int] = []
    clerk = plays("clerk", [("lookup", {"number": 7}), to("desk")], tools=(lookup(log, "irreversible"),))
    graph = memory.bind(build([plays("a", [to("clerk")]), clerk, plays("desk", "done")]))
    waiting = await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    assert ([a["name"] for a in waiting["__interrupt__"][0].value["action_requests"]], log) == (["lookup"], [])
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), at("t"), durability="sync")
    assert (out["answer"]["text"], log) == ("done", [7])
    assert repeated(records(memory)) == []


async def test_a_tool_of_another_agent_is_refused_at_execution() -> None:
    log: list[int] = []
    other = lookup(log, name="other")
    thief = plays("thief", [("other", {"number": 7})], "caught", tools=(lookup([]),))
    out = await build([thief, plays("owner", "x", tools=(other,))]).ainvoke({"task": "go"})
    assert (out["answer"]["text"], log) == ("caught", [])
    assert "thief may not use other" in seen(thief)[1][-1].text


# Control survives turns


@pytest.mark.parametrize(
    ("control", "second"), [("stays", "c"), ("return_to_previous", "b"), ("return_to_triage", "a")]
)
async def test_the_next_user_message_goes_to_who_has_control(control: Any, second: str, memory: Persistence) -> None:
    team = [plays("a", [to("b")], "from a"), plays("b", [to("c")], "from b"), plays("c", "from c")]
    graph = memory.bind(build(team, control=control))
    first = await graph.ainvoke({"task": "one"}, at("t"))
    assert (first["answer"]["text"], first["holder"]) == ("from c", second)
    out = await graph.ainvoke({"messages": [("user", "two")]}, at("t"))
    assert out["answer"]["text"] == f"from {second}"
    assert out["usage"]["total"]["calls"] == 1


async def test_a_second_turn_sees_the_conversation_and_no_leftovers(memory: Persistence) -> None:
    b = plays("b", "one b", "two b")
    graph = memory.bind(build([plays("a", [to("b", "for a reason")]), b]))
    await graph.ainvoke({"task": "first"}, at("t"))
    out = await graph.ainvoke({"task": "second"}, at("t"))
    shown = seen(b)[-1][1].text
    assert [w for w in ("first", "one b", "second") if w not in shown] == []
    assert "for a reason" not in shown
    assert out["talk"] == []


async def test_control_of_an_agent_that_is_gone_returns_to_the_first(memory: Persistence) -> None:
    await memory.bind(build([plays("a", [to("b")]), plays("b", "x")])).ainvoke({"task": "one"}, at("t"))
    out = await memory.bind(build([plays("a", "from a"), plays("c", "y")])).ainvoke({"task": "two"}, at("t"))
    assert out["answer"]["text"] == "from a"


# What goes along


async def test_full_context_shows_everything_that_was_said(memory: Persistence) -> None:
    b, c = plays("b", [to("c", "because b")]), plays("c", "done")
    graph = memory.bind(build([plays("a", "hi", [to("b", "because a")]), b, c]))
    await graph.ainvoke({"task": "hello, I am Ann"}, at("t"))
    await graph.ainvoke({"task": "help"}, at("t"))
    shown = seen(c)[0][1].text
    assert [w for w in ("I am Ann", "hi", "because a", "because b", "help") if w not in shown] == []


async def test_a_filter_chooses_what_goes_along_and_cannot_lose_what_the_user_said(memory: Persistence) -> None:
    b = plays("b", "done")
    graph = memory.bind(build([plays("a", "chatter", [to("b")]), b], context=lambda words: []))
    await graph.ainvoke({"task": "I am Ann"}, at("t"))
    await graph.ainvoke({"task": "help"}, at("t"))
    shown = seen(b)[0][1].text
    assert "I am Ann" in shown
    assert "chatter" not in shown


async def test_a_summary_by_an_agent_goes_along_with_what_the_user_said(memory: Persistence) -> None:
    scribe, b = plays("scribe", "in short: money"), plays("b", "done")
    graph = memory.bind(build([plays("a", "chatter", [to("b")]), b], context=scribe))
    await graph.ainvoke({"task": "I am Ann"}, at("t"))
    out = await graph.ainvoke({"task": "help"}, at("t"))
    shown = seen(b)[0][1].text
    assert [w for w in ("I am Ann", "in short: money") if w not in shown] == []
    assert "chatter" not in shown
    assert "chatter" in seen(scribe)[0][1].text
    assert out["usage"]["total"]["calls"] == formula("handoff", turns=2, summaries=1) == 3


async def test_without_its_summary_the_whole_conversation_goes_along() -> None:
    def broken(task: Any) -> Any:
        raise ValueError("out of ink")

    b = plays("b", "done")
    scribe = bind(Agent(name="scribe", responsibility="Sums up."), broken)
    out = await build([plays("a", [to("b", "so it is")]), b], context=scribe).ainvoke({"task": "x"})
    assert "so it is" in seen(b)[0][1].text
    assert (out["outcome"], out["reason"]) == ("degraded", "scribe: out of ink")


# Circles and bounds


async def test_ping_pong_is_detected_by_default_and_goes_to_the_fallback() -> None:
    a, b, c = goes("a", "b"), goes("b", "a"), plays("c", "enough")
    out = await build([a, b, c], fallback="c").ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["outcome"], out["holder"]) == ("enough", "completed", "c")
    assert out["reason"] == "handed round in a circle: a -> b"
    assert (len(seen(a)), len(seen(b)), len(seen(c))) == (2, 1, 1)


async def test_a_longer_circle_is_detected_too_and_going_back_once_is_none() -> None:
    team = [goes("a", "b"), goes("b", "c"), goes("c", "a"), plays("d", "enough")]
    out = await build(team, fallback="d").ainvoke({"task": "x"})
    assert out["reason"] == "handed round in a circle: a -> b -> c"
    back = await build([plays("a", [to("b")], "done"), goes("b", "a")]).ainvoke({"task": "x"})
    assert (back["answer"]["text"], back["outcome"]) == ("done", "completed")


async def test_max_handoffs_goes_to_the_fallback() -> None:
    team = [goes("a", "b"), goes("b", "a"), plays("c", "enough")]
    out = await build(team, fallback="c", cycles=None, max_handoffs=5).ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["reason"]) == ("enough", "handed over 5 time(s) without an answer")
    assert out["usage"]["total"]["calls"] == formula("handoff", turns=7, summaries=0)


async def test_the_fallback_cannot_hand_over_any_more() -> None:
    offered: list[list[str]] = []
    c = scripted("c", lambda m, tools: offered.append(names_of(tools)) or "enough")
    await build([goes("a", "b"), goes("b", "a"), c], fallback="c").ainvoke({"task": "x"})
    assert offered == [[]]


async def test_without_a_fallback_whoever_has_control_must_answer_and_that_is_degraded() -> None:
    team = [goes("a", "b"), plays("b", [to("a")], "so be it")]
    out = await build(team, max_handoffs=1, cycles=None).ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["outcome"]) == ("so be it", "degraded")
    stubborn = await build([goes("a", "b"), goes("b", "a")]).ainvoke({"task": "x"})
    assert stubborn["outcome"] == "degraded"
    assert "handed round in a circle: a -> b" in stubborn["reason"]
    assert stubborn["answer"]["text"].startswith("(hands over to")


@pytest.mark.parametrize("turns", [1, 2, 5])
async def test_max_turns_bounds_the_steps_and_the_last_one_is_told(turns: int) -> None:
    a, b = goes("a", "b"), goes("b", "a")
    graph = build([a, b], cycles=None, max_handoffs=100, max_turns=turns)
    out = await graph.ainvoke({"task": "x"})
    assert len(seen(a)) + len(seen(b)) == turns == out["usage"]["total"]["calls"]
    assert out["outcome"] == ("degraded" if turns > 1 else "failed")
    assert out["reason"][2:] == f"gave no answer within {turns} turn(s)"
    assert (
        "This is your last step" in (seen(a) + seen(b) if turns == 1 else seen(b if turns % 2 == 0 else a))[-1][1].text
    )
    assert calls_of(graph).most == 3 * turns


async def test_an_agents_own_bound_on_steps_holds_too() -> None:
    clerk = plays(
        "clerk", *([("lookup", {"number": n})] for n in range(9)), tools=(lookup([]),), limits=Limits(steps=3)
    )
    out = await build([clerk, plays("b", "x")]).ainvoke({"task": "x"})
    assert (out["outcome"], out["reason"]) == ("failed", "clerk gave no answer within 3 turn(s)")
    assert len(seen(clerk)) == 3


async def test_a_budget_that_is_spent_says_where_the_matter_stands() -> None:
    graph = build([plays("a", [to("b", "about money", "the refund")]), plays("b", "x")])
    out = await graph.ainvoke({"task": "x"}, context={"max_calls": 1})
    assert out["outcome"] == "out_of_budget"
    assert out["answer"]["text"] == "(hands over to b: about money; still open: the refund)"


# What build refuses


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build([]), "`agents` is empty"),
        (lambda: build([plays("a", "x"), plays("a", "x")]), "'a'.*rename"),
        (lambda: build([plays("act", "x")]), "'act'.*rename"),
        (lambda: build([plays("a", "x")], hands_to={"a": ["b"]}), "names 'b', which is no agent"),
        (lambda: build([plays("a", "x")], hands_to={"a": ["a"]}), "cannot hand over to itself"),
        (lambda: build([plays("a", "x")], fallback="b"), "`fallback` is 'b', which is no agent"),
        (lambda: build([plays("a", "x")], max_handoffs=0), "`max_handoffs`"),
        (lambda: build([plays("a", "x")], max_turns=0), "`max_turns`"),
        (lambda: build([plays("a", "x")], cycles=1), "`cycles`"),
        (lambda: build([plays("a", "x", tools=(lookup([], name="transfer_to_bank"),))]), "taken for a transfer"),
        (lambda: build([plays("a", "x")], context="some"), "`context` is 'some'"),  # type: ignore[arg-type]
        (lambda: build([plays("a", "x")], control="goes"), "`control` is 'goes'"),  # type: ignore[arg-type]
        (lambda: build([plays("a", "x")], context=plays("s", "x", output=Critique)), "'s' must return a Text"),
        (lambda: build([bind(lambda task: "x"), plays("b", "x")], hands_to={"lambda": ["b"]}), "cannot hand over"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        make()


# The drawing


def test_the_drawing_shows_who_may_hand_over_to_whom() -> None:
    clerk = plays("clerk", "x", tools=(lookup([], "irreversible"),))
    graph = build([plays("triage", "x"), clerk, person()], hands_to={"triage": ["clerk"], "clerk": ["human"]})
    edges = sorted((e.source, e.target, e.conditional) for e in graph.get_graph().edges)
    assert edges == [
        ("__start__", "begin", False),
        ("act", "clerk", True),
        ("act", "gate", True),
        ("act", "human", True),
        ("begin", "clerk", True),
        ("begin", "human", True),
        ("begin", "triage", True),
        ("clerk", "act", True),
        ("clerk", "clerk", True),
        ("clerk", "finish", True),
        ("clerk", "gate", True),
        ("clerk", "human", True),
        ("finish", "__end__", False),
        ("gate", "act", False),
        ("human", "finish", True),
        ("triage", "clerk", True),
        ("triage", "finish", True),
        ("triage", "triage", True),
    ]


async def test_the_default_graph_hands_over_without_a_key() -> None:
    out = await handoff.graph.ainvoke({"task": "What do the tables say of 12 * 12?"})
    assert out["outcome"] in ("completed", "degraded")
    assert out["holder"] == "tables"
