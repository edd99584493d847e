"""Build-time checks of a graph's wiring: what would compile silently and fail later is refused.

Nodes that are never reached or cannot end, targets that do not exist, routers that do not say where
they lead, two ways out of one node, loops that nothing leaves, keys that the state does not have,
parallel writers of a key that takes one value. What the builder and the source of its nodes do not
show is not judged, so a fault is never a guess. How often a loop may run is not the wiring's matter:
`compiled(..., steps=...)` asks for that bound.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import get_close_matches
from itertools import combinations
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from langgraph.channels import LastValue
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from typing_extensions import is_typeddict

from runtime.writes import Seen, plain, seen
from state.errors import ContractError

Builder = StateGraph[Any, Any, Any, Any]
Faults = Iterator[str]
T = TypeVar("T")

DOOR = "remove it: retries and caching live at the door, where each attempt is recorded and paid"
SAY = "annotate it `-> Literal[...]`, or give add_conditional_edges the list of its destinations"
REDUCE = "give the key a reducer, or let one node write it"


def lint(builder: Builder, name: str) -> None:
    """Raise one ContractError that lists every fault of the graph, each with its node and its mend."""
    if found := faults(builder):
        raise ContractError(f"graph {name!r} cannot work:\n" + "\n".join(f"- {fault}" for fault in found))


def faults(builder: Builder) -> list[str]:
    """Everything that is wrong with the wiring, in words."""
    wiring = Wiring(builder)
    return [fault for check in CHECKS for fault in check(wiring)]


class Router(NamedTuple):
    """A conditional edge: where it leads (None: nobody says), what its source shows, whether it returns a list."""

    source: str
    name: str
    ends: set[str] | None
    shown: Seen[str]
    lists: bool
    sync: bool

    def __str__(self) -> str:
        return f"router {self.name!r} of {_node(self.source)}"


class Wiring:
    """The edges of a builder by their source, and what the source of its nodes shows.

    `static` edges are always taken; of each set in `choices` one is. A jump that nobody declared,
    like an error handler's, may lead anywhere.
    """

    def __init__(self, builder: Builder) -> None:
        self.builder, self.nodes, self.joins = builder, builder.nodes, builder.waiting_edges
        self.anywhere = {*self.nodes, END}
        self.routers = [_router(at, n, b) for at, named in builder.branches.items() for n, b in named.items()]
        self.shown = {name: seen(_function(spec.runnable)) for name, spec in self.nodes.items()}
        self.static = _by_source(self, builder.edges)
        self.joined = _by_source(self, ((start, end) for starts, end in self.joins for start in starts))
        self.jumping = {n for n, spec in self.nodes.items() if spec.ends or self.shown[n].jumps}
        self.choices: dict[str, list[set[str]]] = {name: [] for name in self.static}
        for router in self.routers:
            self.choices.setdefault(router.source, []).append(router.ends or self.anywhere)
        for name, spec in self.nodes.items():
            if spec.is_error_handler or name in self.jumping:
                declared = () if spec.is_error_handler else spec.ends
                self.choices[name].append(set(declared or self.anywhere))

    @functools.cached_property
    def ways(self) -> dict[str, set[str]]:
        """All ways out of START and of each node, of whatever kind."""
        return {n: self.static[n].union(self.joined[n], *self.choices[n]) for n in (START, *self.nodes)}

    @functools.cached_property
    def ending(self) -> set[str]:
        """What has a path to END. A dead end or an unknown target is told on its own, and ends a path too."""
        last = {name for name, ways in self.ways.items() if not ways or ways - self.nodes.keys()}
        return _grown(last, lambda have: {name for name, ways in self.ways.items() if ways & have})


def policies(wiring: Wiring) -> Faults:
    """Retries and caches behind the door's back."""
    owners = {"set_node_defaults": getattr(wiring.builder, "_node_defaults", None)}
    for where, owner in [*owners.items(), *((_node(n), spec) for n, spec in wiring.nodes.items())]:
        for policy in ("retry_policy", "cache_policy"):
            if getattr(owner, policy, None) is not None:
                yield f"{where} has a {policy}: {DOOR}"


def targets(wiring: Wiring) -> Faults:
    """Edges from and to what does not exist."""
    joins = {(start, end) for starts, end in wiring.joins for start in starts}
    for source, target in sorted(wiring.builder.edges | joins, key=str):
        edge = f"the edge {source!r} -> {target!r}"
        if source not in wiring.nodes and source != START:
            yield f"{edge} starts at {source!r}, which does not exist: {_nearest(source, wiring.nodes)}"
        if target not in wiring.anywhere:
            yield f"{edge} leads to {target!r}, which does not exist: {_nearest(target, wiring.anywhere)}"


