"""The roles at a blackboard: a look at what triggers, a controller, sources, their writes, a word on conflicts."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Overwrite

from nodes.agent import Bound, as_node, call
from nodes.turn import EARLIER
from runtime.run import context_of
from state.agent import Reply
from state.arbitration import Rule, Ruling, results_of
from state.blackboard import Bounds, State, event, look, settled_answer
from state.board import Board, Contribution, Seat, may_write
from state.contest import contest
from state.round import refer, settle
from state.task import Task
from state.turn import ended, reasons, steps_left, task_of, weaker
from state.versioned import Write, compare_and_set

Node = Callable[..., Awaitable[dict[str, Any]]]

STEPS_PER_ROUND = 8  # super-steps that another round and the end need

CONTRIBUTE = (
    "You are one of several who work on a shared board, towards the goal. What stands on it follows, by entry. Add "
    "only what your responsibility asks of you."
)
WRITE = "Write only into these entries, each as a whole: "
CONTROL = (
    "Several sources could act on the shared board now. Name the one whose contribution brings the goal nearest, by "
    "what the board still lacks."
)
RESOLVE = (
    "Several sources wrote the same entry of a shared board, and contradict each other; the first result is what "
    "stands there. Decide which is right."
)
SYNTHESIZE = (
    "Answer the goal from what stands on the board, with sources as [file#section]. Add nothing that is not there. "
    "Say plainly what is missing."
)


def watch(
    seats: Sequence[Seat],
    bounds: Bounds,
    goal: Callable[[Board], bool] | None,
    answer: str | None,
    reserve: int,
    *,
    synthesizes: bool,
) -> Node:
    """Who acts next on the board as it is, or the end of the work; what the task's context says opens the board.

    `reserve` are the super-steps that another round and the end need.
    """

    async def watch(state: State) -> dict[str, Any]:
        opened: dict[str, Any] = {}
        if not state.get("round"):
            opened = {"board": _opened(task_of(state)), "revision": 0}
            state = {**state, **opened}  # type: ignore[typeddict-item]  # the same keys, with the board opened
        found = opened | look(seats, state, bounds, goal, steps_left(state) >= reserve)
        over = found.get("over")
        if over is None or (synthesizes and state.get("board")):
            return found
        return found | _ended(state, over["outcome"], over["reason"], answer)

    return watch


def control(bound: Bound, team: Sequence[Bound], answer: str | None) -> Node:
    """The controller's word on which of the triggered sources acts; priority decides where that is none of them."""

    def read(state: State) -> Task:
        ready = {b.agent.name: b.agent.responsibility for b in team if b.agent.name in state["ready"]}
        context = {"instructions": CONTROL, "workers": ready, **_material(state)}
        return task_of(state).model_copy(update={"context": context})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        now, named = state["round"], "" if reply.output is None else reply.output["next"].strip()
        if reply.outcome == "out_of_budget":
            return _ended(state, "out_of_budget", reply.reason, answer)
        if named in state["ready"]:
            return {"chosen": [named], "log": [event(now, bound.agent.name, "picked", [named])]}
        why = reply.reason or f"{bound.agent.name} named {named!r}, who is not triggered"
        why = f"{why}: by priority, {state['chosen'][0]} acts"
        return {"log": [event(now, bound.agent.name, "picked", state["chosen"], why=why, flaw=not reply.ok)]}

    return as_node(bound, read=read, write=write, visit=lambda state: f"{bound.agent.name}/{state['round']}")


