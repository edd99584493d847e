"""What a streaming model really wrote: LangChain mends broken JSON and broken streams in silence."""

import json
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, Callbacks
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import invalid_tool_call


class Heard(BaseCallbackHandler):
    """Listens to one request, and holds the calls of its answer against what was written, to the letter."""

    run_inline = True
    ignore_chat_model = True

    def __init__(self) -> None:
        self.written: dict[Any, str] = {}
        self.named: dict[Any, str] = {}

    def beside(self, callbacks: Callbacks) -> Callbacks:
        """The callbacks at work, and this one, for one request only."""
        if not isinstance(callbacks, BaseCallbackManager):
            return [*(callbacks or ()), self]
        manager = callbacks.copy()
        manager.add_handler(self, inherit=False)
        return manager

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        """Note the pieces of calls."""
        message = getattr(chunk, "message", None)
        if not isinstance(message, AIMessageChunk):
            return
        for piece in message.tool_call_chunks:
            at = piece.get("index")
            self.written[at] = self.written.get(at, "") + (piece["args"] or "")
            self.named[at] = piece["id"] or self.named.get(at, "")

    def exactly(self, message: AIMessage) -> AIMessage:
        """The message, with each call whose arguments are no JSON among its invalid ones."""
        wrong = {self.named[at]: (text, fault) for at, text in self.written.items() if (fault := _fault(text))}
        if not wrong:
            return message
        good = [c for c in message.tool_calls if c["id"] not in wrong]
        bad = [
            invalid_tool_call(name=c["name"], args=wrong[c["id"]][0], id=c["id"], error=wrong[c["id"]][1])
            for c in message.tool_calls
            if c["id"] in wrong
        ]
        return message.model_copy(
            update={"tool_calls": good, "invalid_tool_calls": [*message.invalid_tool_calls, *bad]}
        )


def broken_off(message: AIMessage) -> bool:
    """Whether a stream ended without saying why: the connection was lost, and the answer is a part of one."""
    said = message.response_metadata
    streamed = said.get("model_provider") == "openai" and "token_usage" not in said
    return streamed and not said.get("finish_reason")


def _fault(text: str) -> str:
    if not text:
        return ""
    try:
        json.loads(text, strict=False)
    except ValueError as error:
        return f"{error}: {text[:200]}"
    return ""