def routes(wiring: Wiring) -> Faults:
    """Routers that do not say where they lead, or lead to what does not exist."""
    for router in wiring.routers:
        said, sends = router.ends or wiring.anywhere, router.shown.sends
        if router.source not in wiring.nodes and router.source != START:
            yield f"{router} starts at a node that does not exist: {_nearest(router.source, wiring.nodes)}"
        if router.ends is None:
            yield f"{router} does not say where it leads: {SAY}"
        for end in sorted((said | sends) - wiring.anywhere, key=str):
            yield f"{router} leads to {end!r}, which does not exist: {_nearest(end, wiring.anywhere)}"
        for end in sorted((sends & wiring.anywhere) - said, key=str):
            yield f"{router} sends to {end!r}, which is not among its destinations: add it to them"


def sync_routers(wiring: Wiring) -> Faults:
    """Sync routers among async nodes: each call goes to a thread, which costs as much as the step itself."""
    if any(_function(s.runnable) is not None and not _is_sync(s.runnable) for s in wiring.nodes.values()):
        for router in wiring.routers:
            if router.sync:
                yield f"{router} is sync among async nodes, which doubles the cost of a step: make it async"


def jumps(wiring: Wiring) -> Faults:
    """Commands that go where nothing is, or where no drawing shows it."""
    for name, spec in wiring.nodes.items():
        shown, declared = wiring.shown[name], set(spec.ends or ())
        for end in sorted((declared | shown.goto) - wiring.anywhere, key=str):
            yield f"{_node(name)} goes to {end!r}, which does not exist: {_nearest(end, wiring.anywhere)}"
        if shown.jumps and not declared and not spec.is_error_handler:
            yield f"{_node(name)} does not say where its goto leads: annotate it `-> Command[Literal[...]]`"
        for end in sorted((shown.goto & wiring.anywhere) - declared, key=str) if declared else ():
            yield f"{_node(name)} goes to {end!r}, which its Command[Literal[...]] leaves out: add it"


def ways_out(wiring: Wiring) -> Faults:
    """Nodes without a way out, or with two: the engine takes all of them."""
    for name, ways in wiring.ways.items():
        edges = sorted(map(repr, wiring.static[name] | wiring.joined[name]))
        kinds = [f"router {r.name!r}" for r in wiring.routers if r.source == name]
        kinds += [f"an edge to {', '.join(edges)}"] if edges else []
        kinds += ["Command(goto=...)"] if name in wiring.jumping else []
        if not ways:
            yield f"{_node(name)} has no way out: add an edge to a node or to END, or a router"
        elif len(kinds) > 1:
            yield f"{_node(name)} has {len(kinds)} ways out, and takes all of them: keep one of {'; '.join(kinds)}"


def reach(wiring: Wiring) -> Faults:
    """Nodes that never run."""

    def after(have: set[str]) -> set[str]:
        free = {end for name in have & wiring.static.keys() for end in wiring.static[name]}
        chosen = {end for name in have for choice in wiring.choices.get(name, ()) for end in choice}
        joined = {end for starts, end in wiring.joins if have.issuperset(starts)}
        handlers = {wiring.nodes[name].error_handler_node or END for name in have & wiring.nodes.keys()}
        return (free | chosen | joined | handlers) & wiring.nodes.keys()

    for name in sorted(wiring.nodes.keys() - _grown({START}, after)):
        yield f"{_node(name)} is never reached: lead an edge or a router to it, or remove it"


def loops(wiring: Wiring) -> Faults:
    """Nodes without a path to END, and loops that are taken again whatever their routers choose."""
    for name in sorted(wiring.nodes.keys() - wiring.ending):
        yield f"{_node(name)} cannot reach END: every path from it leads in a circle; give one a way out"
    alone = _by_source(wiring, ((starts[0], end) for starts, end in wiring.joins if len(starts) == 1))
    caught = set(wiring.nodes)

    def bound(name: str) -> bool:
        certain = (wiring.static[name] | alone[name]) & caught
        return bool(certain) or any(choice <= caught for choice in wiring.choices[name])

    while free := {name for name in caught if not bound(name)}:
        caught -= free
    after = {name: wiring.ways[name] & caught for name in caught}
    later = {name: _grown(after[name], lambda have: {b for a in have for b in after[a]}) for name in caught}
    rings = {tuple(sorted(b for b in later[a] if a in later[b])) for a in caught & wiring.ending if a in later[a]}
    for ring in sorted(rings):
        yield f"{', '.join(map(_node, ring))}: this loop is never left; let a router choose between it and a way out"


