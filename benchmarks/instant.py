"""A chat model that answers at once, or after a fixed time: what every comparison here calls on both sides."""

import asyncio
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class Instant(BaseChatModel):
    """Says `text` after `seconds`, with usage."""

    text: str = "fine"
    seconds: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _result(self) -> ChatResult:
        usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.text, usage_metadata=usage))])

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return self._result()

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return self._result()
