"""Events: agents subscribe to kinds of events, react to them, and publish what follows.

    begin -> publish -> agent, agent, ... -> publish ... -> finish
                    \\-> synthesizer -> finish      (where an agent makes the answer)

The task is the first event, TaskPublished. What an agent returns is published: a Text as TaskCompleted, a
Published as the events in it, any other output as an event of its own type. Everybody whose subscription
matches reacts, all at once; nobody hears of their own events. The turn ends when no event is pending.

Use it when who must react is not known to who causes it.
Cost: 1 model call for each event that reaches a subscriber, and 1 where an agent makes the answer.
Source: Eugster et al., The Many Faces of Publish/Subscribe (2003).
"""

from collections.abc import Sequence

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel

from graphs.bind import Bindable, bind
from graphs.compile import compiled, distinct, take_tasks
from nodes.agent import Bound
from nodes.events import LAST_STEPS, STEPS_PER_WAVE, publish, react, send, synthesize
from nodes.turn import begin, finish
from runtime.sync import Graph
from state.agent import Agent, Text
from state.context import Context
from state.cost import NONE, Calls, either, total
from state.errors import ContractError
from state.events import OWN, WORLD, ErrorOccurred, Published, Rules, Shown, State, Subscription, TaskPublished, on
from state.task import Task
from state.turn import Given
from tools.calculator import CALCULATE
from tools.documents import READ, SEARCH
from tools.tables import QUERY, TABLES

TAKEN = ("begin", "publish", "finish", WORLD)


def build(
    subscriptions: Sequence[Subscription],
    *,
    answer: str | Bindable | None = None,
    types: Sequence[type[BaseModel]] = (),
    max_depth: int = 8,
    max_events: int = 50,
    at_once: int | None = None,
) -> Graph:
    """Who hears of what (`state.events.on`); an agent may have several subscriptions.

    The answer is the last TaskCompleted; of one subscriber, where `answer` is its name; or what an agent makes of
    everything. `types` are further events that a Published may hold. No event follows more than `max_depth` others
    in a row, and a turn has at most `max_events`: what goes beyond is cut, and said. A subscriber handles what is
    due all at once, or at most `at_once`, the oldest first. Raises ContractError for what cannot work.
    """
    heard = _heard(subscriptions)
    team = [bound for bound, _ in heard]
    aide = None if answer is None or isinstance(answer, str) else bind(answer)
    made = aide.agent.name if aide else ""
    names = distinct("events", team, taken=(*TAKEN, made))
    _check(heard, names, answer, aide)
    for option, least in (("max_depth", max_depth), ("max_events", max_events), ("at_once", at_once)):
        if least is not None and least < 1:
            raise ContractError(f"events: `{option}` must be at least 1, not {least}")
    rules = Rules(
        subscribers={bound.agent.name: mine for bound, mine in heard},
        types=_types(heard, types),
        max_depth=max_depth,
        max_events=max_events,
        at_once=at_once,
    )
    last = made or "finish"

    async def after_publish(state: State) -> list[Send | str]:
        return send(state, last)

    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Shown)
    wiring.add_node("begin", begin(State))
    wiring.add_node("publish", publish(rules, answer if isinstance(answer, str) else "", synthesized=aide is not None))
    for bound in team:
        name = bound.agent.name
        wiring.add_node(name, react(bound), metadata={"agent": name}).add_edge(name, "publish")
    if aide:
        wiring.add_node(made, synthesize(aide, rules), metadata={"agent": made}).add_edge(made, "finish")
    (
        wiring.add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "publish")
        .add_conditional_edges("publish", after_publish, [*names, *([made] if made else []), "finish"])
        .add_edge("finish", END)
    )
    most = total(b.calls.times(0, _often(mine, max_events)) for b, mine in heard).most
    return compiled(
        wiring,
        name="events",
        agents=[*team, *([aide] if aide else [])],
        steps=LAST_STEPS + STEPS_PER_WAVE * (max_depth + 2 if at_once is None else max_events * len(team)),
        calls=Calls(either(b.calls for b in team).least, most) + (aide.calls if aide else NONE),
    )


def _heard(subscriptions: Sequence[Subscription]) -> list[tuple[Bound, list[Subscription]]]:
    """The subscribers, each once, in the order in which they are first named, with what they hear of."""
    found: list[tuple[object, list[Subscription]]] = []
    for subscription in subscriptions:
        if not isinstance(subscription, Subscription):
            raise ContractError(f"events: {subscription!r} is no subscription; give on(agent, EventType)")
        mine = next((have for source, have in found if source == subscription.agent), None)
        if mine is None:
            found.append((subscription.agent, mine := []))
        mine.append(subscription)
    return [(bind(source), mine) for source, mine in found]  # type: ignore[arg-type]  # bind refuses others


def _often(subscriptions: list[Subscription], max_events: int) -> int:
    """How often one subscriber may be called: the task is published once, everything else as often as may be."""
    return 1 if all(s.types == (TaskPublished,) for s in subscriptions) else max_events


def _types(
    heard: list[tuple[Bound, list[Subscription]]], more: Sequence[type[BaseModel]]
) -> dict[str, type[BaseModel]]:
    """All types of events by name: those of this module, of subscriptions, of outputs, and those given."""
    outputs = [b.agent.output for b, _ in heard if b.agent.output not in (Text, Published)]
    found: dict[str, type[BaseModel]] = {}
    for model in (*OWN, *(t for _, mine in heard for s in mine for t in s.types), *outputs, *more):
        if found.setdefault(model.__name__, model) is not model:
            raise ContractError(f"events: two types of events are called {model.__name__!r}; rename one")
    return found


def _check(
    heard: list[tuple[Bound, list[Subscription]]],
    names: list[str],
    answer: str | Bindable | None,
    aide: Bound | None,
) -> None:
    if aide:
        take_tasks("events", [aide])
    elif answer is not None and answer not in names:
        raise ContractError(f"events: `answer` is {answer!r}, which is no subscriber; it is one of {names}")
    for bound, mine in heard:
        name, given = bound.agent.name, bound.agent.input
        types = {t for s in mine for t in s.types}
        if not all(s.types for s in mine) or not all(isinstance(t, type) and issubclass(t, BaseModel) for t in types):
            raise ContractError(f"events: {name!r} must subscribe to pydantic models, the types of events")
        if given is not Task and types != {given}:
            raise ContractError(
                f"events: {name!r} takes {given.__name__}, so it can subscribe to that alone; set input=Task for more"
            )
    if not any(TaskPublished in s.types for _, mine in heard for s in mine):
        raise ContractError("events: nobody subscribes to TaskPublished, so nothing could begin; add on(agent, it)")


graph = build(
    [
        on(
            Agent(
                name="reader",
                responsibility="Answers from the documents, with their sources.",
                tools=(SEARCH, READ),
            ),
            TaskPublished,
        ),
        on(
            Agent(
                name="tables",
                responsibility="Answers from tables and computes figures.",
                tools=(TABLES, QUERY, CALCULATE),
            ),
            TaskPublished,
        ),
        on(Agent(name="keeper", responsibility="Says what an error leaves undone."), ErrorOccurred),
    ],
    answer=Agent(name="writer", responsibility="Writes one answer from what others have done."),
)
