"""Negotiation: parties with private interests make alternating offers until all accept one.

    begin -> open -> party -> party -> ... -> close -> write -> finish      (write: an optional agent)
                      ^         |               ^
                      +---------+               |
                      +--> mediate, party, ... -+                           no deal in all rounds
                              +-----> decide ---+                           escalate=True: a person

Each party moves by a strategy (`state.concession`), or by an agent whose output is Move, and sees its own
interests, the issues, and the offers; nobody else's interests are ever shown to it. A deal is accepted by
all parties, and within every reservation. Without one in all rounds a mediator, who sees the offers alone,
proposes compromises, which the parties answer one by one. No deal at all ends the turn as rejected; a
party that withdraws ends it at once, and so does the agent of one that fails.

Use it when the parties have different interests, and a deal must suit all.
Cost: 1 model call per move of an agent, proposal of a mediating agent, and for the writing; none of a
strategy. Sources: Rubinstein (1982); Faratin, Sierra, Jennings (1998).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.graph import END, START, StateGraph
from pydantic import ValidationError

from graphs.bind import Bindable, bind
from graphs.compile import compiled, take_tasks
from nodes.agent import Bound
from nodes.negotiation import Party, close, decide, mediate, move, open_table, write
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent, Text
from state.concession import Strategy, boulware, linear
from state.context import Context
from state.cost import NONE, Calls, total
from state.errors import ContractError
from state.interests import Interests, Issues, Preference, unfit, unsound
from state.negotiation import LAST_STEPS, Move, Shown, State, next_up
from state.offers import MEDIATOR
from state.task import Task
from state.turn import Given, explain

ROLES = ("begin", "open", "mediate", "decide", "close", "write", "finish", MEDIATOR)


def party(
    name: str,
    *,
    by: Strategy | Bindable | None = None,
    prefers: Mapping[str, Preference] | None = None,
    weights: Mapping[str, float] | None = None,
    reservation: float = 0.0,
    limits: Mapping[str, Any] | None = None,
) -> Party:
    """One side, and who moves for it: a strategy (`linear()`, by default), or an agent whose output is Move.

    `prefers` says for each issue `high`, `low`, its values best first, or what each value is worth, 0 to 1.
    A deal is worth the mean of that, by `weights`; none below `reservation`, or beyond one of the `limits`,
    is accepted. Without `prefers` the interests come with the task, in `context["parties"][name]`.
    Raises ContractError for interests that do not fit.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or name in ROLES:
        raise ContractError(f"negotiation: {name!r} cannot be a party's name; give lower case letters, digits and _")
    mine = None
    if prefers is not None:
        given = {"prefers": prefers, "weights": weights or {}, "reservation": reservation, "limits": limits or {}}
        try:
            mine = Interests.model_validate(given)
        except ValidationError as error:
            raise ContractError(f"negotiation: the interests of {name!r} do not fit: {explain(error)}") from error
    moves = linear() if by is None else by
    return Party(name=name, by=moves if isinstance(moves, Strategy) else bind(moves), interests=mine)


