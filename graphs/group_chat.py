"""Group chat: several agents in one conversation, and a rule or a manager who says who speaks next.

    begin -> select -> participant -> participant -> ... -> finish       where a function selects
    begin -> select <-> participant, participant, ...    -> finish       where a manager does
                          \\-> summarize ->                \\-> answer ->   where agents do that

Use it when the answer comes out of a discussion. Cost: 1 model call a turn, and 1 for each selection by a
manager, for each summary, and for the answer where an agent writes it. Source: Wu et al., AutoGen (2023).
"""

from collections.abc import Callable, Mapping, Sequence

from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes import group_chat as roles
from nodes.agent import Bound
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent, Text
from state.condition import Condition, Conversation, condition
from state.context import Context
from state.cost import either, total
from state.errors import ContractError
from state.group_chat import Shown, State, next_move
from state.speaker import WINDOW, Rules, Selection, Selector, round_robin, unheard, ways
from state.turn import Given
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES

ROLES = ("begin", "select", "summarize", "answer", "finish")


def build(
    participants: Sequence[Bindable],
    *,
    select: Bindable | Selector | None = None,
    until: Condition | Callable[[Conversation], bool | str] | None = None,
    max_turns: int = 12,
    max_reasks: int = 1,
    allow_repeats: bool = False,
    transitions: Mapping[str, Sequence[str]] | None = None,
    window: int | Mapping[str, int] = WINDOW,
    summarize: Bindable | None = None,
    answer: Bindable | None = None,
) -> Graph:
    """Who takes part (persons too), and who selects: a function of the Conversation, a manager, or nobody: in turn.

    A manager is an agent or a pattern that returns a Selection, or a Text that names one participant; an
    invalid selection is asked again `max_reasks` times, then the next in turn speaks. Nobody speaks twice in
    a row unless `allow_repeats`; `transitions` says who may follow whom (all, by default; nobody ends it).
    `until` ends the conversation (`state.condition`); without it, `max_turns` is its regular end.

    Each agent sees the newest `window` messages, one number or one by name; of older ones, the summary that
    `summarize` writes. `answer` writes the answer; without it, the last word is the answer. Raises
    ContractError for what cannot work, naming the agent and the mend.
    """
    team = [bind(p) for p in participants]
    manager = bind(select) if isinstance(select, Agent | Bound | Pregel) else None
    scribe, writer = (None if who is None else bind(who) for who in (summarize, answer))
    aides = [aide for aide in (manager, scribe, writer) if aide is not None]
    names = distinct("group_chat", team, taken=ROLES)
    rules = Rules(
        team=tuple(names),
        choose=round_robin if select is None else select if manager is None and callable(select) else None,
        until=None if until is None else condition(until),
        max_turns=max_turns,
        max_reasks=max_reasks if manager else 0,
        allow_repeats=allow_repeats,
        transitions={} if transitions is None else {who: tuple(to) for who, to in transitions.items()},
        windows={b.agent.name: window for b in [*team, *aides]} if isinstance(window, int) else dict(window),
        summarizes=scribe is not None,
        answers=writer is not None,
    )
    _check(rules, [*team, *aides], manager, select)
    duties = {b.agent.name: b.agent.responsibility for b in team}
    ends = ["answer", "finish"] if writer else ["finish"]

    async def leads(state: State) -> str:
        return next_move(rules, state)

    def after(name: str) -> list[str]:
        return ["select"] if manager else [*ways(rules, name)]

    selecting = roles.first(rules) if manager is None else roles.select(manager, rules, duties)
    again = ["select"] if rules.max_reasks else []
    wiring = (
        StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
        .add_node("begin", begin(State))
        .add_node("select", selecting, metadata={"agent": manager.agent.name} if manager else None)
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "select")
        .add_conditional_edges("select", leads, [*again, *names, *ends] if manager else after(""))
        .add_edge("finish", END)
    )
    for name, bound in zip(names, team, strict=True):
        wiring.add_node(name, roles.speak(bound, rules), metadata={"agent": name})
        wiring.add_conditional_edges(name, leads, [*after(name), *(["summarize"] if scribe else []), *ends])
    if scribe is not None:
        wiring.add_node("summarize", roles.summarize(scribe, rules), metadata={"agent": scribe.agent.name})
        wiring.add_conditional_edges("summarize", leads, [*dict.fromkeys(n for m in names for n in after(m)), *ends])
    if writer is not None:
        wiring.add_node("answer", roles.answer(writer, rules), metadata={"agent": writer.agent.name})
        wiring.add_edge("answer", "finish")
    selections, summaries = max_turns * (1 + rules.max_reasks) if manager else 0, max_turns // rules.widest
    aid = [(manager, 1, selections), (scribe, 0, summaries), (writer, 1, 1)]
    return compiled(
        wiring,
        name="group_chat",
        agents=[*team, *aides],
        steps=max_turns + selections + summaries + 2,
        calls=either(b.calls for b in team).times(1, max_turns) + total(b.calls.times(*n) for b, *n in aid if b),
    )


def _check(rules: Rules, agents: Sequence[Bound], manager: Bound | None, select: object) -> None:
    if len(rules.team) < 2:
        raise ContractError(f"group_chat: {len(rules.team)} participant(s) make no conversation; give at least two")
    take_tasks("group_chat", agents)
    if manager is None and rules.choose is None:
        raise ContractError(f"group_chat: `select` is {select!r}; give a function of the Conversation, or an agent")
    if manager is not None and manager.agent.output not in (Selection, Text):
        raise ContractError(
            f"group_chat: the manager {manager.agent.name!r} must return a Selection, or a Text that names a "
            f"participant, not {manager.agent.output.__name__}; set output=Selection"
        )
    if rules.max_turns < 1:
        raise ContractError(f"group_chat: `max_turns` must be at least 1, not {rules.max_turns}")
    if rules.max_reasks < 0:
        raise ContractError(f"group_chat: `max_reasks` must be 0 or more, not {rules.max_reasks}")
    known = {b.agent.name for b in agents}
    for name, seen in rules.windows.items():
        if seen < 1 or name not in known:
            raise ContractError(
                f"group_chat: `window` of {name!r} is {seen}; give at least 1 message, to one of {sorted(known)}"
            )
    for name, to in rules.transitions.items():
        if unknown := sorted({name, *to} - set(rules.team)):
            raise ContractError(
                f"group_chat: `transitions` of {name!r} name {', '.join(unknown)}, who take no part; mend the name"
            )
    if rules.choose is round_robin and (silent := unheard(rules)):
        raise ContractError(
            f"group_chat: in turn, {', '.join(silent)} would never speak by these `transitions`; allow somebody to "
            "hand over to them, reorder the participants, or give `select`"
        )


graph = build(
    [
        Agent(
            name="researcher",
            responsibility="Brings what documents and tables say about the task, with its sources.",
            tools=(SEARCH, READ, TABLES, QUERY, CALCULATE),
        ),
        Agent(name="skeptic", responsibility="Says what is unproven, missing or contradictory in what was said."),
        Agent(name="advocate", responsibility="Says what can be relied on in what was said, and why."),
    ],
    select=Agent(
        name="manager",
        responsibility="Names who should speak next, so that the conversation brings the task further.",
        output=Selection,
        tier="planner",
    ),
    max_turns=4,
    answer=Agent(name="writer", responsibility="Writes one answer from a conversation of several agents."),
)
