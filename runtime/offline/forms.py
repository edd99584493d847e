"""Arguments for any JSON schema: what is proposed where it fits, and a plain value that does where it does not."""

import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from runtime.offline.schema import Schema, fits, kind_of, merged, resolved
from runtime.offline.specimen import FORMATS, specimen

Propose = Callable[[str, Schema], Any]  # (name of the property, its schema) -> a value, or None for none
SHALLOW = 6  # below it, only what is required is filled in


def fill(schema: Any, propose: Propose, *, given: Any = None, root: Schema | None = None) -> Any:
    """A value that is valid under the schema; `given` and what is proposed are kept as far as they fit."""
    whole = root if root is not None else schema if isinstance(schema, dict) else {}
    return next(_Filling(whole, propose).values(schema, "", given, 0), None)


class _Filling:
    """Works through a schema; each method yields values, the best first, so that a caller can take the next."""

    def __init__(self, root: Schema, propose: Propose) -> None:
        self.root, self.propose = root, propose

    def values(self, schema: Any, name: str, given: Any, depth: int) -> Iterator[Any]:
        """Values that fit the schema."""
        if depth > 2 * SHALLOW:
            return
        at = resolved(schema, self.root)
        if given is None:
            given = self.propose(name, at)
        for value in itertools.islice(self._candidates(at, name, given, depth), 64):
            if fits(value, at, self.root):
                yield value

    def _candidates(self, at: Schema, name: str, given: Any, depth: int) -> Iterator[Any]:
        parts = (isinstance(given, dict) and at.get("properties")) or (isinstance(given, list) and at.get("items"))
        if given is not None and not parts:
            yield given  # what has parts is put together part by part, so that nothing is in it that nobody asked for
        if "const" in at:
            yield at["const"]
        if "enum" in at:
            wanted = str(at.get("default") if given is None else given).lower()
            yield from sorted(at["enum"], key=lambda v: str(v).lower() != wanted)
            return
        if "default" in at and given is None:
            yield at["default"]
        for joined in self._joined(at):
            yield from self.values(joined, name, given, depth + 1)
        kinds = at.get("type", _guessed(at))
        kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        for kind in sorted(kinds, key=lambda k: (k != kind_of(given), k == "null")):
            make = getattr(self, f"_{kind}", None)
            if make is not None:
                yield from make(at, name, given, depth)

    def _joined(self, at: Schema) -> Iterator[Schema]:
        """The schema with its alternatives and parts worked in, one choice at a time."""
        base = {k: v for k, v in at.items() if k not in ("allOf", "anyOf", "oneOf")}
        parts = [resolved(s, self.root) for s in at.get("allOf", ())]
        if not parts and "anyOf" not in at and "oneOf" not in at:
            return
        for part in parts:
            base = merged(base, part)
        choices = [at[k] for k in ("anyOf", "oneOf") if k in at]
        options = [sorted((resolved(s, self.root) for s in c), key=lambda s: s.get("type") == "null") for c in choices]
        for chosen in itertools.islice(itertools.product(*options), 16):
            out = base
            for option in chosen:
                out = merged(out, option)
            yield out

    def _null(self, at: Schema, name: str, given: Any, depth: int) -> Iterator[Any]:
        yield None

    def _boolean(self, at: Schema, name: str, given: Any, depth: int) -> Iterator[Any]:
        yield from (False, True)

    def _integer(self, at: Schema, name: str, given: Any, depth: int) -> Iterator[Any]:
        for value in self._number({**at, "multipleOf": at.get("multipleOf", 1)}, name, given, depth):
            yield int(value)

    def _number(self, at: Schema, name: str, given: Any, depth: int) -> Iterator[Any]:
        low = max(at.get("minimum", -math.inf), at.get("exclusiveMinimum", -math.inf))
        high = min(at.get("maximum", math.inf), at.get("exclusiveMaximum", math.inf))
        wanted = float(given) if isinstance(given, int | float) and not isinstance(given, bool) else 0.0
        near = min(max(wanted, low), high)
        step = at.get("multipleOf")
        if step:
            base = math.ceil(near / step) * step
            yield from (base, base - step, base + step, math.floor(near / step) * step)
        width = high - low if math.isfinite(high - low) else 2.0
        yield from (near, near + width / 2, near - width / 2, near + 1, near - 1)

    def _string(self, at: Schema, name: str, given: Any, depth: int) -> Iterator[Any]:
        least, most = at.get("minLength", 0), at.get("maxLength")
        if at.get("format") in FORMATS:
            yield FORMATS[at["format"]]
        if "pattern" in at:
            longer = (specimen(at["pattern"], least=n) for n in (least, least + 1, least + 2))
            yield from (made for made in longer if made is not None)
        text = given if isinstance(given, str) else "" if given is None else str(given)
        yield text.ljust(least, "-")[:most]

    def _array(self, at: Schema, name: str, given: Any, depth: int) -> Iterator[Any]:
        first = at.get("prefixItems", [])
        have = list(given) if isinstance(given, list) else []
        least, most = at.get("minItems", 0), at.get("maxItems")
        if "contains" in at:
            least = max(least, at.get("minContains", 1))
        for plain in (False, True):
            out: list[Any] = []
            for n in range(max(least, len(have), len(first) if not plain else 0)):
                if most is not None and len(out) >= most:
                    break
                schema = first[n] if n < len(first) else at.get("items", at.get("contains", {}))
                if "contains" in at and n < at.get("minContains", 1):
                    schema = {"allOf": [schema, at["contains"]]}
                choices = self.values(schema, name, have[n] if n < len(have) and not plain else None, depth + 1)
                if at.get("uniqueItems"):
                    choices = (v for v in itertools.chain(choices, self._fresh(schema, n)) if v not in out)
                found = next(choices, choices)
                if found is not choices:
                    out.append(found)
            yield out

    def _fresh(self, schema: Any, n: int) -> Iterator[Any]:
        """Further values of a schema, for arrays whose items must differ."""
        tries = itertools.chain(
            range(-n - 64, n + 64), (f"{i}" for i in range(n + 64)), ("a" * i for i in range(n + 64))
        )
        half = (i + 0.5 for i in range(-n, n + 1))
        return (v for v in itertools.chain(tries, half, (True, False, None)) if fits(v, schema, self.root))

    def _object(self, at: Schema, name: str, given: Any, depth: int) -> Iterator[Any]:
        known = at.get("properties", {})
        have = given if isinstance(given, dict) else {}
        required = list(at.get("required", ()))
        for optional in (True, False):
            names = [*known, *(n for n in required if n not in known)]
            if not known or at.get("additionalProperties"):
                names += [n for n in have if n not in names]
            out: dict[str, Any] = {}
            for key in names:
                if key not in required and (not optional or depth >= SHALLOW):
                    continue
                choices = self.values(self._property(at, key), key, have.get(key), depth + 1)
                found = next(choices, choices)
                if found is not choices:
                    out[key] = found
            for n in range(at.get("minProperties", 0) + len(at.get("patternProperties", {}))):
                if len(out) >= at.get("minProperties", 0):
                    break
                for key in (f"key{n}", *filter(None, map(specimen, at.get("patternProperties", {})))):
                    extra = self.values(self._property(at, key), key, None, depth + 1)
                    found = next(extra, extra)
                    if found is not extra:
                        out.setdefault(key, found)
            yield out

    def _property(self, at: Schema, key: str) -> Any:
        known, patterns = at.get("properties", {}), at.get("patternProperties", {})
        here = [known[key]] if key in known else []
        here += [s for pattern, s in patterns.items() if re.search(pattern, key)]
        return {"allOf": here} if len(here) > 1 else here[0] if here else at.get("additionalProperties", {})


def _guessed(at: Schema) -> list[str]:
    """The type a schema means that does not say."""
    signs = {
        "object": ("properties", "required", "additionalProperties", "minProperties", "patternProperties"),
        "array": ("items", "prefixItems", "minItems", "contains", "uniqueItems"),
        "string": ("pattern", "minLength", "maxLength", "format"),
        "number": ("minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"),
    }
    found = [kind for kind, keys in signs.items() if any(k in at for k in keys)]
    return [
        *found,
        *(k for k in ("string", "integer", "object", "array", "boolean", "null", "number") if k not in found),
    ]
