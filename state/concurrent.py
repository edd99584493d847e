"""What branches bring, how tasks are dealt out to them, and the pure decisions on what it comes to.

A result of a branch is {"at", "agent", "output" or None, "outcome", "reason", "confidence"}, where
`at` is the branch's number. Every decision sees results in the order of `at`, so that none depends on
the order of arrival.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from state.agent import Outcome, Text
from state.errors import ContractError, InputError
from state.reducers import merge_keys
from state.task import Task
from state.turn import Turn

Found = Mapping[str, Any]
Splitter = Callable[[Task], Sequence[Any]]
Key = Callable[[dict[str, Any]], str]

ASIDE = ("confidence", "citations", "reasoning")  # fields that do not make two answers different


class State(Turn, total=False):
    """`results` is written by all branches at once, each under its visit."""

    results: Annotated[dict[str, Any], merge_keys]


class Collected(BaseModel):
    """The answer of `collect`: every result, in the order of the branches."""

    model_config = ConfigDict(extra="forbid")

    results: list[dict[str, Any]]


class Choice(BaseModel):
    """A judge's word on numbered candidates."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(description="The number of the best candidate", ge=1)
    reason: str = Field("", description="Why it is the best, in one sentence")


@dataclass(frozen=True, slots=True)
class Settled:
    """What results come to. `flaw` says what is wrong with it; without an answer, why there is none."""

    answer: dict[str, Any] | None
    by: str = ""
    flaw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregator:
    """How results become one answer: `settle` does it, unless an agent does (`by`).

    `enough`, of a race, says when no further branch can matter. `needs` is the least number of results.
    """

    name: str
    settle: Callable[[Sequence[Found]], Settled]
    enough: Callable[[Sequence[Found]], bool] | None = None
    needs: int = 1
    by: Any = None


def collect() -> Aggregator:
    """All results, each with its agent, as a Collected."""
    return Aggregator(name="collect", settle=collected)


def concatenate(separator: str = "\n\n") -> Aggregator:
    """All texts in the order of the branches, as one Text with all their sources."""
    return Aggregator(name="concatenate", settle=lambda found: concatenated(found, separator))


def vote(key: Key | None = None) -> Aggregator:
    """The answer that most branches give; `key` says what makes two answers the same.

    Ties go to the higher sum of confidence, then to the first branch, and are flawed: degraded.
    """
    return Aggregator(name="vote", settle=lambda found: elected(found, key or same))


def best(judge: Any = None) -> Aggregator:
    """The result of the highest confidence, the first of equals; or the one a judge (output Choice) names."""
    return Aggregator(name="best", settle=surest, by=judge)


def first() -> Aggregator:
    """A race: the first result wins, and the other branches are cancelled."""
    return Aggregator(name="first", settle=lambda found: Settled(found[0]["output"], found[0]["agent"]), enough=bool)


def quorum(k: int, key: Key | None = None) -> Aggregator:
    """A race that is over when `k` branches gave the same answer; without that there is no answer.

    Raises ContractError for a `k` below 1.
    """
    if k < 1:
        raise ContractError(f"concurrent: quorum({k}) needs nobody; `k` must be at least 1")
    alike = key or same
    return Aggregator(
        name="quorum",
        settle=lambda found: agreed(found, k, alike),
        enough=lambda found: agreed(found, k, alike).answer is not None,
        needs=k,
    )


def synthesize(agent: Any) -> Aggregator:
    """One answer that an agent writes from all results; until then, their texts are the best there is."""
    return Aggregator(name="synthesize", settle=concatenated, by=agent)


def custom(function: Callable[[list[dict[str, Any]]], Any]) -> Aggregator:
    """A function of all results, in the order of the branches, to an answer: a string, a dict or a model."""

    def settle(found: Sequence[Found]) -> Settled:
        made = function([dict(f) for f in found])
        if isinstance(made, BaseModel):
            return Settled(made.model_dump(mode="json"))
        return Settled(made if isinstance(made, dict) else Text(text=str(made)).model_dump(mode="json"))

    return Aggregator(name=getattr(function, "__name__", "custom"), settle=settle)


def tasks_of(task: Task) -> Sequence[Any]:
    """The tasks to deal out: the list in `context["tasks"]`; none when the task itself is for everyone.

    Raises InputError when there is something else than a list with something in it.
    """
    tasks = task.context.get("tasks", ())
    if "tasks" in task.context and (not isinstance(tasks, list) or not tasks):
        raise InputError("`context['tasks']` must be a list of at least one task: a string, or what the agent takes")
    return list(tasks)


def dealt(task: Task, agents: Sequence[str], split: Splitter = tasks_of) -> list[dict[str, Any]]:
    """The branches {"at", "agent", "visit", "given"}: one for each agent, or one for each of several tasks.

    Several tasks are dealt out in order, the first to the first agent, and round again. Raises
    InputError for something that is no task.
    """
    tasks = [_plain(one, task) for one in split(task)] or [task.model_dump(mode="json")] * len(agents)
    hands = [agents[at % len(agents)] for at in range(len(tasks))]
    return [
        {"at": at, "agent": agent, "visit": f"{agent}/0/{at}", "given": given}
        for at, (agent, given) in enumerate(zip(hands, tasks, strict=True))
    ]


