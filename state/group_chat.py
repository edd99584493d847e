"""What a group chat remembers, and what follows from each of its turns."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AnyMessage
from typing_extensions import TypedDict

from state.agent import Outcome, Reply
from state.condition import Conversation
from state.speaker import WINDOW, Rules, candidates, chosen
from state.transcript import Transcript
from state.turn import Result, Turn, ended, reasons, steps_left, weaker

REFUSED = 20  # invalid selections kept: the newest; `floor` has the count of all
ROOM = 7  # super-steps that a turn and the end may need, beside those in which a manager is asked again
LONGEST = 8000  # characters of one message that others see


class Floor(TypedDict, total=False):
    """Where the conversation stands; one value, so that a turn saves little.

    `last` had the newest turn, `next` has the coming one (empty until it is selected). `misses` are turns
    in a row that brought nothing. `asked` says how often the manager was asked for the coming turn, `fault`
    what was wrong with its word, `refused` how many selections of all were invalid. `since` and `now` are
    seconds since the epoch; `memory` is that of the condition; `output` is the newest, by `author`.
    """

    turns: int
    last: str
    next: str
    misses: int
    asked: int
    fault: str
    refused: int
    tokens: int
    since: float
    now: float
    memory: Any
    output: dict[str, Any] | None
    author: str


class Shown(Result, total=False):
    """What a caller sees besides the result.

    `talk` is the whole conversation: a named message for each turn that brought one. `faults` has, by
    agent, how many of its turns were skipped and what is to be said of it. `refused` has the newest invalid
    selections: for which turn, what was wrong, and what followed.
    """

    talk: Transcript
    floor: Floor
    faults: dict[str, Any]
    refused: list[dict[str, Any]]


class State(Turn, Shown, total=False):
    """One writer at a time. `summary` is {"text", "upto"}: what the first `upto` messages come to."""

    summary: dict[str, Any]


def opened(at: float) -> Floor:
    """The floor before the first turn."""
    return Floor(
        turns=0, last="", next="", misses=0, asked=0, fault="", refused=0, tokens=0, since=at, now=at, memory=None
    )


def granted(state: State, floor: Floor, name: str, fault: str, then: str) -> dict[str, Any]:
    """The update that gives the floor to somebody. An invalid selection is kept, with what followed from it."""
    if not fault:
        return {"floor": {**floor, "next": name}}
    kept = {"turn": floor["turns"] + 1, "fault": fault, "then": then}
    newest = [*(state.get("refused") or [])[1 - REFUSED :], kept]
    return {"floor": {**floor, "next": name, "fault": fault, "refused": floor["refused"] + 1}, "refused": newest}


def assigned(rules: Rules, state: State, floor: Floor, now: Conversation) -> dict[str, Any]:
    """The update that gives the floor to whom the rules' function names, or to the next in turn."""
    name, fault = chosen(rules, now)
    return granted(state, floor, name, fault, f"{name} in turn")


def taken(
    rules: Rules, state: State, reply: Reply, said: AnyMessage | None, *, who: str, at: float, stop: str, last: bool
) -> dict[str, Any]:
    """What follows from a turn: the end, or who comes next.

    `said` is None when the turn brought nothing; `last` says that, by the reply, no other turn can follow.
    """
    before = state["floor"]
    floor: Floor = {
        **before,
        "turns": before["turns"] + 1,
        "last": who,
        "next": "",
        "misses": 0 if said else before["misses"] + 1,
        "asked": 0,
        "fault": "",
        "tokens": before["tokens"] + tokens_of(reply),
        "now": at,
    }
    update = remarked(state, who, reply, skipped=said is None and not last)
    faults = update.get("faults") or state["faults"]
    if said is not None:
        update["talk"] = [said]
        floor |= {"output": reply.output, "author": reply.agent}
    if last:
        return {**update, "floor": floor, **concluding(floor, faults, reply.outcome, "")}
    talk = [*state["talk"], *update.get("talk", ())]
    now = Conversation(
        team=rules.team,
        turns=floor["turns"],
        speaker=who,
        text=said.text if said is not None else None,
        messages=len(talk),
        tokens=floor["tokens"],
        seconds=at - floor["since"],
        stop=stop,
        talk=talk,
        candidates=candidates(rules, who),
    )
    floor["memory"], end = judged(rules, floor["memory"], now)
    end = end or bounded(rules, state, floor, now)
    if end is not None:
        return {**update, "floor": floor, **concluding(floor, faults, *end)}
    return update | ({"floor": floor} if rules.choose is None else assigned(rules, state, floor, now))