def keys(wiring: Wiring) -> Faults:
    """Writes that the engine drops."""
    channels, managed = wiring.builder.channels, wiring.builder.managed
    if "__root__" in channels:  # the state is one value, and a returned dict is that value
        return
    for name, spec in wiring.nodes.items():
        returns = _returns(_function(spec.runnable))
        declared = set(returns.__annotations__) - managed.keys() if is_typeddict(returns) else set()
        for key in sorted((wiring.shown[name].keys | declared) - channels.keys()):
            why = "the engine keeps itself" if key in managed else "the state does not have"
            yield f"{_node(name)} writes {key!r}, which {why}: {_nearest(key, channels)}, or declare it"


def writers(wiring: Wiring) -> Faults:
    """Nodes that write one key in the same step, where the key takes one value a step."""
    single = {k for k, c in wiring.builder.channels.items() if isinstance(c, LastValue) or getattr(c, "guard", False)}
    written = {name: wiring.shown[name].keys & single for name in wiring.nodes}
    many = {end for router in wiring.routers for end in _many(router)}
    for name in sorted(many.union(*(s.many for s in wiring.shown.values())) & wiring.nodes.keys()):
        for key in sorted(written[name]):
            yield f"{_node(name)} runs several times at once and writes {key!r} each time: {REDUCE}"
    for one, other in sorted(_together(wiring)):
        for key in sorted(written[one] & written[other]):
            yield f"{_node(one)} and {_node(other)} run at once and both write {key!r}: {REDUCE}"


CHECKS: list[Callable[[Wiring], Faults]] = [
    *(policies, targets, routes, sync_routers, jumps, ways_out, reach, loops, keys, writers)
]


def _together(wiring: Wiring) -> set[tuple[str, str]]:
    """Pairs that are bound to run in one step: behind a fan-out, for as long as only edges follow."""
    prompt = {name for name, spec in wiring.nodes.items() if not spec.defer}
    after = {name: sorted(ends & prompt) for name, ends in wiring.static.items()}

    def next_pairs(have: set[tuple[str, str]]) -> set[tuple[str, str]]:
        return {(min(a, b), max(a, b)) for one, other in have for a in after[one] for b in after[other] if a != b}

    return _grown({pair for ends in after.values() for pair in combinations(ends, 2)}, next_pairs)


def _many(router: Router) -> Collection[str]:
    """The nodes that a router may send to more than once: by its source, else by its annotation."""
    return router.shown.many if router.shown.sends or not router.lists else router.ends or ()


def _router(source: str, name: str, branch: Any) -> Router:
    function = _function(branch.path)
    returns = _returns(function)
    lists = get_origin(returns) in (list, tuple, Sequence) and get_args(returns)[:1] == (Send,)
    ends = {end if isinstance(end, str) else repr(end) for end in branch.ends.values()} if branch.ends else None
    return Router(source, name, ends, seen(function), lists, _is_sync(branch.path))


def _function(runnable: Any) -> Any:
    func = getattr(runnable, "func", None)
    return getattr(runnable, "afunc", None) if func is None else func


def _is_sync(runnable: Any) -> bool:
    """Whether its async call is the sync one in a thread: what the engine makes of a plain function."""
    thread = getattr(runnable, "afunc", None)
    return getattr(runnable, "func", None) is not None and (thread is None or isinstance(thread, functools.partial))


def _returns(function: object) -> Any:
    found = plain(function)
    return found.__annotations__.get("return") if found is not None else None


def _by_source(wiring: Wiring, edges: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {name: set() for name in (START, *wiring.nodes)}
    for source, target in edges:
        found.setdefault(source, set()).add(target)
    return found


def _grown(have: set[T], step: Callable[[set[T]], set[T]]) -> set[T]:
    """A set together with all that its steps lead to."""
    have = set(have)
    while more := step(have) - have:
        have |= more
    return have


def _node(name: str) -> str:
    return "START" if name == START else f"node {name!r}"


def _nearest(wrong: Any, known: Collection[str]) -> str:
    close = get_close_matches(str(wrong), [k for k in known if not k.startswith("__")], n=1, cutoff=0.0)
    return f"mend the name (the nearest is {close[0]!r})" if close else "add it"
