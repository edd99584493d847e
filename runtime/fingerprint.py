"""Which code a thread was written by: a short mark in every checkpoint, the parts behind it in the store.

A thread that goes on is held against the code as it is now: a change that matters is refused by name, a
change of prompts or models is told.
"""

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from langchain_core.runnables import RunnableConfig
from langgraph.channels.base import BaseChannel
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.types import StateSnapshot

from runtime.history import next_of
from runtime.models import name_of
from state.agent import Agent
from state.context import TIERS, Context
from state.errors import ThreadError
from state.fingerprint import LASTS, Code, verdict
from state.record import digest
from state.turn import LASTING

MARK = "code"  # the key in a checkpoint's metadata
CODES = ("code",)
TIER = "that of tier {}"
LONG = 80  # characters of a type that are shown
WORDS = ("description", "title")  # of a schema: what a model is told, not what fits


@dataclass(frozen=True, slots=True)
class Contract:
    """An agent, and who answers: "a model", "a graph", "a function" or "a person"; `model` is one of its own."""

    agent: Agent
    by: str
    model: str = ""


_declared: WeakKeyDictionary[Any, tuple[Contract, ...]] = WeakKeyDictionary()
_parts: WeakKeyDictionary[Any, Code] = WeakKeyDictionary()


def declare(builder: Any, contracts: Iterable[Contract]) -> None:
    """Keep who takes part in the graphs that are compiled from this builder."""
    _declared[builder] = tuple(contracts)


def code_of(graph: Pregel[Any, Any, Any, Any], context: Any = None) -> Code:
    """The parts of a graph and of those inside it, with the models of the run's tiers."""
    found = _parts.get(graph.builder) if isinstance(graph, CompiledStateGraph) else None
    if found is None:
        inside = [("", graph), *graph.get_subgraphs(recurse=True)]
        pairs = {name: _of(g) for name, g in inside if isinstance(g, CompiledStateGraph)}
        found = Code({n: p[0] for n, p in pairs.items()}, {n: p[1] for n, p in pairs.items()})
        if isinstance(graph, CompiledStateGraph):
            _parts[graph.builder] = found
    given, said = _context(context), {text for voice in found.voice.values() for text in voice.values()}
    tiers = {f"model of tier {tier}": name_of(tier, given) for tier in TIERS if TIER.format(tier) in said}
    return Code(found.wiring, {**found.voice, "": {**found.voice.get("", {}), **tiers}})


def mark_of(code: Code) -> str:
    """The mark of some code: the same wiring has the same first half, the same voice the second."""
    return f"{digest(code.wiring)[:12]}.{digest(code.voice)[:12]}"


def marked(config: RunnableConfig | None, mark: str) -> RunnableConfig:
    """A config under which every checkpoint has the mark."""
    given: RunnableConfig = {} if config is None else config
    return {**given, "metadata": {**(given.get("metadata") or {}), MARK: mark}}


async def keep(graph: Pregel[Any, Any, Any, Any], code: Code) -> None:
    """Keep the parts behind a mark, once."""
    if graph.store is not None and await graph.store.aget(CODES, mark_of(code)) is None:
        await graph.store.aput(CODES, mark_of(code), asdict(code), index=False)


async def check(graph: Pregel[Any, Any, Any, Any], config: RunnableConfig, code: Code, *, goes_on: bool) -> list[str]:
    """What is to be said before a thread goes on (`goes_on`), or begins another turn, with this code.

    Raises ThreadError, with the names, for a change that would make something of what is saved unusable.
    """
    saver: Any = graph.checkpointer
    thread = config["configurable"]["thread_id"]
    head = await saver.aget_tuple(config)
    if head is None:
        return []
    awaited = _awaited(head.checkpoint["channel_values"])
    if goes_on:
        _refuse_lost(graph, thread, awaited, graph.name)
    before = head.metadata.get(MARK)
    if before in (None, mark_of(code)) or graph.store is None or (goes_on and not awaited):
        return []
    kept = await graph.store.aget(CODES, before)
    if kept is None:
        return []
    working = None
    if goes_on:
        snapshot = await graph.aget_state(config, subgraphs=True)
        working = {"": awaited}
        async for name, found in _inside(saver, snapshot):
            working[name] = working.get(name, set()) | found  # several of one node may be at work
    judged = verdict(Code(**kept.value), code, working)
    if judged.refused:
        mend = (
            "put the former code back, fork the thread at its newest step to go on with the code as it is, or drop "
            "the turn with --discard"
            if goes_on
            else "put the former code back, or take a new thread"
        )
        raise ThreadError(f"thread {thread!r} was left by other code: {'; '.join(judged.refused)}. Either {mend}")
    return [f"thread {thread!r}: {word} since it was left" for word in judged.warned]


async def refuse_lost(graph: Pregel[Any, Any, Any, Any], config: RunnableConfig, name: str) -> None:
    """A thread that was to go on in a node that is no more looks as if it were over. Raises ThreadError."""
    saver: Any = graph.checkpointer
    if (head := await saver.aget_tuple(config)) is not None:
        _refuse_lost(graph, config["configurable"]["thread_id"], _awaited(head.checkpoint["channel_values"]), name)


