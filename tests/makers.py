"""One small graph of every pattern, around one agent that a check gives: what the conformance suite runs."""

from collections.abc import Callable
from typing import Any

from scripted import Scripted

from graphs import concurrent, critic, orchestrator_worker, pipeline, react, research
from graphs.bind import Bindable, bind
from nodes.agent import Bound
from runtime.sync import Graph
from state.agent import Agent
from state.concurrent import concatenate
from state.critic import Critique
from state.plan import Plan


def scripted(name: str, says: Any, *, output: Any = None, **options: Any) -> Bound:
    """An agent that always says the same, or whatever a script says."""
    script = says if callable(says) else lambda messages, tools: says
    agent = Agent(name=name, responsibility=f"Plays {name}", **({"output": output} if output else {}), **options)
    return bind(agent, Scripted(script=script))


def of_react(who: Bindable) -> Graph:
    bound = bind(who)
    return bound.graph if isinstance(bound.graph, Graph) else react.build(bound)


def of_pipeline(who: Bindable) -> Graph:
    return pipeline.build(who, scripted("closer", "and so it ends"))


def of_concurrent(who: Bindable) -> Graph:
    return concurrent.build([who, scripted("other", "another view")], aggregate=concatenate())


def of_orchestrator_worker(who: Bindable) -> Graph:
    bound = bind(who)
    steps = [
        {"id": "one", "worker": bound.agent.name, "task": "do the first"},
        {"id": "two", "worker": "other", "task": "do the second", "needs": ["one"]},
    ]
    return orchestrator_worker.build(
        scripted("planner", [("Plan", {"steps": steps})], output=Plan),
        [bound, scripted("other", "a second result")],
        scripted("writer", "the whole answer"),
    )


def of_critic(who: Bindable) -> Graph:
    return critic.build(who, [scripted("editor", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)])


MAKERS: dict[str, Callable[[Bindable], Graph]] = {
    "react": of_react,
    "pipeline": of_pipeline,
    "concurrent": of_concurrent,
    "orchestrator_worker": of_orchestrator_worker,
    "critic": of_critic,
}

DEFAULTS: dict[str, Graph] = {
    "react": react.graph,
    "pipeline": pipeline.graph,
    "concurrent": concurrent.graph,
    "orchestrator_worker": orchestrator_worker.graph,
    "critic": critic.graph,
    "research": research.graph,
}
