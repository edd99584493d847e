"""The roles of a research job: plan, look up, check, write."""

from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Send

from nodes.agent import Bound, as_node
from nodes.prompt import CITED
from runtime.run import context_of
from state.agent import Agent, Reply
from state.research import (
    NOTHING,
    Plan,
    Role,
    State,
    abstract,
    answer_of,
    assignments,
    fault,
    fault_of_figures,
    gathered,
    sourced,
    standing,
)
from state.task import Task
from state.turn import ended, task_of
from tools.guard import execute

Node = Callable[..., Awaitable[dict[str, Any]]]

ROWS = 20  # passages of a table's file among which a computed row is looked for

PLAN = (
    "Prepare the look-up of this question in a folder of documents. Split it only where it really asks several "
    "things. Name the exact terms to search for, and the wordings that a document may use instead of the question's. "
    "Do not answer it."
)
LOOK_UP = {
    "technical": (
        "Find what the documents say in exact terms: values, options, names, versions, limits, steps. Search with the "
        "question, then with the names you are given, then with other words. Copy each quote exactly as it stands in "
        "one passage, and cite that passage. Claim only what the quote says. Nothing found is a good result: return no "
        "claims, and say what is missing."
    ),
    "context": (
        "Find what the documents say around the question: definitions, reasons, conditions, exceptions. Search with "
        "the question and with each wording you are given; read on where a passage is cut off. Copy each quote exactly "
        "as it stands in one passage, and cite that passage. Claim only what the quote says. Nothing found is a good "
        "result: return no claims, and say what is missing."
    ),
    "data": (
        "Compute what is asked over the tables. List the tables first, then query; let SQL count, sum and average. "
        "Each claim states the figure in words, cites the table's file, and holds its SELECT in sql. Draw a chart "
        "where several figures are compared. When no table holds it, return no claims."
    ),
}
CHECK = (
    "Judge each claim by its passage alone, without what you know yourself. Supported means: the passage says so, with "
    "the same figures, names and conditions. Say also whether the claim helps to answer the question."
)
WRITE = (
    "Write the executive summary from these claims and nothing else. The first sentence answers the question. Put "
    "after each sentence its source as [file#section], as it stands in the claims. What was computed has only a file "
    "for its source: name that in round brackets, after what is cited. Where the claims do not answer all of it, say "
    "which part is open. At most 400 characters."
)

NO_FOLDER = "no documents are named: give their folder in the option `docs` (--docs), or in MOTET_DOCS"


