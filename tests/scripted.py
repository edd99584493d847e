"""Chat models for tests: a function of the prompt answers, and every call is counted where a crash cannot lose it."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field


class Scripted(BaseChatModel):
    """Answers with `script(messages, tools)`: an AIMessage, a string, or ("tool", {args}) calls in a list."""

    script: Callable[..., Any]
    tokens: tuple[int, int] = (10, 5)
    seconds: float = 0.0
    log: str = ""
    name_: str = "scripted"
    calls: list[list[BaseMessage]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return self.name_

    def count_tokens(self, messages: list[BaseMessage], tools: list[dict[str, Any]]) -> int:
        return self.tokens[0]

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:
        return self.bind(tools=tools, tool_choice=tool_choice)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.calls.append(messages)
        if self.log:
            note(self.log, f"call {messages[0].text.splitlines()[0]}")
        return self._made(messages, kwargs)

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.calls.append(messages)
        if self.log:
            note(self.log, f"call {messages[0].text.splitlines()[0]}")
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return self._made(messages, kwargs)

    def _made(self, messages: Any, options: dict[str, Any]) -> ChatResult:
        said = self.script(messages, options.get("tools") or [])
        message = said if isinstance(said, AIMessage) else _message(said, len(messages))
        if message.usage_metadata is None:
            i, o = self.tokens
            message.usage_metadata = {"input_tokens": i, "output_tokens": o, "total_tokens": i + o}
        return ChatResult(generations=[ChatGeneration(message=message)])


def _message(said: Any, n: int) -> AIMessage:
    if isinstance(said, str):
        return AIMessage(said)
    calls = [{"name": name, "args": args, "id": f"call-{n}-{i}"} for i, (name, args) in enumerate(said)]
    return AIMessage("", tool_calls=calls)


def note(log: str, line: str) -> None:
    """Append a line that survives a kill of this process."""
    with Path(log).open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