def _refuse_lost(graph: Pregel[Any, Any, Any, Any], thread: str, awaited: set[str], name: str) -> None:
    if lost := sorted(awaited - {*graph.nodes, *graph.channels}):
        raise ThreadError(f"thread {thread!r} stopped before {', '.join(lost)}, which {name} no longer has")


async def _inside(saver: Any, snapshot: StateSnapshot, above: str = "") -> AsyncIterator[tuple[str, set[str]]]:
    """The graphs at work inside a step, by their nodes' names, with what each waits for."""
    for task in snapshot.tasks:
        if isinstance(task.state, StateSnapshot):
            name = f"{above}|{task.name}" if above else task.name
            head = await saver.aget_tuple(task.state.config)
            yield name, _awaited(head.checkpoint["channel_values"]) if head is not None else set()
            async for more in _inside(saver, task.state, name):
                yield more


def _awaited(values: Mapping[str, Any]) -> set[str]:
    """What runs next, and the joins that some of theirs have come to."""
    return {*next_of(values), *(name for name, seen in values.items() if name.startswith("join:") and seen)}


def _context(given: Any) -> Context:
    if isinstance(given, Context):
        return given
    with suppress(ValueError, TypeError):  # what does not fit is refused by name when the run begins
        return Context.model_validate(given or {})
    return Context()


def _of(graph: CompiledStateGraph[Any, Any, Any, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Wiring and voice of one graph."""
    builder = graph.builder
    wiring = {f"node {name}": "" for name in builder.nodes}
    lasting = _lasting(builder.state_schema)
    wiring |= {f"key {name}": _channel(name, channel, lasting) for name, channel in builder.channels.items()}
    for part, schema in (("input", builder.input_schema), ("output", builder.output_schema)):
        keys = sorted(builder.schemas.get(schema, {}))
        wiring[part] = ", ".join(f"{k} {_type(_hints(schema).get(k))}" for k in keys)
    voice: dict[str, str] = {}
    for contract in _declared.get(builder, ()):
        _add(contract, wiring, voice)
    return wiring, voice


def _add(contract: Contract, wiring: dict[str, str], voice: dict[str, str]) -> None:
    agent, name = contract.agent, contract.agent.name
    wiring[f"agent {name}"] = f"answered by {contract.by}"
    wiring[f"agent {name}: input"] = digest(_bare(agent.input.model_json_schema()))
    wiring[f"agent {name}: output"] = digest(_bare(agent.output.model_json_schema()))
    voice[f"agent {name}: responsibility"] = digest(agent.responsibility)
    voice[f"agent {name}: instructions"] = digest(agent.instructions)
    voice[f"agent {name}: words of its output"] = digest(agent.output.model_json_schema())
    if contract.by == "a model":
        voice[f"agent {name}: model"] = contract.model or TIER.format(agent.tier)
    if contract.by == "a graph":
        return  # its tools are those of the loop inside
    for tool in agent.tools:
        schema = tool.args.model_json_schema()
        takes = json.dumps(_bare(schema).get("properties", {}), sort_keys=True)
        wiring[f"agent {name}: tool {tool.name}"] = f"effects {tool.effects}, arguments {takes}"
        voice[f"agent {name}: words of tool {tool.name}"] = digest([tool.description, schema])


def _bare(schema: Any) -> Any:
    """A schema without the words in it. A property may be called as a word is."""
    if isinstance(schema, list):
        return [_bare(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    return {k: _bare(v) for k, v in schema.items() if k not in WORDS or not isinstance(v, str)}


def _channel(name: str, channel: BaseChannel[Any, Any, Any], lasting: Iterable[str]) -> str:
    reducer = getattr(channel, "operator", None) or getattr(channel, "reducer", None)
    by = f" by {getattr(reducer, '__module__', '')}.{getattr(reducer, '__qualname__', reducer)}" if reducer else ""
    kept = LASTS if name == "messages" or name in lasting else ""
    return f"{kept}{_type(getattr(channel, 'typ', None))}, {type(channel).__name__}{by}"


def _lasting(schema: Any) -> Iterator[str]:
    return (name for name, hint in _hints(schema).items() if LASTING in getattr(hint, "__metadata__", ()))


def _hints(schema: Any) -> dict[str, Any]:
    with suppress(TypeError, NameError):
        return get_type_hints(schema, include_extras=True)
    return {}


def _type(hint: Any) -> str:
    """A type in words that are the same in every process; a long one is cut off, with a digest."""
    text = _spelt(hint)
    return text if len(text) <= LONG else f"{text[:LONG]}… {digest(text)[:8]}"


def _spelt(hint: Any) -> str:
    if get_origin(hint) is Annotated or hasattr(hint, "__metadata__"):
        return _spelt(hint.__origin__)
    if args := get_args(hint):
        origin, of = get_origin(hint), [_spelt(a) for a in args]
        if origin in (Union, UnionType):
            return " | ".join(of)
        return f"{getattr(origin, '__qualname__', origin)}[{', '.join(of)}]"
    return hint.__qualname__ if isinstance(hint, type) else repr(hint)
