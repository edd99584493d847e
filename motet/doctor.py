"""What is configured, which models answer, and where data lies."""

import asyncio
import os
import platform
from importlib.metadata import version
from typing import Any

from langchain_core.messages import HumanMessage

from motet.session import Session
from runtime import models
from runtime.home import home
from state.context import TIERS, Context
from state.errors import MotetError

PACKAGES = ("langgraph", "langgraph-checkpoint", "langgraph-checkpoint-sqlite", "langchain-core", "langchain-openai")
PATIENCE = 20.0  # seconds for a model's first words


async def examine(db: str) -> list[dict[str, Any]]:
    """Findings as {"what", "is", "ok"}; a model is asked one short question each."""
    found = [_fact("python", platform.python_version())]
    found += [_fact(name, version(name)) for name in PACKAGES]
    found.append(_fact("home", str(home())))
    try:
        with Session(db) as session:
            found.append(_fact("database", f"{session.home.url}, {len(await session.threads(10_000))} thread(s)"))
    except MotetError as error:
        found.append(_fact("database", str(error), ok=False))
    names = {tier: models.name_of(tier, Context()) for tier in TIERS}
    for name in dict.fromkeys(names.values()):
        served = ", ".join(t for t in TIERS if names[t] == name)
        found.append(await _answers(name, served))
    found.append(_fact("prices", os.environ.get("MOTET_PRICES") or "no table: calls of priced models count as free"))
    found.append(_fact("tracing", "to LangSmith" if os.environ.get("LANGSMITH_TRACING") == "true" else "off"))
    return found


async def _answers(name: str, served: str) -> dict[str, Any]:
    what = f"model {name} ({served})"
    try:
        async with asyncio.timeout(PATIENCE):
            message = await models.model(name).ainvoke([HumanMessage("Answer with one word.")])
    except Exception as error:  # whatever a provider raises is a finding here
        return _fact(what, f"{type(error).__name__}: {error}"[:200], ok=False)
    return _fact(what, f"answers ({message.usage_metadata or 'without usage'})")


def _fact(what: str, value: str, *, ok: bool = True) -> dict[str, Any]:
    return {"what": what, "is": value, "ok": ok}
