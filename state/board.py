"""A shared board of typed, versioned entries, who may write what there, and when they want to. Pure.

The board is plain data: {entry: {"value", "version", "by", "kind", "evidence"}}, as in `state.versioned`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from state.agent import Agent
from state.errors import ContractError
from state.turn import explain
from state.versioned import Shared, Write

Board = Shared
Trigger = Callable[[Board], bool]
Types = Mapping[str, Any]


class Entry(BaseModel):
    """One entry as a knowledge source writes it."""

    model_config = ConfigDict(extra="forbid")

    entry: str = Field(description="The name of the entry")
    value: Any = Field(description="What it is to hold, as a whole")
    evidence: list[str] = Field(default_factory=list, description="What it rests on: entries, sources as file#section")


class Contribution(BaseModel):
    """What a knowledge source writes at once: all of it, or, where an entry has changed meanwhile, nothing."""

    model_config = ConfigDict(extra="forbid")

    entries: list[Entry] = Field(default_factory=list, description="The entries to write; none when nothing is new")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A knowledge source: an agent, when it wants to act, and what it may write.

    `trigger` is a pure function of the board; by default, that the first entry it may write is not there
    yet. `writes` are names of entries, or names with the type of each (`{"total": int}`); a name may be a
    pattern ("fact.*"). An agent whose output is a Contribution may write several; the output of any other
    stands as a whole in the one entry it declares: that of its own name, by default. Of those triggered,
    the highest `priority` goes first.
    """

    who: Any
    trigger: Trigger | None = None
    writes: Sequence[str] | Types = ()
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A source at its board, by the name of its agent; `whole` is the one entry that it writes as a whole."""

    name: str
    trigger: Trigger
    writes: Types
    priority: int
    whole: str = ""
    kind: str = ""


def when(*present: str, without: Sequence[str] | str = ()) -> Trigger:
    """A trigger: all these entries are on the board, and none of those."""
    gone = (without,) if isinstance(without, str) else tuple(without)
    return lambda board: all(e in board for e in present) and not any(e in board for e in gone)


def seat(source: Source, agent: Agent) -> Seat:
    """A source with its defaults. Raises ContractError for one that cannot write what it declares."""
    who = f"blackboard: the source {agent.name!r}"
    if isinstance(source.writes, str):
        raise ContractError(f"{who}: `writes` is one string; give a list of names")
    writes = dict(source.writes) if isinstance(source.writes, Mapping) else dict.fromkeys(source.writes)
    if agent.output is Contribution:
        if not writes:
            raise ContractError(f"{who} returns a Contribution; name the entries that it may write in `writes`")
        one = ""
    else:
        writes = writes or {agent.name: None}
        one = next(iter(writes))
        if len(writes) > 1 or _pattern(one):
            raise ContractError(f"{who} writes its output as a whole: name one entry, or let it return a Contribution")
    first = next((e for e in writes if not _pattern(e)), None)
    if source.trigger is None and first is None:
        raise ContractError(f"{who} may write a pattern of names only: give its `trigger`")
    trigger = source.trigger or when(without=first or "")
    return Seat(
        name=agent.name,
        trigger=trigger,
        writes=writes,
        priority=source.priority,
        whole=one,
        kind=agent.output.__name__ if one else "",
    )


def one_type_each(seats: Sequence[Seat]) -> None:
    """Refuse sources that would write an entry with different types. Raises ContractError."""
    declared: dict[str, tuple[Any, str]] = {}
    for one in seats:
        for entry, typ in one.writes.items():
            before, who = declared.setdefault(entry, (typ, one.name)) if typ is not None else (typ, one.name)
            if before is not typ and before != typ:
                raise ContractError(
                    f"blackboard: {who!r} writes {entry!r} as {_name(before)}, {one.name!r} as {_name(typ)}; "
                    "give it one type"
                )


def may_write(one: Seat, entry: str) -> bool:
    """Whether a source declared that entry."""
    return any(fnmatchcase(entry, pattern) for pattern in one.writes)


def type_of(seats: Sequence[Seat], entry: str) -> Any:
    """The type of an entry, or None where any will do."""
    return next((t for s in seats for p, t in s.writes.items() if t is not None and fnmatchcase(entry, p)), None)


def fitting(typ: Any, entry: str, value: Any) -> tuple[Any, str]:
    """A value as plain data of its entry's type, or what is wrong with it."""
    if typ is None:
        return value, ""
    adapter = TypeAdapter(typ)
    try:
        return adapter.dump_python(adapter.validate_python(value), mode="json"), ""
    except ValidationError as error:
        return None, f"{entry} is no {_name(typ)}: {explain(error)}"


def writes_of(
    one: Seat, seats: Sequence[Seat], output: Mapping[str, Any], read: Mapping[str, int]
) -> tuple[list[Write], list[str]]:
    """What a source's output would write, by the versions that it read, and what of it is refused, and why."""
    made: list[Write] = []
    refused: list[str] = []
    for entry, value, evidence in _parts(one, output):
        if not may_write(one, entry):
            refused.append(f"may not write {entry!r}: it declared {', '.join(one.writes)}")
            continue
        if any(w["key"] == entry for w in made):
            refused.append(f"writes {entry} twice at once: the first is taken")
            continue
        typ = type_of(seats, entry)
        fit, fault = fitting(typ, entry, value)
        if fault:
            refused.append(fault)
            continue
        kind = one.kind or (_name(typ) if typ is not None else "")
        made.append(Write(key=entry, expected=read.get(entry, 0), value=fit, by=one.name, kind=kind, evidence=evidence))
    return made, refused


def _parts(one: Seat, output: Mapping[str, Any]) -> list[tuple[str, Any, list[str]]]:
    if one.whole:
        return [(one.whole, dict(output), [c for c in output.get("citations") or () if isinstance(c, str)])]
    return [(e["entry"], e["value"], e["evidence"]) for e in output["entries"]]


def _pattern(entry: str) -> bool:
    return any(sign in entry for sign in "*?[")


def _name(typ: Any) -> str:
    return typ.__name__ if isinstance(typ, type) else str(typ)
