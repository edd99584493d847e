"""The roles of a handoff: whoever has control takes a step, tools run, a summary goes along."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, messages_from_dict
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Overwrite

from nodes import react
from nodes.agent import Bound, as_node, call
from nodes.handoff_words import found, results, shown, tidy, told, words_of
from nodes.post import post
from nodes.turn import EARLIER
from state.agent import Person, Reply
from state.envelope import Envelope, message_id
from state.handoff import (
    REMEMBERED,
    Floor,
    Move,
    Rules,
    Said,
    State,
    Transfer,
    follows,
    is_transfer,
    keeps,
    resolved,
    spoken,
    stated,
    transfer_tools,
)
from state.react import irreversible
from state.task import Task
from state.tool import Tool
from state.turn import concluded, ended, reasons, steps_left, task_of

Node = Callable[..., Awaitable[dict[str, Any]]]

STEPS_PER_TURN = 4  # super-steps of one model turn: the step itself, gate, tools, summary
SUMMARIZE = (
    "Summarize the conversation for whoever takes it over: what the user wants, what was found out and done, and "
    "what is still open. Leave out nothing that matters, and add nothing."
)


@dataclass(frozen=True, slots=True)
class Seat:
    """One agent in its place: with its transfers, without them, and without any tools for its last step.

    `targets` are those it may hand over to, with what they do; `most` bounds its steps in a row.
    """

    bound: Bound
    closed: Bound
    mute: Bound
    targets: Mapping[str, str]
    most: int

    @property
    def thinks(self) -> bool:
        """Whether a chat model answers here, which asks for tools and sees what they brought."""
        return isinstance(self.bound.by, BaseChatModel | None)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools of its own that this pattern runs for it."""
        return self.closed.agent.tools if self.thinks else ()


def seated(bound: Bound, targets: Mapping[str, str]) -> Seat:
    """An agent with the tools to hand over to exactly these."""
    bare, agent = bound.bare, bound.agent
    if not isinstance(bare.by, BaseChatModel | None):
        return Seat(bare, bare, bare, targets, 1 + agent.limits.repairs)
    tools = (*agent.tools, *transfer_tools(targets))
    opened, mute = replace(agent, tools=tools), replace(agent, tools=())
    return Seat(replace(bare, agent=opened), bare, replace(bare, agent=mute), targets, agent.limits.steps)


def may_hand_over(bound: Bound) -> bool:
    """Whether there is a way for it to say so: by tools, by its typed output, or in a person's words."""
    model = bound.agent.output in (Said, Transfer) or isinstance(bound.bare.by, BaseChatModel | None)
    return model or isinstance(bound.by, Person)


