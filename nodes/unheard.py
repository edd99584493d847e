"""Asking a chat model when nobody listens: LangChain's telling of it costs more than the asking.

`ainvoke` makes a callback manager, a task and a run for each request, whoever is there to hear of it.
Where a run has no listener at all (no tracer, no stream of messages, no callback of anybody's), the
same request goes to the step behind that: cache, rate limiter and the model's own work are the same.
"""

from functools import cache
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables.config import var_child_runnable_config

TELLING = ("ainvoke", "agenerate_prompt", "agenerate", "_agenerate_with_cache")


def unheard(llm: BaseChatModel) -> bool:
    """Whether a request to this model would be told to nobody, and is made as LangChain makes it."""
    config = var_child_runnable_config.get()
    manager = config.get("callbacks") if config else None
    if not isinstance(manager, BaseCallbackManager) or manager.handlers or manager.inheritable_handlers:
        return False
    known = vars(llm)
    return not (known.get("callbacks") or known.get("verbose") or known.get("streaming")) and _plain(type(llm))


async def ask(llm: BaseChatModel, messages: list[Any], options: dict[str, Any]) -> BaseMessage:
    """The model's message, as `ainvoke` would bring it."""
    result = await llm._agenerate_with_cache(messages, stop=None, run_manager=None, **options)
    return result.generations[0].message


@cache
def _plain(kind: type[BaseChatModel]) -> bool:
    """Whether a class of models leaves the way from `ainvoke` to its own work as it is."""
    return all(getattr(kind, name) is getattr(BaseChatModel, name) for name in TELLING)