def plan(bound: Bound) -> Node:
    """How the question is looked up; without a planner it is looked up as it stands."""

    def read(state: State) -> Task:
        task = task_of(state)
        return task.model_copy(update={"context": {"instructions": PLAN, **task.context}})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        if reply.output is not None:
            return {"plan": reply.output}
        if reply.outcome == "degraded":
            return {"plan": Plan(parts=[task_of(state).goal]).model_dump(), "lost": {bound.agent.name: reply.reason}}
        return ended(reply.outcome, reply.reason, author=reply.agent)

    ask = as_node(bound, read=read, write=write, visit=lambda state: "plan")

    async def plan(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds a nested graph from here
        if context_of(runtime).docs_folder() is None:
            return ended("failed", NO_FOLDER)
        return await ask(state, config, runtime)

    return plan


def assign(state: State) -> list[Send]:
    """A look-up for each part of the question and each researcher it concerns."""
    task = state.get("task")
    return [
        Send(role, {"task": task, "role": role, "part": n, "question": question, "search for": also})
        for role, n, question, also in assignments(Plan.model_validate(state["plan"]))
    ]


def look_up(bound: Bound, role: Role) -> Node:
    """One researcher on one part of the question."""

    def read(given: dict[str, Any]) -> Task:
        task = Task.model_validate(given["task"])
        context: dict[str, Any] = {"instructions": LOOK_UP[role], **task.context}
        if given["search for"]:
            context["search for"] = given["search for"]
        if given["question"] != task.goal:
            context["part of"] = task.goal
        return task.model_copy(update={"goal": given["question"], "context": context, "turn": 0})

    def write(given: dict[str, Any], reply: Reply) -> dict[str, Any]:
        who = f"{role}/{given['part']}"
        if reply.output is None:
            return {"lost": {who: reply.reason}, "spent_out": {who: reply.outcome == "out_of_budget"}}
        late = {"lost": {who: reply.reason}} if reply.outcome != "completed" else {}
        return {"findings": {who: reply.output}, **late}

    return as_node(bound, read=read, write=write, visit=lambda given: f"{role}/{given['part']}")


def verify(agent: Agent) -> Node:
    """Whether each citation exists and holds its quote, and each SELECT its figures: read again, not believed."""

    async def verify(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for claim in gathered(state.get("findings") or {}):
            visit = f"verify/{claim['id']}"
            computed = bool(claim["sql"].strip())
            source = claim["citation"].strip("[]")
            file = source.partition("#")[0]
            asked = {"reference": file, "passages": ROWS} if computed else {"reference": source, "passages": 1}
            read = await execute(agent, "read", asked, visit=visit, config=config, runtime=runtime)
            passages = read.get("value", {}).get("passages", [])
            passage = next(iter(passages), None)
            if computed:
                sql = {"sql": claim["sql"]}
                found = await execute(agent, "query", sql, visit=f"{visit}/sql", config=config, runtime=runtime)
                rows, columns = (found.get("value", {}).get(part) for part in ("rows", "columns"))
                wrong = fault_of_figures(claim, rows) or ("" if passage else f"there is no file {file}")
                text: str | None = f"{claim['sql']} gives {columns}: {rows}"
                claim = sourced(claim, file, passages)
            else:
                passage = passage if passage and passage["reference"] == source else None
                text = f"{passage['heading']}\n{passage['text']}" if passage else None
                wrong = fault(claim, text)
            if wrong or passage is None:
                bad.append({**claim, "why": wrong})
            else:
                good.append({**claim, "citation": claim["citation"].strip("[]"), "passage": text})
        return {"claims": good, "rejected": bad}

    return verify


def judge(bound: Bound) -> Node:
    """The fact checker's word on the claims whose citations hold."""

    def read(state: State) -> Task:
        shown = [{k: c[k] for k in ("id", "text", "quote", "citation", "passage")} for c in state["claims"]]
        return Task(goal=CHECK, context={"question": task_of(state).goal, "claims": shown})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        if reply.output is None:
            spent = {bound.agent.name: reply.outcome == "out_of_budget"}
            return {"lost": {bound.agent.name: reply.reason}, "spent_out": spent}
        good, bad = standing(state["claims"], reply.output["verdicts"])
        return {"claims": good, "rejected": [*state["rejected"], *bad]}

    return as_node(bound, read=read, write=write, visit=lambda state: "judge")


def write(bound: Bound) -> Node:
    """The executive summary; where its writer fails, or cites what was not checked, the claims themselves."""

    def read(state: State) -> Task:
        shown = [{k: c[k] for k in ("text", "quote", "citation", "confidence")} for c in state["claims"]]
        context: dict[str, Any] = {"question": task_of(state).goal, "claims": shown}
        return Task(goal=WRITE, context=context)

    def say(state: State, reply: Reply) -> dict[str, Any]:
        known = {c["citation"] for c in state["claims"]}
        computed = any("#" not in source for source in known)
        text = reply.output["text"] if reply.output else ""
        cited = CITED.findall(text)
        lost = dict(state.get("lost") or {})
        if not reply.ok:
            lost[bound.agent.name] = reply.reason
        elif not (cited or computed) or not known.issuperset(cited):
            lost[bound.agent.name] = "its summary cited what was not checked, so the claims stand in its place"
        if bound.agent.name in lost:
            text = abstract(state["claims"])
        spent = {bound.agent.name: reply.outcome == "out_of_budget"}
        return {"summary": text, "lost": lost, "spent_out": spent}

    return as_node(bound, read=read, write=say, visit=lambda state: "write")


def conclude() -> Node:
    """The answer with all that supports it, or the plain word that the documents do not say."""

    async def conclude(state: State) -> dict[str, Any]:
        lost, found = state.get("lost") or {}, state.get("claims") or []
        spent = any((state.get("spent_out") or {}).values())
        text = state.get("summary") or NOTHING
        answer = answer_of(state, text, CITED.findall(text))
        why = "; ".join(f"{who} failed: {reason}" for who, reason in sorted(lost.items()))
        if lost and not found and not (state.get("findings") or {}):
            return ended("out_of_budget" if spent else "failed", why, author="writer")
        if lost:
            return ended("out_of_budget" if spent else "degraded", why, answer=answer, author="writer")
        return ended(
            "completed", "" if found else "nothing in the documents answers this", answer=answer, author="writer"
        )

    return conclude