def build(
    parties: Sequence[Party],
    *,
    issues: Issues | None = None,
    rounds: int = 10,
    monotonic: bool = False,
    mediator: Bindable | None = None,
    max_proposals: int = 10,
    writer: Bindable | None = None,
    escalate: bool = False,
) -> Graph:
    """The parties in the order of their moves, and the values that each issue may take.

    Those of `context["issues"]` and `context["parties"]` in the task go before them. `rounds` is the
    deadline, of one move a party each. With `monotonic`, an offer that is worse for another party than the
    one before is not made (all that its party learns of the other), and that one stands. Without a deal a
    mediator makes up to `max_proposals`: the built-in compromise, or an agent (output Move); then a person
    is asked (`escalate`), who may set terms that all can accept. A `writer` makes a Text of the agreement.
    Raises ContractError for what cannot work.
    """
    names = [p.name for p in parties]
    aide, clerk = (None if who is None else bind(who) for who in (mediator, writer))
    _check(parties, issues, rounds, max_proposals, aide, clerk)
    last = "write" if clerk else "finish"
    ways = [*names, "close", "finish", *(["mediate"] if max_proposals else []), *(["decide"] if escalate else [])]

    async def next_turn(state: State) -> str:
        return next_up(state, max_proposals, escalate=escalate)

    async def after_close(state: State) -> str:
        return last if state.get("agreement") else "finish"

    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
    wiring.add_node("begin", begin(State)).add_node("open", open_table(parties, issues, rounds))
    for one in parties:
        wiring.add_node(one.name, move(one, parties, monotonic=monotonic), metadata=_about(one.by))
        wiring.add_conditional_edges(one.name, next_turn, [way for way in ways if way != one.name])
    if max_proposals:
        wiring.add_node("mediate", mediate(aide), metadata=_about(aide))
        wiring.add_conditional_edges("mediate", next_turn, [names[0], "finish"])
    if escalate:
        wiring.add_node("decide", decide(parties)).add_conditional_edges("decide", next_turn, ["close", "finish"])
    (
        wiring.add_node("close", close(parties))
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "open")
        .add_edge("open", names[0])
        .add_conditional_edges("close", after_close, list(dict.fromkeys([last, "finish"])))
        .add_edge("finish", END)
    )
    if clerk:
        wiring.add_node("write", write(clerk), metadata=_about(clerk)).add_edge("write", "finish")
    moving = [p.by for p in parties if isinstance(p.by, Bound)]
    return compiled(
        wiring,
        name="negotiation",
        agents=[*moving, *(b for b in (aide, clerk) if b)],
        steps=rounds * len(names) + max_proposals * (1 + len(names)) + LAST_STEPS,
        calls=_calls(moving, aide, clerk, rounds, max_proposals),
    )


def _about(by: Strategy | Bound | None) -> dict[str, Any]:
    return {"agent": by.agent.name} if isinstance(by, Bound) else {}


def _calls(moving: Sequence[Bound], aide: Bound | None, clerk: Bound | None, rounds: int, most: int) -> Calls:
    """Everyone moves at least once before a deal."""
    moves = total(b.calls for b in moving).times(1, rounds + most)
    mediated = NONE if aide is None else aide.calls.times(0, most)
    return moves + mediated + (NONE if clerk is None else clerk.calls)


def _check(
    parties: Sequence[Party],
    issues: Issues | None,
    rounds: int,
    max_proposals: int,
    aide: Bound | None,
    clerk: Bound | None,
) -> None:
    names = [p.name for p in parties]
    if len(parties) < 2:
        raise ContractError(f"negotiation: `parties` are {len(parties)}; give at least two")
    if twice := [n for n in names if names.count(n) > 1]:
        raise ContractError(f"negotiation: two parties are called {twice[0]!r}; rename one")
    if rounds < 1 or max_proposals < 0:
        raise ContractError("negotiation: `rounds` must be at least 1, and `max_proposals` 0 or more")
    if issues is not None and (fault := unsound(issues)):
        raise ContractError(f"negotiation: `issues` cannot be negotiated: {fault}")
    for one in parties:
        if issues and one.interests and (fault := unfit(one.interests, issues)):
            raise ContractError(f"negotiation: the interests of {one.name!r} do not fit `issues`: {fault}")
    moving = [p.by for p in parties if isinstance(p.by, Bound)]
    for role, bound in [*(("party", b) for b in moving), *([("mediator", aide)] if aide else [])]:
        if bound.agent.output is not Move:
            raise ContractError(f"negotiation: the {role} {bound.agent.name!r} must return a Move; set output=Move")
    if clerk is not None and clerk.agent.output is not Text:
        raise ContractError(f"negotiation: the writer {clerk.agent.name!r} must return a Text")
    take_tasks("negotiation", [*moving, *(b for b in (aide, clerk) if b)])


def _agreed(task: Task) -> str:
    return str(task.context["agreement"])


graph = build(
    [
        party(
            "client",
            by=boulware(),
            prefers={"price": "low", "days": "low", "revisions": "high"},
            weights={"price": 3, "days": 2},
            reservation=0.3,
        ),
        party(
            "contractor",
            prefers={"price": "high", "days": "high", "revisions": "low"},
            weights={"price": 2, "revisions": 2},
            reservation=0.3,
        ),
    ],
    issues={"price": list(range(400, 1050, 50)), "days": [5, 10, 15, 20, 30], "revisions": [0, 1, 2, 3]},
    writer=bind(Agent(name="clerk", responsibility="Writes up what was agreed."), _agreed),
)
