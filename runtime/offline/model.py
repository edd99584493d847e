"""The embedded model: deterministic, extractive, offline. It writes nothing of its own.

It answers with sentences that stand in its prompt or in what its tools returned, each with its
source, and says so when there are none; it plans by splitting the question, and judges by overlap
and coverage. Tool calls, structured output, streaming and usage are as with any chat model, so that
everything around a model runs on a laptop without a key. It understands nothing.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.tool import ToolCall, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool

from runtime.offline.evidence import gather
from runtime.offline.forms import fill
from runtime.offline.moves import Move, next_moves
from runtime.offline.proposals import Proposals
from runtime.offline.text import TOKEN, count_tokens, cut_tokens

MESSAGE = 4  # tokens of what wraps a message
NAME = "offline/extractive"


class Offline(BaseChatModel):
    """The chat model. Its tokens are runs of at most six word characters, and signs; a message wraps 4 more."""

    model_name: str = NAME

    @property
    def _llm_type(self) -> str:
        return NAME

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider="offline", ls_model_name="extractive", ls_model_type="chat")

    def count_tokens(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]] = ()) -> int:
        """The tokens of a prompt with its tools: exactly what a call reports as its input."""
        said = sum(MESSAGE + count_tokens(m.text) + count_tokens(_calls_of(m)) for m in messages)
        return said + (count_tokens(json.dumps(list(tools), ensure_ascii=False, default=str)) if tools else 0)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | Any],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer functions; `tool_choice` is "auto", "none", "any", or the name of the one to call."""
        made = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=made, **({"tool_choice": tool_choice} if tool_choice else {}), **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        tools = list(kwargs.get("tools") or ())
        message = _answer(messages, tools, _chosen(kwargs.get("tool_choice")), kwargs.get("max_tokens"))
        message.usage_metadata = _usage(self.count_tokens(messages, tools), message)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        message = self._generate(messages, stop, **kwargs).generations[0].message
        assert isinstance(message, AIMessage)
        for chunk in _chunks(message):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        result = await self._agenerate(messages, stop, **kwargs)
        message = result.generations[0].message
        assert isinstance(message, AIMessage)
        for chunk in _chunks(message):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


def _answer(messages: list[BaseMessage], tools: list[dict[str, Any]], choice: str, most: int | None) -> AIMessage:
    """Calls of tools while there is something to fetch, then the answer: as a text, or in the form asked for."""
    evidence = gather(_plain(messages))
    functions = {t["function"]["name"]: t["function"] for t in tools if "function" in t}
    proposals = Proposals(evidence)
    moves: list[Move] = []
    if choice in functions:
        moves = [_filled(functions[choice], proposals)]
    elif functions and choice != "none":
        forms = [f for f in functions.values() if f["name"][:1].isupper()]
        moves = next_moves(evidence, [f for f in functions.values() if f not in forms])
        if not moves and forms:
            moves = [_filled(forms[-1], proposals)]
        elif not moves and choice in ("any", "required"):
            moves = [_filled(list(functions.values())[-1], proposals)]
    text = "" if moves else proposals.text()
    return _message(text, moves, messages, most)


def _filled(function: dict[str, Any], proposals: Proposals) -> Move:
    schema = function.get("parameters") or {}
    value = fill(schema, proposals.of(schema))
    return Move(function["name"], value if isinstance(value, dict) else {})


def _message(text: str, moves: list[Move], messages: list[BaseMessage], most: int | None) -> AIMessage:
    reason = "tool_calls" if moves else "stop"
    if most is not None:
        cut = cut_tokens(text, most)
        kept, used = [], 0
        for move in moves:
            used += count_tokens(move.name) + count_tokens(json.dumps(move.args, ensure_ascii=False))
            if used <= most:
                kept.append(move)
        if cut != text or len(kept) < len(moves):
            text, moves, reason = cut, kept, "length"
    seed = "\x1f".join([*(m.text for m in messages), text])
    base = hashlib.blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    calls = [ToolCall(name=m.name, args=m.args, id=f"call_{base}_{n}", type="tool_call") for n, m in enumerate(moves)]
    about = {"finish_reason": reason, "model_name": NAME, "model_provider": "offline"}
    return AIMessage(text, tool_calls=calls, response_metadata=about)


def _chosen(choice: Any) -> str:
    """The choice as one word, also where it came in the form of an OpenAI request."""
    if isinstance(choice, dict):
        return str(choice.get("function", choice).get("name", "auto"))
    return {True: "any", None: "auto"}.get(choice, choice) if not isinstance(choice, str) else choice


def _plain(messages: list[BaseMessage]) -> list[BaseMessage]:
    """The conversation with a person's words where there is nothing but a system's."""
    if messages and all(isinstance(m, SystemMessage) for m in messages):
        return [*messages[:-1], HumanMessage(messages[-1].text)]
    return messages


def _calls_of(message: BaseMessage) -> str:
    calls = getattr(message, "tool_calls", None) or []
    return "".join(c["name"] + json.dumps(c["args"], ensure_ascii=False, default=str) for c in calls)


def _usage(tokens_in: int, message: AIMessage) -> Any:
    said = count_tokens(message.text) + count_tokens(_calls_of(message))
    return {"input_tokens": tokens_in, "output_tokens": said, "total_tokens": tokens_in + said}


def _chunks(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    """A message word by word, its calls one by one, and its usage at the end."""
    at = 0
    for match in TOKEN.finditer(message.text):
        if match.end() > at and (match.end() == len(message.text) or message.text[match.end()].isspace()):
            yield ChatGenerationChunk(message=AIMessageChunk(content=message.text[at : match.end()]))
            at = match.end()
    if message.text[at:]:
        yield ChatGenerationChunk(message=AIMessageChunk(content=message.text[at:]))
    for n, call in enumerate(message.tool_calls):
        args = json.dumps(call["args"], ensure_ascii=False)
        chunk = tool_call_chunk(name=call["name"], args=args, id=call["id"], index=n)
        yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[chunk]))
    last = AIMessageChunk(
        content="", usage_metadata=message.usage_metadata, response_metadata=message.response_metadata
    )
    last.chunk_position = "last"
    yield ChatGenerationChunk(message=last)
