"""The roles of an orchestrator: plan, work, synthesize."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp
from langgraph.func import task
from langgraph.runtime import Runtime, get_runtime
from langgraph.types import Overwrite, Send

from nodes.agent import Bound, as_node, call
from state.agent import Reply
from state.context import Context
from state.orchestrator_worker import State, best_of, kept, lost, plan_of, ready
from state.plan import Plan, Step, faults, inputs_of
from state.task import Task
from state.turn import concluded, ended, task_of

Node = Callable[..., Awaitable[dict[str, Any]]]

PLAN = (
    "Plan the goal as steps for these workers. Give each step an id, one worker, a task that is complete in itself, "
    "and the ids of the steps whose results it needs. Steps that do not need each other run at the same time. "
    "Do not do the work yourself."
)
SYNTHESIZE = (
    "Answer the goal from the results of the steps, with their sources as [file#section]. Add nothing that is not in "
    "them. Say plainly what is missing."
)


def plan(bound: Bound, workers: Mapping[str, Bound], max_repairs: int) -> Node:
    """A typed plan, checked; a faulty one goes back with its exact faults."""

    def read(state: State) -> Task:
        context: dict[str, Any] = {
            "instructions": PLAN,
            "workers": {name: w.agent.responsibility for name, w in workers.items()},
            **task_of(state).context,
        }
        if done := {i: r["output"] for i, r in kept(state).items()}:
            context["finished steps, whose ids may be needed again"] = done
        if state.get("failures"):
            context["failed steps, to be done another way"] = state["failures"]
        if state.get("plan_faults"):
            context["your last plan"] = state.get("plan")
            context["its faults, all to be mended"] = state["plan_faults"]
        return task_of(state).model_copy(update={"context": context})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        if reply.output is None:
            return concluded(reply, best=best_of(state))
        wrong = faults(Plan.model_validate(reply.output), workers, kept(state))
        repairs = (state.get("plan_repairs") or 0) + 1
        if wrong and repairs > max_repairs:
            why = f"no sound plan after {max_repairs} repair(s): {'; '.join(wrong)}"
            return ended("degraded", why, answer=best_of(state), author=reply.agent)
        return {"plan": reply.output, "plan_faults": wrong, "plan_repairs": repairs if wrong else 0}

    def visit(state: State) -> str:
        return f"plan/{state.get('replans') or 0}/{state.get('plan_repairs') or 0}"

    return as_node(bound, read=read, write=write, visit=visit)


def work(workers: Mapping[str, Bound]) -> Node:
    """Run the whole plan with workers that are leaves: each step the moment its own needs are met.

    Every step is a task of its own, saved when it is done. All are called in plan order and wait
    inside: a task is known on a resume by the place of its call, so timing must not decide it.
    """

    async def work(state: State) -> dict[str, Any]:
        steps, before = plan_of(state).steps, kept(state)
        results: dict[str, Any] = dict(before)
        done = {s.id: asyncio.Event() for s in steps}
        broken = asyncio.Event()
        stopped: set[str] = set()

        def piece(step: Step) -> Callable[[], Awaitable[dict[str, Any] | None]]:
            async def run() -> dict[str, Any] | None:
                for need in step.needs:
                    if need in done:
                        await done[need].wait()
                if stopped.intersection(step.needs):
                    raise GraphBubbleUp  # its needs are suspended, so nothing is saved for it either
                if step.id in before or broken.is_set() or any(_lost(results.get(n)) for n in step.needs):
                    return before.get(step.id)
                runtime = get_runtime(Context)
                return await do(workers[step.worker], step, state, results, get_config(), runtime)

            return task(name=step.worker)(run)  # type: ignore[arg-type]  # its overloads lose a function without parameters

        async def watch(step: Step, future: Awaitable[dict[str, Any] | None]) -> None:
            try:
                result = await future
            except BaseException:
                stopped.add(step.id)
                raise
            else:
                if result is not None:
                    results[step.id] = result
                    if step.critical and result["fatal"]:
                        broken.set()
            finally:
                done[step.id].set()

        started = [(step, piece(step)()) for step in steps]
        ends = await asyncio.gather(*(watch(step, future) for step, future in started), return_exceptions=True)
        for error in ends:
            if error is not None:
                raise error
        return {"results": results}

    return work


def worker(bound: Bound) -> Node:
    """One step by one worker, sent here with what it depends on."""

    async def worker(sent: dict[str, Any], config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        step = Step.model_validate(sent["step"])
        return {"results": {step.id: await do(bound, step, sent, sent["results"], config, runtime)}}

    return worker


def assign() -> Node:
    """Where a layer's results meet before the next layer is sent out."""

    async def assign(state: State) -> dict[str, Any]:
        return {}

    return assign


def layer(state: State) -> list[Send]:
    """The next layer: every ready step, sent to its worker with exactly what it depends on."""
    results = state.get("results") or {}
    return [
        Send(
            step.worker,
            {
                "step": step.model_dump(),
                "results": {need: results[need] for need in step.needs},
                "task": state["task"],
                "replans": state.get("replans") or 0,
            },
        )
        for step in ready(state)
    ]


async def do(
    bound: Bound,
    step: Step,
    state: Any,
    results: Mapping[str, Any],
    config: RunnableConfig,
    runtime: Runtime[Any],
) -> dict[str, Any]:
    """Call a step's worker with exactly the results it depends on."""
    given = Task(
        goal=step.task,
        context=inputs_of(step, results),
        constraints=task_of(state).constraints,
        success=[step.accept] if step.accept else [],
        deadline=task_of(state).deadline,
        critical=step.critical,
    )
    visit = f"work/{state.get('replans') or 0}/{step.id}"
    reply = await call(bound, given, visit=visit, config=config, runtime=runtime)
    return {
        "output": reply.output,
        "outcome": reply.outcome,
        "reason": reply.reason,
        "worker": bound.agent.name,
        "fatal": not reply.ok and bound.agent.critical,
    }


def replan() -> Node:
    """Forget what failed, keep what is finished: the planner plans the rest anew."""

    async def replan(state: State) -> dict[str, Any]:
        failed = {i: r["reason"] for i, r in state["results"].items() if r["output"] is None}
        return {
            "replans": (state.get("replans") or 0) + 1,
            "failures": {**(state.get("failures") or {}), **failed},
            "results": Overwrite(kept(state)),
            "plan_faults": [],
            "plan_repairs": 0,
        }

    return replan


def synthesize(bound: Bound) -> Node:
    """One answer from goal, plan and results; what is missing is said, by the outcome too."""

    def read(state: State) -> Task:
        context: dict[str, Any] = {"instructions": SYNTHESIZE}
        for step in plan_of(state).steps:
            if step.id in kept(state):
                context[f"{step.id}: {step.task}"] = kept(state)[step.id]["output"]
        if gone := lost(state):
            context["missing"] = gone
        return task_of(state).model_copy(update={"context": context})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        gone = lost(state)
        if not reply.ok or not gone:
            return concluded(reply, best=best_of(state))
        return ended("degraded", f"missing: {gone}", answer=reply.output, author=reply.agent)

    return as_node(bound, read=read, write=write, visit=lambda state: f"synthesize/{state.get('replans') or 0}")


def _lost(result: Mapping[str, Any] | None) -> bool:
    return result is None or result["output"] is None