def _plain(one: Any, whole: Task) -> dict[str, Any]:
    """One of several tasks as data; a string is a goal under all else that the whole task says."""
    if isinstance(one, str):
        context = {k: v for k, v in whole.context.items() if k != "tasks"}
        one = whole.model_copy(update={"goal": one, "context": context})
    if isinstance(one, BaseModel):
        return one.model_dump(mode="json")
    if not isinstance(one, Mapping):
        raise InputError(f"{one!r} is no task: give a string, a Task, or what the agent takes")
    return dict(one)


def chunks(branches: Sequence[dict[str, Any]], size: int) -> list[tuple[str, list[dict[str, Any]]]]:
    """Branches of one agent in groups of at most `size`, each with the agent's name."""
    out = []
    for agent in dict.fromkeys(b["agent"] for b in branches):
        mine = [b for b in branches if b["agent"] == agent]
        out += [(agent, mine[n : n + size]) for n in range(0, len(mine), size)]
    return out


def in_order(results: Mapping[str, Found]) -> list[Found]:
    """Results by the number of their branch."""
    return sorted(results.values(), key=lambda r: r["at"])


def useful(results: Mapping[str, Found]) -> list[Found]:
    """The results that have an output, in order."""
    return [r for r in in_order(results) if r["output"] is not None]


def faults(results: Mapping[str, Found]) -> str:
    """What went wrong, branch by branch, with whose fault it is; a cancelled branch did nothing wrong."""
    wrong = [r for r in in_order(results) if r["outcome"] not in ("completed", "cancelled")]
    return "; ".join(r["reason"] for r in wrong)


def outcome_of(results: Mapping[str, Found], least: int) -> Outcome:
    """How the branches ended together: below `least` results, failed; out of budget goes before both."""
    ends = {r["outcome"] for r in results.values()} - {"cancelled"}
    if "out_of_budget" in ends:
        return "out_of_budget"
    if len(useful(results)) < least:
        return "failed"
    return "completed" if ends <= {"completed"} else "degraded"


def collected(found: Sequence[Found]) -> Settled:
    """Every result with its agent."""
    items = [{"agent": f["agent"], "output": f["output"]} for f in found]
    return Settled(Collected(results=items).model_dump(mode="json"))


def concatenated(found: Sequence[Found], separator: str = "\n\n") -> Settled:
    """Every text, and every source once."""
    texts = [str(f["output"].get("text") or json.dumps(f["output"], ensure_ascii=False)) for f in found]
    cited = dict.fromkeys(c for f in found for c in f["output"].get("citations") or ())
    return Settled(Text(text=separator.join(texts), citations=list(cited)).model_dump(mode="json"))


def surest(found: Sequence[Found]) -> Settled:
    """The highest confidence; the first of equals."""
    top = max(found, key=lambda f: (_sure(f), -f["at"]))
    unsure = all(f["confidence"] is None for f in found) and len(found) > 1
    return Settled(top["output"], top["agent"], "no branch says how sure it is: the first is taken" if unsure else "")


def chosen(found: Sequence[Found], choice: Choice) -> Settled:
    """The candidate that a judge named; by confidence when there is none of that number."""
    if choice.number <= len(found):
        one = found[choice.number - 1]
        return Settled(one["output"], one["agent"])
    instead = surest(found)
    why = f"the judge named candidate {choice.number} of {len(found)}: the surest is taken"
    return Settled(instead.answer, instead.by, why)


def elected(found: Sequence[Found], key: Key) -> Settled:
    """The answer with most votes, in the words of its surest voter."""
    groups = ranked(found, key)
    tied = [g for g in groups if len(g) == len(groups[0])]
    top = max(groups[0], key=lambda f: (_sure(f), -f["at"]))
    flaw = f"a tie of {len(tied)} answers with {len(groups[0])} vote(s) each" if len(tied) > 1 else ""
    return Settled(top["output"], top["agent"], flaw)


def agreed(found: Sequence[Found], k: int, key: Key) -> Settled:
    """The answer that at least `k` gave; of several such, the one that an election would take."""
    groups = ranked(found, key)
    most = len(groups[0]) if groups else 0
    if most < k:
        return Settled(None, flaw=f"no answer was given {k} times: at most {most} of {len(found)} agree")
    top = max(groups[0], key=lambda f: (_sure(f), -f["at"]))
    return Settled(top["output"], top["agent"])


def ranked(found: Sequence[Found], key: Key) -> list[list[Found]]:
    """Results that say the same, grouped: most first, then by their sum of confidence, then by the first of them."""
    groups: dict[str, list[Found]] = {}
    for one in sorted(found, key=lambda f: f["at"]):
        groups.setdefault(key(one["output"]), []).append(one)
    return sorted(groups.values(), key=lambda g: (-len(g), -sum(f["confidence"] or 0 for f in g), g[0]["at"]))


def same(output: Mapping[str, Any]) -> str:
    """What makes two answers the same: all but how sure they are, their sources, case, spaces and a closing mark."""
    said = {k: _flat(v) for k, v in output.items() if k not in ASIDE}
    return json.dumps(said, sort_keys=True, ensure_ascii=False, default=str)


def _flat(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.casefold().split()).rstrip(".!")
    if isinstance(value, Mapping):
        return {k: _flat(v) for k, v in value.items()}
    return [_flat(v) for v in value] if isinstance(value, list | tuple) else value


def _sure(result: Found) -> float:
    return -1.0 if result["confidence"] is None else float(result["confidence"])