def hold(seat: Seat, rules: Rules) -> Node:
    """One step of whoever has control: an answer, calls of tools, or a transfer."""
    bound, name = seat.bound, seat.bound.agent.name

    async def hold(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        floor = _floor(state)
        turn, stint = floor.get("steps", 0) + 1, floor.get("stint", 0) + 1
        last = turn >= rules.max_turns or stint >= seat.most or steps_left(state) < 2 * STEPS_PER_TURN
        closed = last or bool(floor.get("closed"))
        reply = await call(
            seat.mute if last else seat.closed if closed else bound,
            shown(state, rules, {} if closed else seat.targets, thinks=seat.thinks, last=last),
            visit=f"{name}/{turn}",
            config=config,
            runtime=runtime,
            history=(state.get("scratch") or []) if seat.thinks else None,
        )
        floor = {**floor, "way": floor.get("way") or [name], "steps": turn, "stint": stint, "refused": ""}
        now: dict[str, Any] = {"holder": name, "floor": floor}
        calls = reply.message["data"]["tool_calls"] if reply.message else []
        if not last and not all(map(is_transfer, calls)):  # its other tools come first
            return now | {"scratch": [tidy(reply.message, f"{name}-{turn}")]}
        targets = () if closed else seat.targets
        move = resolved(calls, targets) if reply.message else stated(_transfer_in(bound, reply), targets)
        if move.transfer is not None:
            words = _content(reply.message) if reply.message else _text(reply.output)
            update = _passed(floor, name, words, move, state.get("scratch") or [], rules)
            await post([_envelope(state, name, update)], config=config, runtime=runtime)
            return now | update
        if not reply.message and not move.faults:
            return now | _answered(state, floor, reply, rules)
        if last:
            return now | _stuck(state, f"{name} gave no answer within {turn} turn(s)", name)
        if not reply.message:
            return now | {"floor": {**floor, "refused": move.faults[0]}}
        said = tidy(reply.message, f"{name}-{turn}")
        return now | {"scratch": [said, *results(said, move, turn)]}

    return hold


def onward(state: State, tools: Mapping[str, Sequence[Tool]], summary: str) -> str:
    """Where a step leads: to its tools, to whoever has the conversation now, or to the end."""
    if state.get("outcome"):
        return "finish"
    if calls := _own_calls(state):
        return "gate" if irreversible(calls, tuple(tools[state["holder"]])) else "act"
    floor = state["floor"]
    moved = not floor["stint"] and floor["case"]["by"] != state["holder"]
    return summary if summary and moved else state["holder"]


def gate(seats: Mapping[str, Seat]) -> Node:
    """One question for all calls of the batch that cannot be undone, of whoever has control."""
    gates = {name: react.gate(seat.closed.agent) for name, seat in seats.items()}

    async def gate(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        return await gates[state["holder"]](_own(state), config, runtime)

    return gate


def act(seats: Mapping[str, Seat], rules: Rules) -> Node:
    """The tools that were asked for; then the transfer that was asked for beside them."""
    acts = {name: react.act(seat.closed.agent) for name, seat in seats.items()}

    async def act(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        name, said = state["holder"], state["scratch"][-1]
        assert isinstance(said, AIMessage)
        ran = await acts[name](_own(state), config, runtime)
        if "scratch" not in ran:  # somebody has to say first what became of a call
            return ran
        floor = state["floor"]
        move = resolved(said.tool_calls, () if floor.get("closed") else seats[name].targets)
        brought = results(said, move, floor["steps"], ran["scratch"])
        if move.transfer is None:
            return {"scratch": brought, "decisions": {}, "doubts": {}}
        update = _passed(floor, name, said.text, move, [*state["scratch"], *brought], rules)
        await post([_envelope(state, name, update)], config=config, runtime=runtime)
        return {"decisions": {}, "doubts": {}} | update

    return act


def summarize(bound: Bound) -> Node:
    """What goes along with the conversation instead of all that was said."""

    def read(state: State) -> Task:
        return Task(goal=SUMMARIZE, context={"task": task_of(state).goal, EARLIER: words_of(state)})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        if reply.outcome == "out_of_budget":
            return concluded(reply, best=_standing(state))
        floor = {**state["floor"], "summary": _text(reply.output)}
        if reply.outcome != "completed":  # the whole conversation goes along instead
            floor["flaw"] = reply.reason
        return {"floor": floor}

    return as_node(bound, read=read, write=write, visit=lambda s: f"{bound.agent.name}/{s['floor']['handoffs']}")


def _transfer_in(bound: Bound, reply: Reply) -> Transfer | None:
    """The transfer in an output that is or may be one, or in the words of a person."""
    output = reply.output
    if output is None:
        return None
    if bound.agent.output is Transfer:
        return Transfer.model_validate(output)
    if bound.agent.output is Said:
        return Transfer.model_validate(output["transfer"]) if output.get("transfer") else None
    return spoken(_text(output)) if isinstance(bound.by, Person) else None


def _passed(
    floor: Floor, by: str, words: str, move: Move, scratch: Sequence[AnyMessage], rules: Rules
) -> dict[str, Any]:
    """The conversation is passed on: what follows of it for the state."""
    wanted = move.transfer
    assert wanted is not None
    way, handoffs = floor["way"], floor.get("handoffs", 0)
    to, why = follows(way, wanted.to, handoffs=handoffs, rules=rules)
    case = {"by": by, "to": wanted.to, "reason": wanted.reason, "open": wanted.open}
    if move.beside:
        case["instead of"] = ", ".join(dict.fromkeys(move.beside.values()))
    if why:
        case["because"] = f"{why}; {to} has it now"
    gone = {
        "way": [*way, to][-REMEMBERED:] if to != by else way,
        "handoffs": handoffs + 1,
        "stint": 0,
        "case": case,
        "closed": why,
        "summary": "",
    }
    update = {
        "holder": to,
        "floor": {**floor, **gone},
        "talk": [*found(scratch, by), told(by, words, case, handoffs + 1)],
    }
    return update | ({"scratch": Overwrite([])} if scratch else {})


def _envelope(state: State, by: str, update: Mapping[str, Any]) -> Envelope:
    conversation, n = state.get("asked") or "", update["floor"]["handoffs"]
    return Envelope(
        id=message_id(conversation, by, n),
        conversation=conversation,
        sender=by,
        recipient=update["holder"],
        kind="handoff",
        payload=update["floor"]["case"],
        sequence=n,
    )


def _answered(state: State, floor: Floor, reply: Reply, rules: Rules) -> dict[str, Any]:
    """The answer of whoever has control ends the turn; what went wrong before it is said."""
    if reply.output is not None and "transfer" in reply.output:
        reply = replace(reply, output={k: v for k, v in reply.output.items() if k != "transfer"})
    end = concluded(reply, best=_standing(state)) | {"reason": _reasons(floor, reply.reason)}
    unmended = floor.get("flaw") or (floor.get("closed") and not rules.fallback)
    if end["outcome"] == "completed" and unmended:
        end["outcome"] = "degraded"
    return end | ({"holder": keeps(rules.control, floor["way"], rules.start)} if reply.ok else {})


def _stuck(state: State, why: str, name: str) -> dict[str, Any]:
    return ended("degraded", _reasons(_floor(state), why), answer=_standing(state), author=name)


def _reasons(floor: Floor, why: str) -> str:
    return reasons(floor.get("closed"), floor.get("flaw"), why)


def _floor(state: State) -> Floor:
    return state.get("floor") or {}


def _standing(state: State) -> dict[str, Any] | None:
    """Where the matter stands when nobody answered: the last words of the agents."""
    said = [*(state.get("talk") or [])[-1:], *(state.get("scratch") or [])]
    last = next((m.text for m in reversed(said) if isinstance(m, AIMessage) and m.text.strip()), None)
    return {"text": last, "citations": [], "confidence": None} if last else None


def _text(output: Mapping[str, Any] | None) -> str:
    return str((output or {}).get("text") or "")


def _content(message: Mapping[str, Any]) -> str:
    said = message["data"]["content"]
    return said if isinstance(said, str) else messages_from_dict([dict(message)])[0].text


def _own(state: State) -> dict[str, Any]:
    """The state as the tool loop reads it: without the transfers among the last calls."""
    *before, last = state["scratch"]
    own = last.model_copy(update={"tool_calls": _own_calls(state)})
    return {**state, "steps": state["floor"]["steps"], "scratch": [*before, own]}


def _own_calls(state: State) -> list[Any]:
    """The calls of its own tools that an agent waits for."""
    last = (state.get("scratch") or [])[-1:]
    return [c for m in last if isinstance(m, AIMessage) for c in m.tool_calls if not is_transfer(c)]
