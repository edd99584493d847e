"""What a function's source shows of what it returns: keys it writes, where it jumps, what it sends.

Nothing is run and nothing is guessed: a computed key, a variable that is bound twice, a call of what
is no plain function are left out. A key named here is really written; others may be all the same.
"""

import ast
import functools
import inspect
import linecache
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from types import CodeType, FunctionType
from typing import Any, Generic, NamedTuple, TypeVar

DEEPEST = 4  # functions that are read through one another: no update is built deeper than that
READS = {"copy", "get", "items", "keys", "setdefault", "update", "values"}  # methods that take no key away

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
W = TypeVar("W")


class Name(NamedTuple):
    """A name that stands for something outside of the function."""

    text: str


@dataclass(slots=True)
class Seen(Generic[W]):
    """What is seen in the returns of a function.

    `keys` of updates; `goto`, the targets of returned commands, and `jumps` when any command has one;
    `sends`, the nodes it sends to, and `many`, those of them that may get several at once; `words`,
    the plain strings. `calls` are helpers whose returns are its own, and whether they are awaited.
    """

    keys: set[str] = field(default_factory=set)
    goto: set[W] = field(default_factory=set)
    sends: set[W] = field(default_factory=set)
    many: set[W] = field(default_factory=set)
    words: set[W] = field(default_factory=set)
    calls: set[tuple[str, bool]] = field(default_factory=set)
    jumps: bool = False

    def add(self, other: "Seen[W]") -> None:
        """Take in what another one saw."""
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name) | getattr(other, part.name))


Raw = Seen[str | Name]  # before its names are looked up


def seen(function: object) -> Seen[str]:
    """What a node or a router returns, as far as its source and that of its helpers show it."""
    return _looked_up(function, frozenset())


def plain(function: object) -> FunctionType | None:
    """The Python function under partials, bound methods and callable objects, if there is one."""
    while isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, FunctionType) and not inspect.ismethod(function):
        function = getattr(type(function), "__call__", None)  # noqa: B004  # the function itself is wanted
    function = getattr(function, "__func__", function)
    return function if isinstance(function, FunctionType) else None


def _looked_up(function: object, above: frozenset[CodeType]) -> Seen[str]:
    found = plain(function)
    if found is None or found.__code__ in above or len(above) >= DEEPEST:
        return Seen()
    raw = _read(found.__code__)
    goto, sends, many, words = (_texts(part, found) for part in (raw.goto, raw.sends, raw.many, raw.words))
    out = Seen(keys=set(raw.keys), goto=goto, sends=sends, many=many, words=words, jumps=raw.jumps)
    for name, awaited in raw.calls:
        helper = _meaning(found, name)
        if isinstance(helper, FunctionType) and inspect.iscoroutinefunction(helper) == awaited:
            out.add(_looked_up(helper, above | {found.__code__}))
    return out


def _texts(words: set[str | Name], function: FunctionType) -> set[str]:
    values = (_meaning(function, word.text) if isinstance(word, Name) else word for word in words)
    return {value for value in values if isinstance(value, str)}


def _meaning(function: FunctionType, name: str) -> Any:
    """What a name outside of the function stands for; None when it stands for nothing yet."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    try:
        return cells[name].cell_contents if name in cells else function.__globals__.get(name)
    except ValueError:  # a closure that is still being made
        return None


@functools.cache
def _read(code: CodeType) -> Raw:
    """The function's own returns; kept by code object, which all closures of one definition share."""
    try:
        function = _lambda(code) if code.co_name == "<lambda>" else _definition(code)
    except (SyntaxError, ValueError, StopIteration):  # no source, or that of something else
        return Seen()
    return _Reader(function, frozenset()).returned()


def _definition(code: CodeType) -> Function:
    """The `def` of a code object, parsed alone: a module is long, a node is not."""
    text = "".join(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 : _last_line(code)])
    tree = ast.parse("if 1:\n" + text if text[:1].isspace() else text)
    found = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return next(node for node in found if node.name == code.co_name)


def _last_line(code: CodeType) -> int:
    inner = [_last_line(const) for const in code.co_consts if isinstance(const, CodeType)]
    return max([end for _, end, _, _ in code.co_positions() if end is not None] + inner)


