"""What a pipeline remembers of its stages, and whether one stage's output can be the next one's input."""

import inspect
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, PydanticSchemaGenerationError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import to_jsonable_python

from state.agent import Outcome, Text
from state.reducers import merge_keys
from state.turn import Turn

Transform = Callable[[Any], Any]
Schema = dict[str, Any]

UNKNOWN: Any = inspect.Parameter.empty  # where a transform has no annotation: it is trusted
DEEPEST = 8  # objects within objects that are compared


class State(Turn, total=False):
    """`stages` holds the output of every stage under its name.

    `handed` is what the last stage that brought something passed on: {"by", "value"}. `marks` says of
    each stage that was skipped, or whose output is flawed, how it ended: {"outcome", "reason", "skipped"}.
    """

    stages: Annotated[dict[str, Any], merge_keys]
    handed: dict[str, Any] | None
    marks: Annotated[dict[str, Any], merge_keys]


def answer_of(handed: dict[str, Any] | None) -> dict[str, Any] | None:
    """What was handed on last, in the form of an answer: the best there is so far."""
    if handed is None:
        return None
    value = handed["value"]
    if isinstance(value, dict):
        return value
    return Text(text=value if isinstance(value, str) else str(value)).model_dump(mode="json")


def outcome_of(marks: dict[str, Any]) -> tuple[Outcome, str]:
    """How a pipeline ends that came to its end, and what is to be said of its stages."""
    words = [f"{'skipped: ' if m['skipped'] else ''}{m['reason']}" for m in marks.values()]
    ends = {m["outcome"] for m in marks.values()} - {"completed"}
    return "out_of_budget" if "out_of_budget" in ends else "degraded" if ends else "completed", "; ".join(words)


def plain(value: Any) -> Any:
    """A value as a channel may hold it. Raises ValueError for what is no data."""
    return to_jsonable_python(value)


def accepts(transform: Transform) -> Any:
    """The annotation of a transform's argument."""
    hints, names = _hints(transform), _names(transform)
    return hints.get(names[0], UNKNOWN) if names else UNKNOWN


def returns(transform: Transform) -> Any:
    """The annotation of what a transform returns."""
    return _hints(transform).get("return", UNKNOWN)


def misfit(gives: Any, takes: Any) -> str:
    """Why no value of the one type can validate as the other, naming the field; empty when one may."""
    if UNKNOWN in (gives, takes) or gives is takes:
        return ""
    out, into = _schema(gives, "serialization"), _schema(takes, "validation")
    return "" if out is None or into is None else clash(out, into)


def wrong_argument(gives: Any, takes: Any) -> str:
    """Why a transform that declares `takes` cannot be given a `gives`; empty when it may."""
    given, wanted = _classes(gives), _classes(takes)
    if not given or not wanted or any(issubclass(one, other) for one in given for other in wanted):
        return ""
    return f"it takes {name(takes)}, and is given {name(gives)}"


def _classes(kind: Any) -> list[type]:
    """The classes that a type stands for; none where that is not known."""
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    found = [get_origin(part) or part for part in parts if part is not UNKNOWN]
    return found if all(isinstance(part, type) for part in found) else []


def rebuilt(value: Any, kind: Any) -> Any:
    """What was handed on, as it was before it was saved, where its type is known; else plain data."""
    try:
        return value if kind is UNKNOWN else TypeAdapter(kind).validate_python(value)
    except PydanticSchemaGenerationError:
        return value


def name(kind: Any) -> str:
    """A type in words."""
    return kind.__name__ if isinstance(kind, type) else str(kind)


def clash(gives: Schema, takes: Schema) -> str:
    """Why nothing that fits the one JSON schema fits the other; empty when something may.

    Compared are JSON types, required and forbidden fields. A value that may or may not fit is left
    to the run, where it is validated.
    """
    return _clash(gives, takes, gives, takes, "", 0)


def _clash(gives: Schema, takes: Schema, out: Schema, into: Schema, at: str, depth: int) -> str:
    firsts = [(one, another) for one in _variants(gives, out) for another in _variants(takes, into)]
    if depth > DEEPEST:
        return ""
    faults = [_apart(one, another, out, into, at, depth) for one, another in firsts]
    return "" if "" in faults else faults[0]


def _apart(gives: Schema, takes: Schema, out: Schema, into: Schema, at: str, depth: int) -> str:
    have, want = gives.get("type"), takes.get("type")
    numbers = {"integer", "number"}
    if have and want and have != want and not {have, want} <= numbers:
        return f"{at or 'it'} is {have} in the one, {want} in the other"
    if have != "object" or want != "object":
        items = gives.get("items"), takes.get("items")
        both = have == want == "array" and all(isinstance(i, dict) for i in items)
        return _clash(*items, out, into, f"an item of {at or 'it'}", depth + 1) if both else ""  # type: ignore[arg-type]  # dicts, by `both`
    fields, wanted = gives.get("properties"), takes.get("properties") or {}
    if fields is None:  # a mapping: what is in it shows in the run
        return ""
    for field in takes.get("required") or ():
        if field not in fields:
            there = ", ".join(_within(at, f) for f in fields) or "no field at all"
            return f"{_within(at, field)} is required, and there is {there}"
    for field, schema in fields.items():
        if field not in wanted and takes.get("additionalProperties") is False:
            return f"{_within(at, field)} is there, and forbidden"
        if field in wanted and (fault := _clash(schema, wanted[field], out, into, _within(at, field), depth + 1)):
            return fault
    return ""


def _within(at: str, field: str) -> str:
    return f"{at}.{field}" if at else field


def _variants(schema: Schema, root: Schema) -> list[Schema]:
    """A schema with its references followed, as the single-typed ones it may be."""
    if "$ref" in schema:
        return _variants(root.get("$defs", {}).get(schema["$ref"].rsplit("/", 1)[-1], {}), root)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return [v for one in schema[several] for v in _variants(one, root)]
    kinds = schema.get("type")
    return [{**schema, "type": kind} for kind in kinds] if isinstance(kinds, list) else [schema]


def _schema(kind: Any, mode: Any) -> Schema | None:
    """The JSON schema of a type: names as they are dumped, aliases as they are read. None: nothing to compare."""
    fields = kind.model_fields.values() if isinstance(kind, type) and issubclass(kind, BaseModel) else ()
    if mode == "validation" and any(field.validation_alias for field in fields):
        return None
    try:
        return TypeAdapter(kind).json_schema(by_alias=False, mode=mode)
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema):
        return None


def _hints(transform: Transform) -> dict[str, Any]:
    try:
        return get_type_hints(transform if inspect.isroutine(transform) else type(transform).__call__)
    except (NameError, TypeError):  # an annotation that means nothing here
        return {}


def _names(transform: Transform) -> list[str]:
    try:
        return list(inspect.signature(transform).parameters)
    except (ValueError, TypeError):  # a builtin
        return []
