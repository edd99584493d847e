"""Whether a value fits a JSON schema: as much of the standard as the arguments of functions use."""

import math
import re
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]
Sub = Callable[[Any, Any], bool]
DEEPEST = 40  # references followed below one another


def resolved(schema: Any, root: Schema) -> Schema:
    """A schema with its reference followed and what stands beside it kept; True is {}, False fits nothing."""
    if schema is True:
        return {}
    if not isinstance(schema, dict):
        return {"not": {}}
    at: Schema = schema
    for _ in range(DEEPEST):
        ref = at.get("$ref")
        if not isinstance(ref, str):
            return at
        beside = {k: v for k, v in at.items() if k != "$ref"}
        target = _pointed(ref, root)
        target = {} if target is True else target if isinstance(target, dict) else {"not": {}}
        at = merged(target, beside) if beside else target
    return {"not": {}}


def _pointed(ref: str, root: Schema) -> Any:
    at: Any = root
    for part in ref.removeprefix("#").strip("/").split("/"):
        if part:
            at = at.get(part.replace("~1", "/").replace("~0", "~"), False) if isinstance(at, dict) else False
    return at


def merged(one: Schema, other: Schema) -> Schema:
    """Both schemas at once, where keywords can be joined; where not, the other stands under allOf."""
    out = dict(one)
    for key, value in other.items():
        if key not in out or out[key] == value:
            out[key] = value
        elif key == "properties":
            out[key] = {
                **out[key],
                **{n: {"allOf": [out[key][n], s]} if n in out[key] else s for n, s in value.items()},
            }
        elif key == "required":
            out[key] = list(dict.fromkeys([*out[key], *value]))
        elif key == "enum":
            out[key] = [v for v in out[key] if any(same(v, w) for w in value)]
        elif key == "type":
            have, want = _types(out[key]), _types(value)
            both = [t for t in have if t in want or (t == "integer" and "number" in want)]
            both += [t for t in want if t not in both and t == "integer" and "number" in have]
            out[key] = both or have
        elif key in ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"):
            out[key] = max(out[key], value)
        elif key in ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"):
            out[key] = min(out[key], value)
        elif key not in ("title", "description", "default", "examples", "$defs"):
            out["allOf"] = [*out.get("allOf", []), {key: value}]
    return out


def _types(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def same(one: Any, other: Any) -> bool:
    """Equality as JSON means it: true is not 1, and 1.0 is 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(v, other[k]) for k, v in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def kind_of(value: Any) -> str:
    """The JSON type of a value; a whole number is an integer, and so a number."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    names: list[tuple[type, str]] = [(float, "number"), (str, "string"), (dict, "object"), (list, "array")]
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def fits(value: Any, schema: Any, root: Schema, depth: int = 0) -> bool:
    """Whether the value is valid under the schema."""
    if depth > DEEPEST:
        return False
    at = resolved(schema, root)
    kind = kind_of(value)
    if "type" in at and kind not in _types(at["type"]) and not (kind == "integer" and "number" in _types(at["type"])):
        return False
    if ("const" in at and not same(value, at["const"])) or (
        "enum" in at and not any(same(value, v) for v in at["enum"])
    ):
        return False

    def sub(part: Any, inner: Any) -> bool:
        return fits(part, inner, root, depth + 1)

    if not all(sub(value, s) for s in at.get("allOf", ())):
        return False
    if "anyOf" in at and not any(sub(value, s) for s in at["anyOf"]):
        return False
    if "oneOf" in at and sum(sub(value, s) for s in at["oneOf"]) != 1:
        return False
    if "not" in at and sub(value, at["not"]):
        return False
    if "if" in at and not sub(value, at.get("then" if sub(value, at["if"]) else "else", True)):
        return False
    checks: dict[str, Callable[[Any, Schema, Sub], bool]] = {
        "string": _string,
        "integer": _number,
        "number": _number,
        "array": _array,
        "object": _object,
    }
    return kind not in checks or checks[kind](value, at, sub)


def _string(value: str, at: Schema, sub: Sub) -> bool:
    if not at.get("minLength", 0) <= len(value) <= at.get("maxLength", math.inf):
        return False
    try:
        return "pattern" not in at or re.search(at["pattern"], value) is not None
    except re.error:
        return True


def _number(value: float, at: Schema, sub: Sub) -> bool:
    low, high = at.get("minimum", -math.inf), at.get("maximum", math.inf)
    above, below = at.get("exclusiveMinimum", -math.inf), at.get("exclusiveMaximum", math.inf)
    if not (low <= value <= high and above < value < below):
        return False
    step = at.get("multipleOf")
    return not step or float(value / step).is_integer()


def _array(value: list[Any], at: Schema, sub: Sub) -> bool:
    first = at.get("prefixItems", [])
    if not at.get("minItems", 0) <= len(value) <= at.get("maxItems", math.inf):
        return False
    if at.get("uniqueItems") and any(same(v, w) for n, v in enumerate(value) for w in value[:n]):
        return False
    if not all(sub(v, s) for v, s in zip(value, first, strict=False)):
        return False
    if not all(sub(v, at.get("items", True)) for v in value[len(first) :]):
        return False
    if "contains" not in at:
        return True
    return bool(
        at.get("minContains", 1) <= sum(sub(v, at["contains"]) for v in value) <= at.get("maxContains", math.inf)
    )


def _object(value: dict[str, Any], at: Schema, sub: Sub) -> bool:
    known, patterns = at.get("properties", {}), at.get("patternProperties", {})
    if not at.get("minProperties", 0) <= len(value) <= at.get("maxProperties", math.inf):
        return False
    if any(name not in value for name in at.get("required", ())):
        return False
    if any(n in value and m not in value for n, more in at.get("dependentRequired", {}).items() for m in more):
        return False
    for name, part in value.items():
        here = [known[name]] if name in known else []
        here += [s for pattern, s in patterns.items() if re.search(pattern, name)]
        if not all(sub(part, s) for s in here or [at.get("additionalProperties", True)]):
            return False
        if "propertyNames" in at and not sub(name, at["propertyNames"]):
            return False
    return True