def _lambda(code: CodeType) -> Function:
    """A lambda has no lines of its own: its body is cut out by the columns of its code."""
    spans = [s for s in code.co_positions() if None not in s and s[2:] != (0, 0)]
    (first, left), (last, right) = min((s[0], s[2]) for s in spans), max((s[1], s[3]) for s in spans)
    lines = [line.encode() for line in linecache.getlines(code.co_filename)[first - 1 : last]]  # type: ignore[operator]
    body = b"".join([*lines[:-1], *(line[:right] for line in lines[-1:])])[left:].decode()
    given = ", ".join(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    tree = ast.parse(f"lambda {given}: ({body})", mode="eval")
    return next(node for node in ast.walk(tree) if isinstance(node, ast.Lambda))


class _Reader:
    """Follows the values that one function returns; `outer` are the local names around it."""

    def __init__(self, function: Function, outer: frozenset[str]) -> None:
        self.function, self.outer, self.following = function, outer, set[str]()
        self.parents = dict(_own(function))
        self.bound = Counter(name for node in self.parents for name in _binds(node))
        self.bound.update(a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg))
        inner = [n for n in self.parents if isinstance(n, Function | ast.ClassDef)]
        self.captured = {n.id for i in inner for n in ast.walk(i) if isinstance(n, ast.Name)}
        self.defs = {n.name: n for n in inner if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}

    def returned(self) -> Raw:
        """Everything that its return statements show; of a generator, whose returns are not its values, nothing."""
        out = Raw()
        if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in self.parents):
            return out
        own = [self.function.body] if isinstance(self.function, ast.Lambda) else []
        for value in own + [node.value for node in self.parents if isinstance(node, ast.Return) and node.value]:
            self._value(value, out)
        return out

    def _value(self, value: ast.expr, out: Raw, *, many: bool = False, awaited: bool = False) -> None:
        parts: list[ast.expr] = []
        match value:
            case ast.Dict():
                out.keys |= {k.value for k in value.keys if isinstance(k, ast.Constant) and isinstance(k.value, str)}
                parts = [v for k, v in zip(value.keys, value.values, strict=True) if k is None]
            case ast.Constant(value=str(text)):
                out.words.add(text)
            case ast.Name(id=name):
                self._name(name, out)
            case ast.Call(func=ast.Name(id=name)):
                self._call(name, value, out, many=many, awaited=awaited)
            case ast.IfExp():
                parts = [value.body, value.orelse]
            case ast.BoolOp():
                parts = value.values if isinstance(value.op, ast.Or) else value.values[-1:]
            case ast.List() | ast.Tuple():
                parts = value.elts
            case ast.ListComp() | ast.GeneratorExp():
                parts, many = [value.elt], True
            case ast.Starred() | ast.NamedExpr() | ast.Await():
                parts, awaited = [value.value], isinstance(value, ast.Await)
        for part in parts:
            self._value(part, out, many=many, awaited=awaited and isinstance(value, ast.Await))

    def _call(self, name: str, call: ast.Call, out: Raw, *, many: bool, awaited: bool) -> None:
        if name == "Command":
            self._command({k.arg: k.value for k in call.keywords}, out)
        elif name == "Send" and call.args:
            to = Raw()
            self._value(call.args[0], to)
            out.sends |= to.words
            out.many |= to.words if many else set()
        elif name == "dict":
            out.keys |= {k.arg for k in call.keywords if k.arg is not None}
        elif name in ("list", "tuple") and call.args:
            self._value(call.args[0], out)
        elif (made := self.defs.get(name)) is not None:
            once = self.bound[name] == 1 and not made.decorator_list and name not in self.following
            if once and isinstance(made, ast.AsyncFunctionDef) == awaited:
                self.following.add(name)
                out.add(_Reader(made, self.outer | frozenset(self.bound)).returned())
        elif self._is_outside(name):
            out.calls.add((name, awaited))

    def _command(self, given: dict[str | None, ast.expr], out: Raw) -> None:
        if "graph" in given:  # what is meant for another graph is not this one's to judge
            return
        update, goto = Raw(), Raw()
        if "update" in given:
            self._value(given["update"], update)
        if "goto" in given:
            self._value(given["goto"], goto)
            out.jumps |= not (isinstance(given["goto"], ast.List | ast.Tuple) and not given["goto"].elts)
        out.add(Raw(keys=update.keys, calls=update.calls, goto=goto.words | goto.sends, many=goto.many))

    def _name(self, name: str, out: Raw) -> None:
        """A local name is what it was made as, and what was put in; another is looked up later."""
        if self._is_outside(name):
            out.words.add(Name(name))
            return
        made, part = self._made(name), Raw()
        if made is None or name in self.following:
            return
        self.following.add(name)
        self._value(made, part)
        uses = [n for n in self.parents if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load)]
        for use in uses:
            self._filled(use, part)
        if not all(self._keeps(use) for use in uses):
            part.keys, part.calls = set(), set()
        out.add(part)
        self.following.discard(name)

    def _is_outside(self, name: str) -> bool:
        return name not in self.bound and name not in self.outer

    def _made(self, name: str) -> ast.expr | None:
        """The one value that a local name ever has, or None."""
        if self.bound[name] != 1 or name in self.captured:
            return None
        for node in self.parents:
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
                to = node.targets if isinstance(node, ast.Assign) else [node.target]
                if len(to) == 1 and isinstance(to[0], ast.Name) and to[0].id == name:
                    return node.value
        return None

    def _filled(self, use: ast.Name, out: Raw) -> None:
        """What one use adds to a dict or a list: `x["key"] = ...`, `x.update({...})`, `x.append(Send(...))`."""
        parent = self.parents[use]
        call = self.parents.get(parent)
        match parent:
            case ast.Subscript(slice=ast.Constant(value=str(key)), ctx=ast.Store()) if parent.value is use:
                out.keys.add(key)
            case ast.Attribute(attr="update" | "append") if isinstance(call, ast.Call) and call.func is parent:
                out.keys |= {k.arg for k in call.keywords if k.arg is not None}
                for given in call.args:
                    self._value(given, out, many=self._repeats(call))

    def _repeats(self, node: ast.AST) -> bool:
        """Whether it stands in a loop that nothing breaks out of."""
        while (node := self.parents.get(node, self.function)) is not self.function:
            if isinstance(node, ast.For | ast.AsyncFor | ast.While):
                return not any(isinstance(inner, ast.Break) for inner in ast.walk(node))
        return False

    def _keeps(self, use: ast.AST) -> bool:
        """Whether a dict has all its keys after this use: it is read, filled, spread or returned, nothing else."""
        match parent := self.parents[use]:
            case ast.Return() | ast.If() | ast.While() | ast.Compare() | ast.UnaryOp(op=ast.Not()):
                return True
            case ast.Dict():
                return any(k is None and v is use for k, v in zip(parent.keys, parent.values, strict=True))
            case ast.IfExp() | ast.BoolOp():
                return getattr(parent, "test", None) is use or self._keeps(parent)
            case ast.Subscript():
                return parent.value is use and not isinstance(parent.ctx, ast.Del)
            case ast.Attribute():
                return parent.attr in READS and isinstance(self.parents[parent], ast.Call)
            case ast.keyword(arg="update"):
                call = self.parents[parent]
                return isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Command" and self._keeps(call)
        return False


def _own(function: Function) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Each node of a function's own body with its parent; what a nested function holds is not its own."""
    body = [function.body] if isinstance(function, ast.Lambda) else function.body
    todo: list[tuple[ast.AST, ast.AST]] = [(node, function) for node in body]
    while todo:
        node, parent = todo.pop()
        yield node, parent
        if not isinstance(node, Function | ast.ClassDef):
            todo.extend((child, node) for child in ast.iter_child_nodes(node))


def _binds(node: ast.AST) -> list[str]:
    """The names that a node binds; one that is declared global or nonlocal counts as bound twice."""
    if isinstance(node, ast.Global | ast.Nonlocal):
        return node.names * 2
    if isinstance(node, ast.Name):
        return [] if isinstance(node.ctx, ast.Load) else [node.id]
    said = [getattr(node, part, None) for part in ("name", "asname", "rest")]  # defs, imports, handlers, patterns
    return [name.split(".")[0] for name in said if isinstance(name, str)]
