"""The roles of a debate: debaters, who moves it on, the judge, and a person who breaks a tie."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Send

from nodes import human
from nodes.agent import Bound, as_node, call
from runtime.run import context_of, place_of, run_of
from state.agent import Person, Reply, Text
from state.answers import joined
from state.debate import (
    Agreement,
    State,
    TieBreak,
    Verdict,
    answers_of,
    cost_factor,
    criticisms_of,
    faults,
    in_debate,
    ruling,
    shuffled,
    surest,
    turned,
    winner_of,
)
from state.decision import ActionRequest, Decisions, Request, ReviewConfig
from state.task import Task
from state.turn import ended, steps_left, task_of

Node = Callable[..., Awaitable[dict[str, Any]]]
Stop = Agreement | Literal["judge"]

STEPS_PER_ROUND = 10  # super-steps that another round and the end need

OWN = ("your answer", "answers", "criticism")  # what debaters are shown of the debate, by these names

CRITICISE = (
    "Criticise the others' answers to the task: say of each what is wrong, what is missing and what does not follow, "
    "by its author's name. Say so where an answer is right and yours is not. Do not answer the task again."
)
REVISE = (
    "Answer the task again. Take over the criticism that is right, and keep your answer where it is not. "
    "Return the whole answer, and nothing about the debate."
)
JUDGE = (
    "Compare the numbered answers to the task, and name the number of the best one. Judge what is right, not what is "
    "long or sounds sure; their order means nothing. Say so if none is better than another, or if all say the same."
)


def debater(bound: Bound, names: Sequence[str]) -> Node:
    """The same agent in three tasks: it answers, criticises the others' answers, and revises its own."""
    name, critic = bound.agent.name, _in_words(bound)
    reads: dict[str, Callable[[State], Task]] = {
        "answer": task_of,
        "criticise": lambda state: _to_criticise(state, name, names),
        "revise": lambda state: _to_revise(state, name, names),
    }

    async def debater(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        phase, round_ = state["phase"] or "answer", state["round"]
        visit = f"{phase}/{round_}/{name}"
        who = critic if phase == "criticise" else bound
        reply = await call(who, reads[phase](state), visit=visit, config=config, runtime=runtime)
        entry = {"by": name, "phase": phase, "round": round_, "output": reply.output}
        return {"said": {visit: {**entry, "outcome": reply.outcome, "reason": reply.reason}}}

    return debater


def moderate(names: Sequence[str], *, rounds: int, agreement: Stop) -> Node:
    """What comes next, now that all debaters have spoken: criticism, revision, the judge, or the end."""

    async def moderate(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
        said, phase, round_ = state["said"], state["phase"], state["round"]
        alive = in_debate(said, names)
        answers = answers_of(said, alive)
        if any(s["outcome"] == "out_of_budget" for s in said.values()):
            return _best(state, names, "out_of_budget", "")
        if len(answers) < 2:
            return _best(state, names, "degraded", "")
        if phase == "criticise":
            return {"phase": "revise"}
        flaw = state["flaw"]
        if agreement != "judge":
            same, flaw = _agreed(agreement, list(answers.values()))
            if same:
                return _decided(state, answers, surest(answers))
        if round_ < rounds and steps_left(state) < STEPS_PER_ROUND:
            flaw = _short(round_, rounds)
        if agreement == "judge" or round_ >= rounds or steps_left(state) < STEPS_PER_ROUND:
            order = shuffled(answers, context_of(runtime).seed, round_)
            return {"phase": "judge", "order": order, "flaw": flaw}
        return {"phase": "criticise", "round": round_ + 1, "flaw": flaw}

    return moderate


def to_judge(state: State, both_orders: bool) -> list[Send]:
    """The answers in the judge's order, and once more with each in another place."""
    order = state["order"]
    looks = [order, turned(order)] if both_orders else [order]
    answers = answers_of(state["said"], order)
    common = {"task": state["task"], "round": state["round"], "answers": answers}
    return [Send("judge", {**common, "look": look, "order": names}) for look, names in enumerate(looks)]


def judge(bound: Bound) -> Node:
    """One look at the answers, by their numbers in one order; it knows no names."""

    def read(sent: Any) -> Task:
        task = task_of(sent)
        return Task(goal=JUDGE, context={**_known(task), "answers": _numbered(sent)}, deadline=task.deadline)

    def write(sent: Any, reply: Reply) -> dict[str, Any]:
        verdict = Verdict.model_validate(reply.output) if reply.ok else None
        winner = winner_of(verdict, sent["order"]) if verdict else None
        reason, outcome = reply.reason, reply.outcome
        if verdict and winner is None:
            reason, outcome = f"{reply.agent} names answer {verdict.number} of {len(sent['order'])}", "degraded"
        entry = {"round": sent["round"], "order": sent["order"], "winner": winner, "outcome": outcome}
        why = {"agree": bool(verdict and verdict.agree), "why": verdict.reason if verdict else "", "reason": reason}
        return {"verdicts": {_look(sent): {**entry, **why}}}

    return as_node(bound, read=read, write=write, visit=_look)


def decide(names: Sequence[str], *, rounds: int, early: bool, tie_break: TieBreak, tie_rounds: int) -> Node:
    """What the judge's word comes to: an answer, another round, a person's word, or no decision.

    `early` lets the judge end a debate before its last round, by saying that the answers agree.
    """

    async def decide(state: State) -> dict[str, Any]:
        round_ = state["round"]
        looks = [v for v in state["verdicts"].values() if v["round"] == round_]
        answers, winner = answers_of(state["said"], in_debate(state["said"], names)), ruling(looks)
        again, room = {"phase": "criticise", "round": round_ + 1}, steps_left(state) >= STEPS_PER_ROUND
        flaws = _flaws(looks)
        if any(v["outcome"] == "out_of_budget" for v in looks):
            return _best(state, names, "out_of_budget", flaws)
        if early and winner is not None and all(v["agree"] for v in looks):
            return _decided(state, answers, winner or surest(answers), flaws)
        if early and round_ < rounds and room:
            return again
        if winner is None:
            return _best(state, names, "degraded", f"no verdict: {flaws}")
        if winner:
            cut = _short(round_, rounds) if round_ < rounds and not state["flaw"] else ""
            return _decided(state, answers, winner, _reason(flaws, cut))
        if tie_break == "another round" and round_ < rounds + tie_rounds and room:
            return again
        return {"phase": "person"} if tie_break == "human" else _undecided(state, flaws)

    return decide


def person() -> Node:
    """Somebody breaks the tie by the number of an answer; who declines leaves it undecided."""

    async def person(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        order, looks = state["order"], [v for v in state["verdicts"].values() if v["round"] == state["round"]]
        answers = answers_of(state["said"], order)
        case = {"task": task_of(state).goal, "answers": _numbered({"answers": answers, "order": order})}
        words = f"Which answer is best? Respond with its number, 1 to {len(order)}, or decline"
        request = Request(
            kind="escalation",
            action_requests=[ActionRequest(name="decide", args=case, description=words)],
            review_configs=[ReviewConfig(action_name="decide", allowed_decisions=["respond", "reject"])],
            case={**case, "verdicts": [v["why"] for v in looks]},
        )

        def unfit(said: Decisions) -> str:
            number = said.decisions[0].message.strip()
            good = said.decisions[0].type == "reject" or number in map(str, range(1, len(order) + 1))
            return "" if good else f"answer with a number from 1 to {len(order)}, not {number!r}"

        visit = f"person/{state['round']}"
        said = await human.ask(request, agent="person", visit=visit, config=config, runtime=runtime, refuse=unfit)
        if said.decisions[0].type == "reject":
            return _undecided(state, _flaws(looks))
        winner = order[int(said.decisions[0].message) - 1]
        return _decided(state, answers, winner, _flaws(looks), note=f"a tie, decided by {said.by or 'a person'}")

    return person


def count() -> Node:
    """What the debate cost against one answer, from the book."""

    async def count(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        place = place_of(config)
        run = await run_of(place, runtime)
        return {"cost_factor": cost_factor(run.book.under(place.path), place.path)}

    return count


def _in_words(bound: Bound) -> Bound:
    """Who criticises in plain words: a form that is made for answers fits no criticism, nor do rules for answers."""
    if bound.by is not None and not isinstance(bound.by, BaseChatModel | Person):
        return bound
    return Bound(replace(bound.agent, output=Text, invariants=()), bound.by, tuple(map(_in_words, bound.fallbacks)))


def _to_criticise(state: State, name: str, names: Sequence[str]) -> Task:
    answers, task = answers_of(state["said"], in_debate(state["said"], names)), task_of(state)
    others = {other: answer for other, answer in answers.items() if other != name}
    context = {**_known(task), "your answer": answers[name], "answers": others}
    return Task(goal=CRITICISE, context=context, deadline=task.deadline)


def _to_revise(state: State, name: str, names: Sequence[str]) -> Task:
    alive, task = in_debate(state["said"], names), task_of(state)
    heard = criticisms_of(state["said"], state["round"], [other for other in alive if other != name])
    own = answers_of(state["said"], [name])[name]
    return task.model_copy(update={"goal": REVISE, "context": {**_asked(task), "your answer": own, "criticism": heard}})


def _asked(task: Task) -> dict[str, Any]:
    """The question and what is known. In a debate within a debate, what the outer one asks and says stays apart."""
    name = "asked of you" if "task" in task.context else "task"
    return {name: task.goal, **{f"{k} before" if k in OWN else k: v for k, v in task.context.items()}}


def _known(task: Task) -> dict[str, Any]:
    """The same for who does not do the task, but looks at answers to it: what they had to keep to is told, too."""
    wanted = {"constraints": task.constraints, "success": task.success}
    return {**_asked(task), **{name: lines for name, lines in wanted.items() if lines}}


def _look(sent: Any) -> str:
    return f"judge/{sent['round']}/{sent['look']}"


def _numbered(sent: Mapping[str, Any]) -> dict[str, Any]:
    return {str(n): sent["answers"][name] for n, name in enumerate(sent["order"], 1)}


def _agreed(agreement: Agreement, answers: list[dict[str, Any]]) -> tuple[bool, str]:
    try:
        return agreement(answers), ""
    except Exception as error:  # a function of the user's, on answers it did not foresee
        return False, f"agreement failed: {type(error).__name__}: {error}"[:400]


def _short(round_: int, rounds: int) -> str:
    return f"cut short after {round_} of {rounds} round(s), before the engine's limit"


def _flaws(looks: Sequence[Mapping[str, Any]]) -> str:
    return _reason(*(v["reason"] for v in looks if v["outcome"] != "completed"))


def _reason(*parts: str) -> str:
    return "; ".join(dict.fromkeys(part for part in parts if part))


def _decided(
    state: State, answers: Mapping[str, dict[str, Any]], winner: str, flaws: str = "", *, note: str = ""
) -> dict[str, Any]:
    wrong = _reason(state["flaw"], faults(state["said"]), flaws)
    return ended("degraded" if wrong else "completed", _reason(note, wrong), answer=answers[winner], author=winner)


def _undecided(state: State, flaws: str) -> dict[str, Any]:
    order = state["order"]
    answers = answers_of(state["said"], order)
    said = {f"Answer {n}": answers[name] for n, name in enumerate(order, 1)}
    why = f"no decision between {', '.join(sorted(order))}"
    return ended("degraded", _reason(why, state["flaw"], faults(state["said"]), flaws), answer=joined(said))


def _best(
    state: State, names: Sequence[str], outcome: Literal["out_of_budget", "degraded"], why: str
) -> dict[str, Any]:
    """The end without a decision: the surest answer of those still in the debate, else of all."""
    said = state["said"]
    answers = answers_of(said, in_debate(said, names)) or answers_of(said, names)
    reason = _reason(why, state["flaw"], faults(said))
    if not answers:
        return ended("failed" if outcome == "degraded" else outcome, reason)
    best = surest(answers)
    return ended(outcome, reason, answer=answers[best], author=best)
