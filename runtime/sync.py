"""Sync over async: one background loop, the same coroutines, the caller's context.

Nodes are async only; scripts and notebooks call `invoke`, `stream` and `batch` all the same, also
from inside a running loop.
"""

import asyncio
import contextvars
import queue
import threading
import warnings
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import aclosing, nullcontext
from functools import cache
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONFIG_KEY_TASK_ID  # by which the engine itself knows a nested run
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from runtime import fingerprint
from runtime.lease import Holding, is_mine
from runtime.questions import held, without
from runtime.tracing import veiled
from runtime.veil import HERE, VEILED, key
from state.errors import ChangedWarning, InputError
from state.plain import unsavable

T = TypeVar("T")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="motet-sync", daemon=True).start()
    return loop


def wait(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and wait for it; Ctrl-C cancels it and waits for its end."""
    context, loop = contextvars.copy_context(), _loop()
    if threading.current_thread().name == "motet-sync":
        work.close()
        raise RuntimeError("a sync method was called from inside the async loop that would run it: await the async one")
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
    tasks: list[asyncio.Task[T]] = []

    def finish(task: asyncio.Task[T]) -> None:
        if task.cancelled():
            done.put((None, KeyboardInterrupt()))
        elif (error := task.exception()) is not None:
            done.put((None, error))
        else:
            done.put((task.result(), None))

    def start() -> None:
        task = loop.create_task(work, context=context)
        tasks.append(task)
        task.add_done_callback(finish)

    loop.call_soon_threadsafe(start)
    try:
        value, error = done.get()
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(lambda: [t.cancel() for t in tasks])
        done.get()
        raise
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # None only together with an error


class Graph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph whose sync methods run its async ones, and whose traces keep what is sensitive to themselves."""

    def astream(self, input: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """See `Pregel.astream`. Where a sensitive agent is below, the key of the hashes is read first.

        Raises InputError for what no database can hold, before anything is saved, and, once it is iterated,
        for an answer that does not fit; ThreadError for new input while a question is open (unless
        `configurable` says `discard`), while somebody else is at work on the thread, or when that was left by
        other code which differs in what matters; of what differs else, a ChangedWarning says so.
        """
        if fault := unsavable(input.resume if isinstance(input, Command) else input):
            raise InputError(f"the input cannot be saved: {fault}")
        config = args[0] if args else kwargs.get("config")
        thread = _thread(config)
        if thread and isinstance(self.checkpointer, Holding):
            rest = {name: value for name, value in kwargs.items() if name != "config"}
            parts = self._guarded(self.checkpointer, input, config or {}, *args[1:], **rest)
        else:
            parts = super().astream(input, *args, **kwargs)
        return _keyed(parts) if self.veiled else parts

    async def _guarded(
        self,
        saver: Any,
        input: Any,
        config: RunnableConfig,
        *args: Any,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Run as the only one at work on the thread, with code and input that fit what is left and open on it."""
        code, thread = fingerprint.code_of(self, kwargs.get("context")), _thread(config)
        mine = is_mine(saver, thread)  # whoever holds it has looked at the code
        async with nullcontext() if mine else saver.hold(thread):
            goes_on = input is None or isinstance(input, Command)
            for word in [] if mine else await fingerprint.check(self, config, code, goes_on=goes_on):
                warnings.warn(word, ChangedWarning, stacklevel=2)
            given = await held(self, saver, input, config)
            await fingerprint.keep(self, code)
            config = fingerprint.marked(without(config), fingerprint.mark_of(code))
            async with aclosing(super().astream(given, config, *args, **kwargs)) as parts:  # type: ignore[type-var]  # the engine's is a generator
                async for part in parts:
                    yield part

    @property
    def veiled(self) -> bool:
        """Whether a sensitive agent takes part, here or below."""
        return bool(((self.config or {}).get("configurable") or {}).get(VEILED))

    async def abulk_update_state(self, config: RunnableConfig, *args: Any, **kwargs: Any) -> RunnableConfig:
        """See `Pregel.abulk_update_state`: it is traced, too, and goes on with the code as it is."""
        if isinstance(self.checkpointer, Holding):
            code = fingerprint.code_of(self)
            await fingerprint.keep(self, code)
            config = fingerprint.marked(config, fingerprint.mark_of(code))
        if self.veiled:
            await asyncio.to_thread(key)
            config = {**config, "callbacks": veiled(config.get("callbacks"))}
        return await super().abulk_update_state(config, *args, **kwargs)

    def _defaults(self, config: RunnableConfig, **kwargs: Any) -> Any:
        """The engine has merged all configs here, and makes its callbacks of the result next.

        What a parent graph tells a nested one, nobody may tell from outside; nor may anybody lift the veil.
        """
        configurable = config.setdefault("configurable", {})
        if CONFIG_KEY_TASK_ID not in configurable:
            configurable.pop(HERE, None)
        if self.veiled:
            configurable[VEILED] = True
        if configurable.get(VEILED):
            config["callbacks"] = veiled(config.get("callbacks"))
        return super()._defaults(config, **kwargs)

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        """See `ainvoke`."""
        return wait(self.ainvoke(*args, **kwargs))

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """See `astream`."""
        parts: Any = self.astream(*args, **kwargs)
        try:
            while True:
                try:
                    yield wait(_next(parts))
                except StopAsyncIteration:
                    return
        finally:
            wait(parts.aclose())

    def batch(self, *args: Any, **kwargs: Any) -> list[Any]:
        """See `abatch`."""
        return wait(self.abatch(*args, **kwargs))

    def get_state(self, *args: Any, **kwargs: Any) -> Any:
        """See `aget_state`."""
        return wait(self.aget_state(*args, **kwargs))

    def get_state_history(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """See `aget_state_history`."""
        return iter(wait(_all(self.aget_state_history(*args, **kwargs))))

    def update_state(self, *args: Any, **kwargs: Any) -> Any:
        """See `aupdate_state`."""
        return wait(self.aupdate_state(*args, **kwargs))


def _thread(config: RunnableConfig | None) -> str:
    return str(((config or {}).get("configurable") or {}).get("thread_id") or "")


async def _keyed(parts: AsyncIterator[Any]) -> AsyncIterator[Any]:
    await asyncio.to_thread(key)
    async with aclosing(parts) as open_:  # type: ignore[type-var]  # the engine's is a generator
        async for part in open_:
            yield part


async def _next(parts: Any) -> Any:
    return await anext(parts)


async def _all(parts: Any) -> list[Any]:
    return [part async for part in parts]
