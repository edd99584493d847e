"""Which chat model answers: from a tier, through a name, to a model with timeouts, limits and prices.

Names: `offline` (the embedded stand-in), `openai:<model>` (OpenAI, or any compatible server by
MOTET_BASE_URL), and whatever `register` adds. Tiers map to names in the run's context, else by
MOTET_PLANNER, MOTET_WORKER and MOTET_JUDGE, else MOTET_MODEL, else `offline`. Several names, with
commas between them, are a model and its fallbacks: one is asked when those before it fail.
"""

import json
import math
import os
import re
from asyncio import AbstractEventLoop
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.rate_limiters import InMemoryRateLimiter
from pydantic import SecretStr

from state.context import Context, Tier
from state.errors import InputError

OFFLINE = "offline"
STAND_IN = "offline/extractive"  # how it is shown, wherever a model is shown
OPENAI = "openai:"
MESSAGE_TOKENS = 16  # what the wrapping of one message may cost beside its text
SETTINGS = ("MOTET_BASE_URL", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY", "MOTET_TIMEOUT", "MOTET_RPS")
FIXED = re.compile(r"o\d|gpt-(?:[5-9]|\d\d)(?!.*chat)")  # models that refuse any temperature but their own


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens in and out, times a million: whole numbers, so that sums are exact."""

    tokens_in: int = 0
    tokens_out: int = 0

    def of(self, tokens_in: int, tokens_out: int) -> int:
        """The cost of one call in millionths of a dollar, rounded up."""
        return -(-(tokens_in * self.tokens_in + tokens_out * self.tokens_out) // 1_000_000)


_registered: dict[str, Callable[[], BaseChatModel]] = {}
_made: dict[tuple[str | None, ...], BaseChatModel] = {}
_of_loop: WeakKeyDictionary[AbstractEventLoop, dict[tuple[str | None, ...], BaseChatModel]] = WeakKeyDictionary()


def register(name: str, make: Callable[[], BaseChatModel]) -> None:
    """Let a name stand for a chat model of your own; `make` is called once, at first use."""
    _registered[name] = make
    _made.clear()


def names_of(tier: Tier, context: Context) -> tuple[str, ...]:
    """The models that serve a tier in this run, each where those before it failed: "openai:a, openai:b"."""
    return tuple(name for part in name_of(tier, context).split(",") if (name := part.strip())) or (OFFLINE,)


def name_of(tier: Tier, context: Context) -> str:
    """What serves a tier in this run, as it was said: a model's name, or several after another."""
    return context.model_of(tier) or os.environ.get(f"MOTET_{tier.upper()}") or os.environ.get("MOTET_MODEL") or OFFLINE


def model(name: str, loop: AbstractEventLoop | None = None) -> BaseChatModel:
    """The chat model of a name, made once for each server and each event loop that it is asked from.

    Raises InputError for an unknown name, a missing key, or a setting that does not fit.
    """
    made, key = _made_for(name, loop), _key(name)
    if key not in made:
        made[key] = _make(name)
    return made[key]


def identity(name: str, llm: BaseChatModel) -> tuple[object, ...]:
    """What a model is, for whoever keeps something about it: a server's by its settings, any other as the object."""
    return tuple(part or "" for part in _key(name)) if name.startswith(OPENAI) else (llm,)


def ready(name: str, loop: AbstractEventLoop) -> bool:
    """Whether a model is at hand; if not, its first use reads files and imports a library."""
    return _key(name) in _made_for(name, loop)


def _made_for(name: str, loop: AbstractEventLoop | None) -> dict[tuple[str | None, ...], BaseChatModel]:
    """Connections belong to the loop that opened them: a second `asyncio.run` must not find those of the first.

    For the same reason a model gets an HTTP client of its own: the library's is one for all loops.
    """
    return _made if loop is None or not name.startswith(OPENAI) else _of_loop.setdefault(loop, {})


def _key(name: str) -> tuple[str | None, ...]:
    """What a model is made of: its name and, where a server is asked, the settings of that server."""
    return (name, *map(os.environ.get, SETTINGS)) if name.startswith(OPENAI) else (name,)


def _make(name: str) -> BaseChatModel:
    if name in _registered:
        return _registered[name]()
    if name == OFFLINE:
        from runtime.offline import Offline  # its text tools load only where they are used

        return Offline()
    if name.startswith(OPENAI) and name != OPENAI:
        return _openai(name.removeprefix(OPENAI))
    known = ", ".join([OFFLINE, "openai:<model>", *sorted(_registered)])
    raise InputError(f"no model is called {name!r}; known: {known}")


def _openai(name: str) -> BaseChatModel:
    base = os.environ.get("MOTET_BASE_URL") or None
    key = os.environ.get("OPENAI_API_KEY") or ("none" if base else "")
    if not key:
        raise InputError(
            f"the model openai:{name} needs a key: set OPENAI_API_KEY, or MOTET_BASE_URL for a server of your own, "
            "or use --model offline"
        )
    timeout, per_second = _number("MOTET_TIMEOUT", 60.0, least=0.001), _number("MOTET_RPS", 0.0)
    from langchain_openai import ChatOpenAI  # a second of start-up that only its users should pay
    from openai import DefaultAsyncHttpxClient

    return ChatOpenAI(
        model=name,
        base_url=base,
        api_key=SecretStr(key),
        timeout=timeout,
        http_async_client=None if os.environ.get("OPENAI_PROXY") else DefaultAsyncHttpxClient(timeout=timeout),
        max_retries=0,  # the door retries, with the run's budget in view
        stream_usage=True,  # absent from streams of compatible servers otherwise
        use_responses_api=False,  # some names would switch to an API that compatible servers lack
        temperature=None if FIXED.match(name) else 0,
        rate_limiter=InMemoryRateLimiter(requests_per_second=per_second) if per_second else None,
    )


def _number(name: str, default: float, least: float = 0.0) -> float:
    """A setting of the environment: a number of at least so much."""
    said = os.environ.get(name) or str(default)
    try:
        value = float(said)
    except ValueError:
        value = -1.0
    if not least <= value < math.inf:
        raise InputError(f"{name} must be a number of at least {least:g}, not {said!r}")
    return value


_tables: dict[str, dict[str, Price]] = {"": {}}


def priced() -> bool:
    """Whether the price table is at hand; if not, its first use reads a file."""
    return os.environ.get("MOTET_PRICES", "") in _tables


def prices() -> dict[str, Price]:
    """The price table: MOTET_PRICES names a JSON file of {"model": [in, out]} in dollars per million tokens.

    It is read once in a process. Raises InputError when the file cannot be read or does not fit.
    """
    path = os.environ.get("MOTET_PRICES", "")
    if path not in _tables:
        try:
            table = json.loads(Path(path).expanduser().read_text("utf-8"))
            _tables[path] = {name: Price(_micro(i), _micro(o)) for name, (i, o) in table.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f'the price table {path} does not fit {{"model": [in, out]}} in dollars per million: {error}'
            ) from error
    return _tables[path]


def _micro(dollars: float) -> int:
    if not 0 <= dollars < math.inf:
        raise ValueError(f"a price must be 0 or more, not {dollars}")
    return round(dollars * 1e6)


def shown(name: str) -> str:
    """A model's name as people see it: the stand-in says what it is."""
    return STAND_IN if name == OFFLINE else name


def price_of(name: str) -> Price | None:
    """The price of a model by its name; the offline model is free; None when the table does not know it."""
    bare, table = name.removeprefix(OPENAI), prices()
    found = table.get(name) or table.get(bare) or table.get(OPENAI + bare)
    return found or (Price() if name.startswith(OFFLINE) else None)


def most_tokens(llm: BaseChatModel, messages: list[BaseMessage], tools: list[dict[str, Any]]) -> int:
    """An upper bound of what a prompt costs, in tokens: a byte-level tokenizer never makes more tokens than bytes."""
    exact = getattr(type(llm), "count_tokens", None)
    if exact is not None:
        return int(exact(llm, messages, tools))
    total = len(json.dumps(tools, default=str)) if tools else 0
    for message in messages:
        content = message.content
        text = content if isinstance(content, str) else json.dumps(content, default=str)
        total += MESSAGE_TOKENS + len(text.encode("utf-8", "replace"))
        if isinstance(message, AIMessage) and message.tool_calls:
            total += len(json.dumps(message.tool_calls, default=str))
    return total
