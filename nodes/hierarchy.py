"""The roles of a hierarchy: a manager who delegates and reports, and its team."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Send

from nodes.agent import Bound, as_node, call
from runtime.run import place_of, run_of
from state.agent import Outcome, Reply
from state.answers import in_words
from state.budget import Limit
from state.hierarchy import (
    RESERVE,
    Assignments,
    State,
    done,
    faults,
    fresh,
    lost,
    next_move,
    results_of,
    shares,
    sources,
    split,
    useful,
)
from state.task import Task
from state.turn import concluded, ended, reasons, steps_left, task_of, weaker

Node = Callable[..., Awaitable[dict[str, Any]]]

DELEGATE = (
    "Split the task among these workers, each of whom may be a whole team. Give each a task that is complete in "
    "itself, with its constraints. All of them work at the same time, so none sees what another finds. "
    "Do not do the work yourself."
)
AGAIN = "Assign what is still missing, in another way than before; assign nothing when the task can be answered."
REPORT = (
    "Answer the task from the results of your team: a summary, with their sources as [file#section]. Add nothing "
    "that is not in them. Say plainly what is missing."
)


def delegate(bound: Bound, team: Mapping[str, Bound], *, max_repairs: int, max_assignments: int) -> Node:
    """A manager's word to its own team, checked, and the budget of each task; a faulty one goes back."""

    def brief(state: State) -> Task:
        results = results_of(state)
        workers = {name: member.agent.responsibility for name, member in team.items()}
        task = task_of(state)
        context: dict[str, Any] = {"instructions": DELEGATE, "workers": workers, **task.context}
        if results:
            context["instructions"] = f"{DELEGATE} {AGAIN}"
            context["results so far"] = _brought(results)
        if gone := lost(results):
            context["missing"] = gone
        if state.get("faults"):
            context["your last assignments"] = state.get("assignments")
            context["their faults, all to be mended"] = state["faults"]
        return task.model_copy(update={"context": context})

    async def delegate(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        results, number, repairs = results_of(state), state.get("round") or 0, state.get("repairs") or 0
        found = useful(results)
        visit = f"delegate/{number}/{repairs}"
        reply = await call(bound, brief(state), visit=visit, config=config, runtime=runtime)
        if reply.output is None or reply.outcome == "out_of_budget":
            return _unheard(state, reply)
        said, known = Assignments.model_validate(reply.output), done(results)
        wrong = faults(said, team, most=max_assignments, first=not found, done=known)
        given = [a.model_dump() for a in said.assignments]
        if wrong and repairs < max_repairs and steps_left(state) >= RESERVE:
            return {"assignments": given, "faults": wrong, "repairs": repairs + 1}
        if wrong:
            why = f"{reply.agent} assigned nothing sound after {repairs} repair(s): {'; '.join(wrong)}"
            return _idle(why) if found else ended("failed", why, author=reply.agent)
        place = place_of(config)
        left, now = (await run_of(place, runtime)).left(place), fresh(said, known)
        parts = shares([a.share for a in now])
        given = [
            {**a.model_dump(), "id": f"{number}/{n}", "budget": split(left, part)}
            for n, (a, part) in enumerate(zip(now, parts, strict=True))
        ]
        flaw = "" if reply.outcome == "completed" else reply.reason
        return {"assignments": given, "faults": [], "repairs": 0, "round": number + 1, "more": said.more, "flaw": flaw}

    return delegate


def send(state: State) -> list[Send]:
    """Every assignment to who does it, with the task that it is part of."""
    return [Send(given["assignee"], {"given": given, "task": state["task"]}) for given in state["assignments"]]


def member(bound: Bound) -> Node:
    """One of the team at one task, with the constraints from above and its part of the budget."""
    name = bound.agent.name

    async def member(sent: Any, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        whole, given = task_of(sent), sent["given"]
        same = given["task"] == whole.goal
        task = whole.model_copy(
            update={
                "goal": given["task"],
                "context": whole.context if same else {**whole.context, "part of": whole.goal},
                "constraints": list(dict.fromkeys([*whole.constraints, *given["constraints"]])),
                "success": whole.success if same else [],
            }
        )
        visit, budget = f"{name}/{given['id']}", Limit(**given["budget"])
        reply = await call(bound, task, visit=visit, config=config, runtime=runtime, budget=budget)
        result = {
            "assignee": name,
            "task": given["task"],
            "round": int(given["id"].split("/")[0]),
            "output": reply.output,
            "outcome": reply.outcome,
            "reason": reply.reason if name in reply.reason else f"{name}: {reply.reason}" if reply.reason else "",
        }
        return {"results": {given["id"]: result}}

    return member


def collect(max_rounds: int) -> Node:
    """Where the results meet; what an agent's policy does not forgive, or no result in the end, ends the turn."""

    async def collect(state: State) -> dict[str, Any]:
        results = results_of(state)
        found = useful(results)
        if fatal := next((r for r in results.values() if _fatal(r)), None):
            return _ended(fatal["outcome"], fatal["reason"], found)
        spent = sum(r["outcome"] == "out_of_budget" for r in results.values())
        if not found and (spent == len(results) or next_move(state, max_rounds) == "report"):
            return _ended("out_of_budget" if spent else "failed", lost(results), found)
        return {}

    return collect


def report(bound: Bound) -> Node:
    """A summary of what the team brought; no source is lost on its way up, and what is missing is said."""

    def read(state: State) -> Task:
        results, task = results_of(state), task_of(state)
        context = {"instructions": REPORT, **task.context}
        context |= {f"{r['assignee']} {i}: {r['task']}": r["output"] for i, r in useful(results).items()}
        if gone := lost(results):
            context["missing"] = gone
        return task.model_copy(update={"context": context})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        found, output = useful(results_of(state)), reply.output
        if output is None:
            return concluded(reply, best=_best(found))
        own = output.get("citations")
        if isinstance(own, list) and all(isinstance(c, str) for c in own):
            below = [r["output"] for r in found.values()]
            output = {**output, "citations": list(sources([{"citations": own}, *below]))}
        gone = [lost(results_of(state)), state.get("flaw") or "", "" if reply.outcome == "completed" else reply.reason]
        why = reasons(*gone)
        outcome: Outcome = weaker(reply.outcome) if why else "completed"
        return ended(outcome, why, answer=output, author=reply.agent)

    return as_node(bound, read=read, write=write, visit=lambda state: "report/0")


def _brought(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"assignee": r["assignee"], "task": r["task"], "result": r["output"] or r["reason"]} for r in results.values()
    ]


def _unheard(state: State, reply: Reply) -> dict[str, Any]:
    """No word of the manager: the end of the turn, or the report where its team has brought something."""
    found = useful(results_of(state))
    if found and reply.outcome == "degraded":
        return _idle(reply.reason)
    return _ended(reply.outcome, reply.reason, found)


def _idle(why: str) -> dict[str, Any]:
    """Nothing more is assigned."""
    return {"assignments": [], "faults": [], "flaw": why}


def _fatal(result: Mapping[str, Any]) -> bool:
    return result["output"] is None and result["outcome"] not in ("degraded", "out_of_budget")


def _ended(outcome: Outcome, reason: str, found: Mapping[str, Any]) -> dict[str, Any]:
    best = _best(found)
    end = weaker(outcome) if best else "failed" if outcome == "degraded" else outcome
    return ended(end, reason, answer=best, author=next(iter(found.values()))["assignee"] if best else "")


def _best(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The results so far as one text: the best answer there is without a report."""
    if not found:
        return None
    texts = [in_words(r["output"]) for r in found.values()]
    cited = list(sources([r["output"] for r in found.values()]))
    return {"text": "\n\n".join(texts), "citations": cited, "confidence": None}
