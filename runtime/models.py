"""Which chat model answers: from a tier, through a name, to a model with timeouts, limits and prices.

Names: `offline` (the embedded stand-in), `openai:<model>` (OpenAI, or any compatible server by
MOTET_BASE_URL), and whatever `register` adds. Tiers map to names in the run's context, else by
MOTET_PLANNER, MOTET_WORKER and MOTET_JUDGE, else MOTET_MODEL, else `offline`.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.rate_limiters import InMemoryRateLimiter
from pydantic import SecretStr

from state.context import Context, Tier
from state.errors import InputError

OFFLINE = "offline"
MESSAGE_TOKENS = 16  # what the wrapping of one message may cost beside its text


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens in and out, times a million: whole numbers, so that sums are exact."""

    tokens_in: int = 0
    tokens_out: int = 0

    def of(self, tokens_in: int, tokens_out: int) -> int:
        """The cost of one call in millionths of a dollar, rounded up."""
        return -(-(tokens_in * self.tokens_in + tokens_out * self.tokens_out) // 1_000_000)


_registered: dict[str, Callable[[], BaseChatModel]] = {}


def register(name: str, make: Callable[[], BaseChatModel]) -> None:
    """Let a name stand for a chat model of your own; `make` is called once, at first use."""
    _registered[name] = make
    model.cache_clear()


def name_of(tier: Tier, context: Context) -> str:
    """The model's name that serves a tier in this run."""
    return context.model_of(tier) or os.environ.get(f"MOTET_{tier.upper()}") or os.environ.get("MOTET_MODEL") or OFFLINE


@cache
def model(name: str) -> BaseChatModel:
    """The chat model of a name. Raises InputError for an unknown name or a missing key."""
    if name in _registered:
        return _registered[name]()
    if name == OFFLINE:
        from runtime.offline import Offline  # its text tools load only where they are used

        return Offline()
    kind, _, rest = name.partition(":")
    if kind == "openai" and rest:
        return _openai(rest)
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
    from langchain_openai import ChatOpenAI  # a second of start-up that only its users should pay

    per_second = float(os.environ.get("MOTET_RPS", "0"))
    return ChatOpenAI(
        model=name,
        base_url=base,
        api_key=SecretStr(key),
        timeout=float(os.environ.get("MOTET_TIMEOUT", "60")),
        max_retries=0,  # the door retries, with the run's budget in view
        stream_usage=True,  # absent from streams of compatible servers otherwise
        use_responses_api=False,  # some names would switch to an API that compatible servers lack
        temperature=0,
        rate_limiter=InMemoryRateLimiter(requests_per_second=per_second) if per_second > 0 else None,
    )


@cache
def prices() -> dict[str, Price]:
    """The price table: MOTET_PRICES names a JSON file of {"model": [in, out]} in dollars per million tokens.

    Raises InputError when the file cannot be read or does not fit.
    """
    path = os.environ.get("MOTET_PRICES")
    if not path:
        return {}
    try:
        table = json.loads(Path(path).expanduser().read_text("utf-8"))
        return {name: Price(round(float(i) * 1e6), round(float(o) * 1e6)) for name, (i, o) in table.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f'the price table {path} does not fit {{"model": [in, out]}} in dollars per million: {error}'
        ) from error


def price_of(name: str) -> Price | None:
    """The price of a model by its name; the offline model is free; None when the table does not know it."""
    found = prices().get(name) or prices().get(name.removeprefix("openai:"))
    return found or (Price() if name.startswith(OFFLINE) else None)


def most_tokens(llm: BaseChatModel, messages: list[BaseMessage], tools: list[dict[str, Any]]) -> int:
    """An upper bound of what a prompt costs, in tokens: a byte-level tokenizer never makes more tokens than bytes."""
    exact = getattr(llm, "count_tokens", None)
    if exact is not None:
        return int(exact(messages, tools))
    text = sum(len(m.text.encode("utf-8", "replace")) + MESSAGE_TOKENS for m in messages)
    calls = sum(len(json.dumps(getattr(m, "tool_calls", None) or [], default=str)) for m in messages)
    return text + calls + len(json.dumps(tools, default=str))
