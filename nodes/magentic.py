"""The roles of a magentic team: who keeps the ledgers, who works, who answers."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from pydantic import ValidationError

from nodes import human
from nodes.agent import Bound, as_node
from state.agent import Reply
from state.answers import in_words
from state.decision import ActionRequest, Decisions, Request, ReviewConfig
from state.magentic import (
    Bounds,
    Standing,
    State,
    TaskLedger,
    best_of,
    exchanges,
    exhausted,
    heard,
    missing,
    stalls_after,
    standing,
    unknown,
)
from state.task import Task
from state.turn import ended, explain, reasons, task_of, weaker

Node = Callable[..., Awaitable[dict[str, Any]]]

LONGEST = 4000  # characters of one earlier message that the window shows

PLAN = (
    "Write the ledger of this task: the facts that are given, what must be looked up and where, what must be derived, "
    "your educated guesses, and a short plan for these workers. Do not do the work yourself."
)
REPLAN = (
    "The team does not get on. Read all that was said. Add to the facts what was learned, mend the guesses, and write "
    "a new plan that avoids what went wrong; say nothing in it that was tried in vain."
)
PROGRESS = (
    "Judge where the work on the task stands. Is the request fully satisfied? Does the team go in circles? Does the "
    "newest result bring it on? Who of the workers speaks next, and with which instruction? Give each its reason."
)
ANSWER = (
    "Answer the task from what the team said, with its sources as [file#section]. Add nothing that is not in it. "
    "Say plainly what is missing."
)


def plan(bound: Bound, team: Mapping[str, Bound]) -> Node:
    """The task ledger: at first, after a person's word on it, or anew from the full talk when the team stalled."""

    def read(state: State) -> Task:
        task, now = task_of(state), standing(state)
        context: dict[str, Any] = {"instructions": PLAN, "workers": _described(team), **task.context}
        if state.get("ledger"):
            context["the ledger so far"] = state["ledger"]
        if now["feedback"]:
            context["a person's word on it, to be followed"] = now["feedback"]
        elif now["plans"]:
            context |= {"instructions": f"{PLAN} {REPLAN}", "all that was said": exchanges(state["talk"])}
            context["why the team stalled"] = _trouble(state)
        return task.model_copy(update={"context": context})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        if _ends(reply):
            return _end(reply, *best_of(state["talk"]))
        now = standing(state)
        anew = bool(now["plans"]) and not now["feedback"]
        after: Standing = {
            **now,
            "plans": now["plans"] + 1,
            "feedback": "",
            "approved": not reply.ok and now["approved"],
            "stalls": 0 if reply.ok else 1,
            "resets": now["resets"] + anew,
            "since": len(state["talk"]) if anew else now["since"],
            "lost": _lost({} if anew and reply.ok else now["lost"], bound, reply),
            "fault": "",
            "asks": 0,
        }
        return {"ledger": reply.output or state.get("ledger"), "standing": after}

    return as_node(bound, read=read, write=write, visit=lambda state: f"plan/{standing(state)['plans']}")


