"""Consensus: voters answer independently, and a voting rule decides.

    begin -> announce -> voter, voter, ... -> tally -> finish
                ^                               | \\-> decide -> finish     (escalate=True: a person)
                +------ nothing decided --------+

Voters hear the task, and from the second round on the tally and the arguments of the round before,
without names. One that returns a Ballot chooses, ranks or approves, as the rule reads it; one that
returns Text votes with the text itself, so that any agent or pattern can vote. Who fails, or spoils a
ballot twice, counts as abstaining, and the reason names them. Rules: `state.voting`.

Use it when independent judgements are better than one, and the rule must be fair.
Cost: 1 model call per voter and round. Source: Wang et al., Self-Consistency (2022), for `samples`.
"""

from collections.abc import Sequence

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.agent import Bound
from nodes.consensus import LAST_STEPS, STEPS_PER_ROUND, Election, announce, decide, send, tally, voter
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent, Text
from state.ballot import Ballot, Key
from state.consensus import Shown, State, TieBreak, unfit
from state.context import Context
from state.cost import total
from state.errors import ContractError
from state.turn import Given
from state.voting import Rule, majority
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES


def build(
    voters: Bindable | Sequence[Bindable],
    *,
    rule: Rule | None = None,
    options: Sequence[str] = (),
    samples: int = 1,
    key: Key | None = None,
    quorum: int = 1,
    tie_break: TieBreak = "none",
    max_rounds: int = 3,
    escalate: bool = False,
) -> Graph:
    """The voters, each of whom votes `samples` times, and the rule (`majority()` of the votes cast, by default).

    The options are those of `context["options"]` in the task, else `options`; without any, voters choose in
    their own words. `key` makes of a choice or a text what it is counted under (case, spaces and a closing
    mark do not count, by default). `quorum` is the least number of votes cast. A tie decides nothing, or
    goes to the option listed first (of open choices: the first of the alphabet), or by Context.seed.
    After `max_rounds` without a decision a person gets every ballot (`escalate`), who approves the leading
    option, responds with another, or rejects; else the turn ends degraded, and its answer says that nothing
    was decided, and what came nearest. Raises ContractError for what cannot work, naming the mend.
    """
    team = [bind(v) for v in (voters if isinstance(voters, Sequence) else (voters,))]
    rule = majority() if rule is None else rule
    _check(team, rule, options, samples, quorum, tie_break, max_rounds)
    names = distinct("consensus", team, taken=("begin", "announce", "tally", "decide", "finish"))
    numbered = [(f"{n} {i}" if samples > 1 else n, n) for n in names for i in range(1, samples + 1)]
    vote = Election(
        rule=rule,
        seats=dict(numbered),
        options=tuple(options),
        key=key,
        quorum=quorum,
        tie_break=tie_break,
        max_rounds=max_rounds,
        texts=all(v.agent.output is Text for v in team),
    )

    async def after_announce(state: State) -> list[Send]:
        return send(state, vote)

    async def after_tally(state: State) -> str:
        undecided = state.get("outcome") == "degraded" and state["counts"][-1]["decision"] is None
        return ("decide" if undecided and escalate else "finish") if state.get("outcome") else "announce"

    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
    for bound in team:
        wiring.add_node(bound.agent.name, voter(bound, vote), metadata={"agent": bound.agent.name})
        wiring.add_edge(bound.agent.name, "tally")
    (
        wiring.add_node("begin", begin(State))
        .add_node("announce", announce(vote))
        .add_node("tally", tally(vote))
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "announce")
        .add_conditional_edges("announce", after_announce, names)
        .add_conditional_edges("tally", after_tally, ["announce", "finish", *(["decide"] if escalate else [])])
        .add_edge("finish", END)
    )
    if escalate:
        wiring.add_node("decide", decide(vote)).add_edge("decide", "finish")
    return compiled(
        wiring,
        name="consensus",
        agents=team,
        steps=STEPS_PER_ROUND * max_rounds + LAST_STEPS,
        calls=total(v.calls for v in team).times(samples, samples * max_rounds),
    )


def _check(
    team: list[Bound], rule: Rule, options: Sequence[str], samples: int, quorum: int, tie_break: str, max_rounds: int
) -> None:
    if not team:
        raise ContractError("consensus: `voters` is empty; give at least one agent")
    take_tasks("consensus", team)
    for name, least, value in (("samples", 1, samples), ("quorum", 1, quorum), ("max_rounds", 1, max_rounds)):
        if value < least:
            raise ContractError(f"consensus: `{name}` must be at least {least}, not {value}")
    seats = len(team) * samples
    if quorum > seats:
        raise ContractError(f"consensus: `quorum` is {quorum}, but there are {seats} voters; lower it")
    if tie_break not in ("none", "listed", "seeded"):
        raise ContractError(f"consensus: `tie_break` is {tie_break!r}; give 'none', 'listed' or 'seeded'")
    if len(team) < rule.voters:
        raise ContractError(
            f"consensus: {rule.name} needs at least {rule.voters} different voters, not {len(team)}; add some, or "
            "tolerate fewer faults"
        )
    if rule.voters > 1 and samples > 1:
        raise ContractError(f"consensus: {rule.name} counts different voters; leave `samples` at 1")
    known = [v.agent.name for v in team]
    if stranger := [name for name in rule.expertise if name not in known]:
        raise ContractError(
            f"consensus: {rule.name} weighs {stranger[0]!r}, who is no voter; voters: {', '.join(known)}"
        )
    for agent in (v.agent for v in team):
        if agent.output is not Ballot and (agent.output is not Text or rule.reads != "choice"):
            either = "a Ballot or a Text" if rule.reads == "choice" else f"a Ballot, which {rule.name} reads"
            raise ContractError(f"consensus: {agent.name!r} must return {either}; set output=Ballot")
    if options and (fault := unfit(options, rule)):
        raise ContractError(f"consensus: `options` do not fit: {fault}")


graph = build(
    [
        Agent(
            name=name,
            responsibility=f"Answers the task from documents and tables, {how}.",
            tools=(SEARCH, READ, TABLES, QUERY, CALCULATE),
        )
        for name, how in (
            ("reader", "by what they say in exact terms"),
            ("doubter", "after looking for what speaks against the obvious answer"),
            ("helper", "with what the one who asks will need"),
        )
    ]
)