def judged(rules: Rules, memory: Any, now: Conversation) -> tuple[Any, tuple[Outcome, str] | None]:
    """The condition's next memory; and how and why it ends the conversation, if it does."""
    if rules.until is None:
        return None, None
    try:
        memory = rules.until.take(memory, now)
        end = rules.until.ending(memory)
    except Exception as error:  # a function of the user's, on a conversation that it did not foresee
        return memory, ("degraded", f"the condition that ends it failed: {type(error).__name__}: {error}"[:400])
    if end is None:
        return memory, None
    missed = end.kind == "bound" and "goal" in rules.until.kinds
    return memory, ("cancelled" if end.kind == "stop" else "degraded" if missed else "completed", end.why)


def bounded(rules: Rules, state: State, floor: Floor, now: Conversation) -> tuple[Outcome, str] | None:
    """How and why the chat ends although no condition ends it; that is well where none was given."""
    well: Outcome = "completed" if rules.until is None else "degraded"
    if floor["misses"] >= len(rules.team):
        return "degraded", "nobody could speak any more"
    if floor["turns"] >= rules.max_turns:
        return well, f"{floor['turns']} turn(s) were taken, the most allowed"
    if steps_left(state) < ROOM + rules.max_reasks:
        return "degraded", f"no super-steps are left for another turn after {floor['turns']}"
    return None if now.candidates else (well, f"nobody may speak after {floor['last']}")


def concluding(floor: Floor, faults: Mapping[str, Any], outcome: Outcome, why: str) -> dict[str, Any]:
    """The update that ends the conversation: its newest output, and all that is to be said of how it went."""
    said = [why, *(_blame(name, fault) for name, fault in faults.items())]
    if floor["refused"]:
        said.append(f"{floor['refused']} invalid selection(s)")
    answer = floor.get("output")
    if answer is not None:
        outcome = (
            "degraded" if outcome == "completed" and faults else weaker(outcome) if outcome == "failed" else outcome
        )
    elif outcome in ("completed", "degraded"):
        outcome = "failed"
    return ended(outcome, reasons(*said), answer=answer, author=floor.get("author", ""))


def remarked(state: State, who: str, reply: Reply, *, skipped: bool = False) -> dict[str, Any]:
    """The update that keeps what is to be said of an agent: nothing, where its reply is as it should be."""
    if reply.outcome == "completed":
        return {}
    faults = state.get("faults") or {}
    times = (faults.get(who) or {}).get("skipped", 0) + skipped
    return {"faults": {**faults, who: {"skipped": times, "reason": reply.reason}}}


def next_move(rules: Rules, state: State) -> str:
    """Where a chat leads after each of its nodes."""
    if state.get("outcome"):
        more = rules.answers and state["outcome"] != "out_of_budget" and state["answer"] is not None
        return "answer" if more else "finish"
    return "summarize" if due(rules, state) else state["floor"]["next"] or "select"


def due(rules: Rules, state: State) -> bool:
    """Whether a whole window of messages that nobody sees any more stands in no summary yet."""
    return rules.summarizes and len(state["talk"]) - summarized(state) >= 2 * rules.widest


def summarized(state: State) -> int:
    """How many messages the summary stands for."""
    return int((state.get("summary") or {}).get("upto", 0))


def seen_by(rules: Rules, state: State, name: str) -> dict[str, Any]:
    """What one agent sees of the conversation: its window, and the summary of what is older."""
    talk = state.get("talk") or []
    first = len(talk) - rules.windows.get(name, WINDOW)
    if rules.summarizes:
        first = min(first, summarized(state))
    text = (state.get("summary") or {}).get("text")
    return ({"earlier": text} if text else {}) | heard(talk[max(first, 0) :])


def heard(talk: Sequence[AnyMessage]) -> dict[str, Any]:
    """A part of the conversation, for a prompt."""
    said = [{"from": m.name, "text": str(m.content)[:LONGEST]} for m in talk]  # `text` looks for blocks, at a price
    return {"conversation": said} if said else {}


def tokens_of(reply: Reply) -> int:
    """Tokens that a call used, in and out."""
    return reply.usage.get("tokens_in", 0) + reply.usage.get("tokens_out", 0)


def _blame(name: str, fault: Mapping[str, Any]) -> str:
    why = fault["reason"] or f"{name} brought nothing"
    return f"{name} was skipped {fault['skipped']} time(s): {why}" if fault["skipped"] else why