def contribute(bound: Bound, mine: Seat) -> Node:
    """One source at work on the board as it stands now; it keeps which versions it has read."""

    async def contribute(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        context: dict[str, Any] = {"instructions": CONTRIBUTE, **_material(state)}
        if bound.agent.output is Contribution:
            context["instructions"] = f"{CONTRIBUTE} {WRITE}{', '.join(mine.writes)}."
        if told := state["memory"].get(mine.name, {}).get("told"):
            context["refused"] = told
        given = task_of(state).model_copy(update={"context": context})
        reply = await call(bound, given, visit=f"{mine.name}/{state['round']}", config=config, runtime=runtime)
        read = {e: v["version"] for e, v in state["board"].items() if may_write(mine, e)}
        offer = {"output": reply.output, "outcome": reply.outcome, "reason": reply.reason, "read": read}
        return {"offers": {mine.name: offer}}

    return contribute


def post(
    seats: Mapping[str, Seat], bounds: Bounds, answer: str | None, *, rules: Sequence[Rule], referred: bool
) -> Node:
    """What the sources of a round wrote is put on the board, or has lost and is read again or resolved."""

    async def post(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
        seed = context_of(runtime).seed
        found = settle(seats, state, bounds, seed=seed, rules=rules, referred=referred) | {"offers": Overwrite({})}
        broke = [o["reason"] for o in state["offers"].values() if o["outcome"] == "out_of_budget"]
        if not broke:
            return found
        after: Any = {**state, **{k: v for k, v in found.items() if k in ("board", "newest")}}
        return found | _ended(after, "out_of_budget", "; ".join(broke), answer)

    return post


def arbitrate(bound: Bound, seats: Mapping[str, Seat], answer: str | None) -> Node:
    """The resolver's word on one conflict: any agent, an arbitration or a negotiation, a person."""
    name = bound.agent.name

    def read(state: State) -> Task:
        changes = state["conflicts"][0]["changes"]
        results = results_of(contest(state["board"], changes))
        entries = ", ".join(w["key"] for w in changes[0])
        context = {"instructions": RESOLVE, "goal": task_of(state).goal, "results": results}
        return Task(goal=f"Which of these is right for {entries}?", context=context)

    def write(state: State, reply: Reply) -> dict[str, Any]:
        numbers = bound.agent.output is Ruling
        why = "" if reply.ok else reply.reason or f"{name} did not decide"
        found = refer(seats, state, reply.output, by=name, why=why, numbers=numbers)
        if reply.outcome == "out_of_budget":
            return found | _ended(state, "out_of_budget", reply.reason, answer)
        return found

    return as_node(
        bound, read=read, write=write, visit=lambda state: f"{name}/{state['round']}/{len(state['conflicts'])}"
    )


def synthesize(bound: Bound) -> Node:
    """One answer from the board, written by an agent."""

    def read(state: State) -> Task:
        over = state["over"] or {}
        context = {"instructions": SYNTHESIZE, **_material(state)}
        if over.get("reason"):
            context["missing"] = over["reason"]
        return task_of(state).model_copy(update={"context": context})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        over = state["over"] or {}
        reason = reasons(over["reason"], reply.reason)
        if reply.output is None:
            return _ended(state, weaker(reply.outcome), reason, None)
        end = over["outcome"] if reply.outcome == "completed" else reply.outcome
        return ended(end, reason, answer=reply.output, author=reply.agent)

    return as_node(bound, read=read, write=write, visit=lambda state: f"{bound.agent.name}/0")


def _opened(task: Task) -> dict[str, Any]:
    known = {k: v for k, v in task.context.items() if k != EARLIER}
    writes = [Write(key=k, expected=0, value=v, by="task") for k, v in known.items()]
    return compare_and_set({}, *writes) or {}


def _material(state: State) -> dict[str, Any]:
    """What stands on the board, by entry, and what was said before this turn."""
    earlier = {k: v for k, v in task_of(state).context.items() if k == EARLIER}
    return {**earlier, **{entry: v["value"] for entry, v in state["board"].items()}}


def _ended(state: State, outcome: Any, reason: str, entry: str | None) -> dict[str, Any]:
    answer, author, missing = settled_answer(state, entry)
    if missing and outcome == "completed":
        outcome = "degraded"
    return ended(outcome, reasons(missing, reason), answer=answer, author=author)
