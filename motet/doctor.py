"""What is configured, which models answer, and where data lies."""

import asyncio
import os
import platform
from importlib.metadata import version
from typing import Any

from langchain_core.messages import HumanMessage

from motet.session import Session
from motet.shelf import read
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
    found.append(_checked("home", lambda: str(home())))
    found.append(await _database(db))
    found.append(await _documents())
    names = {tier: models.names_of(tier, Context()) for tier in TIERS}
    for name in dict.fromkeys(name for tier in TIERS for name in names[tier]):
        found.append(await _answers(name, ", ".join(t for t in TIERS if name in names[t])))
    found.append(_checked("prices", _prices))
    found.append(_fact("tracing", "to LangSmith" if os.environ.get("LANGSMITH_TRACING") == "true" else "off"))
    return found


async def _database(db: str) -> dict[str, Any]:
    try:
        with Session(db) as session:
            return _fact("database", f"{session.home.url}, {len(await session.register.newest(10_000)):,} thread(s)")
    except Exception as error:  # whatever is the matter with it is a finding here
        return _fault("database", error)


async def _documents() -> dict[str, Any]:
    folder = Context().docs_folder()
    if folder is None:
        return _fact("documents", "none: give --docs, or set MOTET_DOCS")
    try:
        done = await read(folder)
    except MotetError as error:
        return _fault("documents", error)
    return _fact("documents", f"{folder}, {done.read + done.unchanged:,} file(s), {len(done.skipped):,} skipped")


async def _answers(name: str, served: str) -> dict[str, Any]:
    what = f"model {name} ({served})"
    try:
        async with asyncio.timeout(PATIENCE):
            message = await models.model(name).ainvoke([HumanMessage("Answer with one word.")], max_tokens=16)
    except Exception as error:  # whatever a provider raises is a finding here
        return _fault(what, error)
    used = message.usage_metadata
    return _fact(what, f"answers, {used['total_tokens']} tokens" if used else "answers, without usage")


def _prices() -> str:
    count = len(models.prices())
    path = os.environ.get("MOTET_PRICES")
    return f"{path}, {count} model(s)" if path else "no table (MOTET_PRICES): every call counts as free"


def _checked(what: str, look: Any) -> dict[str, Any]:
    try:
        return _fact(what, look())
    except MotetError as error:
        return _fault(what, error)


def _fact(what: str, value: str) -> dict[str, Any]:
    return {"what": what, "is": value, "ok": True}


def _fault(what: str, error: Exception) -> dict[str, Any]:
    said = str(error) if isinstance(error, MotetError) else f"{type(error).__name__}: {error}"
    return {"what": what, "is": said[:400], "ok": False}