def review(team: Collection[str], max_reviews: int) -> Node:
    """A person sees the ledger with its plan: approves it, edits it, says what to change, or ends the work."""

    async def review(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        ledger, now = state["ledger"] or {}, standing(state)
        count = now["reviews"]
        talks: list[Any] = ["respond"] if count < max_reviews else []
        request = Request(
            kind="review",
            action_requests=[ActionRequest(name="plan", args=ledger, description="Work by this plan?")],
            review_configs=[ReviewConfig(action_name="plan", allowed_decisions=["approve", "edit", *talks, "reject"])],
            case={"task": task_of(state).goal, "ledger": ledger, "workers": sorted(team)},
        )

        def refuse(said: Decisions) -> str:
            return _unsound(ledger | (said.decisions[0].args or {}), team) if said.decisions[0].type == "edit" else ""

        visit = f"review/{count}"
        said = await human.ask(request, agent="review", visit=visit, config=config, runtime=runtime, refuse=refuse)
        decision = said.decisions[0]
        if decision.type == "reject":
            why = f"the plan was rejected: {decision.message or 'no reason given'}"
            best, by = best_of(state["talk"])
            return ended("rejected", why, answer=best, author=by)
        if decision.type == "respond":
            return {"standing": {**now, "feedback": decision.message, "reviews": count + 1}}
        edited = TaskLedger.model_validate(ledger | (decision.args or {})).model_dump(mode="json")
        approved = {**now, "approved": True, "reviews": count + 1}
        return {"ledger": edited if decision.type == "edit" else ledger, "standing": approved}

    return review


def progress(bound: Bound, team: Mapping[str, Bound], window: int) -> Node:
    """The progress ledger of a round; one that is no use, twice for an unknown speaker, counts as a stall."""

    def read(state: State) -> Task:
        task, ledger, now = task_of(state), state.get("ledger") or {}, standing(state)
        context: dict[str, Any] = {"task": task.goal, "workers": _described(team), **task.context}
        context |= {"plan": ledger.get("plan"), **_facts(ledger)}
        if talk := heard(state["talk"], now["since"], window):
            context |= {"said before": exchanges(talk[:-2], LONGEST), "asked": talk[-2].text, "result": talk[-1].text}
        if now["fault"]:
            context["what was wrong with your last ledger"] = now["fault"]
        return task.model_copy(update={"goal": PROGRESS, "context": context})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        if _ends(reply):
            return _end(reply, *best_of(state["talk"]))
        said, now = reply.output, standing(state)
        fault = reply.reason if said is None else unknown(said, team)
        if said is not None and fault and now["asks"] == 0:
            return {"progress": said, "standing": {**now, "fault": fault, "asks": 1}}
        spoken = len(state["talk"]) > now["since"]
        stalls = now["stalls"] + 1 if said is None or fault else stalls_after(now["stalls"], said, spoken=spoken)
        counted = {"round": now["round"] + 1, "stalls": stalls, "asks": 0, "fault": fault}
        return {"progress": said, "standing": {**now, **counted, "lost": _lost(now["lost"], bound, reply)}}

    def visit(state: State) -> str:
        now = standing(state)
        return f"progress/{now['round']}/{now['asks']}"

    return as_node(bound, read=read, write=write, visit=visit)


def work(bound: Bound, manager: str, window: int) -> Node:
    """One worker's turn: the instruction, and what it needs of the task, the facts and the talk."""
    name = bound.agent.name

    def read(state: State) -> Task:
        task, now, order = task_of(state), standing(state), _order(state)
        context = dict(task.context)
        if order != task.goal:
            context |= {"part of": task.goal, **({"what the whole must meet": task.success} if task.success else {})}
        context |= _facts(state.get("ledger") or {})
        if talk := heard(state["talk"], now["since"], window):
            context["said before"] = exchanges(talk, LONGEST)
        success = task.success if order == task.goal else []
        return task.model_copy(update={"goal": order, "context": context, "success": success})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        now, output = standing(state), reply.output or {}
        at = f"{state['turn']}-{now['round']}"
        order = AIMessage(f"To {name}: {_order(state)}", name=manager, id=f"{at}-order")
        about = {"outcome": reply.outcome if reply.ok else "failed", "citations": output.get("citations") or []}
        said = in_words(output) if reply.ok else f"could not do it: {reply.reason}"
        talk = [order, AIMessage(said, name=name, id=f"{at}-word", response_metadata=about)]
        end = _end(reply, *best_of([*state["talk"], talk[-1]])) if _ends(reply) else {}
        lost = _lost(now["lost"], bound, reply)
        return {"talk": talk, **({} if lost == now["lost"] else {"standing": {**now, "lost": lost}}), **end}

    return as_node(bound, read=read, write=write, visit=lambda state: f"{name}/{standing(state)['round']}")


def answer(bound: Bound, bounds: Bounds) -> Node:
    """The final answer, from the whole talk; at a bound the best there is, and the outcome says so."""

    def read(state: State) -> Task:
        task, ledger = task_of(state), state.get("ledger") or {}
        context = {"instructions": ANSWER, **task.context, **_facts(ledger)}
        if state["talk"]:
            context["what the team said"] = exchanges(state["talk"])
        if short := _short(state, bounds):
            context["why the work ended before it was done"] = short
        return task.model_copy(update={"context": context})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        flaw = "" if reply.outcome == "completed" else reply.reason
        why = reasons(_short(state, bounds), missing(standing(state)["lost"]), flaw)
        if reply.output is None or _ends(reply):
            best, by = (reply.output, reply.agent) if reply.ok else best_of(state["talk"])
            return _end(reply, best, by) | {"reason": why}
        return ended("degraded" if why else "completed", why, answer=reply.output, author=reply.agent)

    return as_node(bound, read=read, write=write, visit=lambda state: "answer/0")


def _described(team: Mapping[str, Bound]) -> dict[str, str]:
    return {name: worker.agent.responsibility for name, worker in team.items()}


def _facts(ledger: Mapping[str, Any]) -> dict[str, Any]:
    """What the task ledger knows, under names for a prompt; its plan and its open questions are the manager's."""
    known = {"facts": ledger.get("facts_given"), "guesses, to be checked": ledger.get("guesses")}
    return {name: lines for name, lines in known.items() if lines}


def _order(state: State) -> str:
    """The instruction of this round; the task itself where the manager gave none."""
    return str((state["progress"] or {})["instruction"]["instruction"]).strip() or task_of(state).goal


def _short(state: State, bounds: Bounds) -> str:
    """Why the work ended although the request is not satisfied; empty when it is."""
    if (ledger := state.get("progress")) and ledger["satisfied"]["holds"]:
        return ""
    return ": ".join(filter(None, [exhausted(state, bounds), _trouble(state)]))


def _trouble(state: State) -> str:
    """What the newest progress ledger has against the work, or somebody against the ledger."""
    ledger, fault = state.get("progress"), standing(state)["fault"]
    if fault or not ledger:
        return fault
    said = [ledger["satisfied"]["reason"]]
    said += [ledger["in_loop"]["reason"]] if ledger["in_loop"]["repeats"] else []
    said += [] if ledger["progress"]["holds"] else [ledger["progress"]["reason"]]
    return "; ".join(dict.fromkeys(said))


def _lost(before: Mapping[str, str], bound: Bound, reply: Reply) -> dict[str, str]:
    """What is missing by now: an agent's newest call counts, so that one who makes good is off the list."""
    others = {name: why for name, why in before.items() if name != bound.agent.name}
    return others if reply.outcome == "completed" else {**others, bound.agent.name: reply.reason}


def _ends(reply: Reply) -> bool:
    """Whether an agent's failure policy, or a budget, ends the turn: what only degrades is the manager's to mend."""
    return reply.outcome == "out_of_budget" or (not reply.ok and reply.outcome != "degraded")


def _end(reply: Reply, best: dict[str, Any] | None, by: str) -> dict[str, Any]:
    """The end of the turn that such a reply is, with the best answer so far."""
    outcome = reply.outcome if best is None else weaker(reply.outcome)
    return ended(outcome, reply.reason, answer=best, author=by or reply.agent)


def _unsound(ledger: Mapping[str, Any], team: Collection[str]) -> str:
    """What is wrong with an edited ledger; empty when it can be worked by."""
    try:
        steps = TaskLedger.model_validate(ledger).plan
    except ValidationError as error:
        return f"the edited ledger does not fit: {explain(error)}"
    strangers = sorted({s.worker for s in steps} - set(team))
    return f"no worker is called {', '.join(strangers)}; there are {', '.join(sorted(team))}" if strangers else ""
