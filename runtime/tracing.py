"""Traces of runs with a sensitive agent: LangSmith gets who did what, when and at what price, never a content.

A content does not stay with the agent it belongs to: the next agent's prompt, the channels, the
messages, the errors carry it on. So a graph that has a sensitive agent anywhere below runs under a
tracer whose client sends keyed hashes for every content of every run. What may pass is listed, not
what may not. Streams and results are not touched.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, BaseCallbackManager, Callbacks
from langchain_core.tracers.langchain import LangChainTracer
from langsmith import Client

from runtime.veil import keyed

# fields of a run that hold no content
RUN = {"id", "trace_id", "dotted_order", "parent_run_id", "name", "run_type", "tags", "start_time", "end_time"}
RUN |= {"session_name", "session_id", "project_name", "address", "reference_example_id"}
RUN |= {"api_key", "api_url", "service_key", "tenant_id", "authorization", "cookie", "_replica_auths"}
# metadata that the house and the engine set
METADATA = {"thread_id", "run_id", "assistant_id", "graph_id", "checkpoint_ns", "agent", "tier", "pattern"}
METADATA |= {"version", "revision_id", "usage_metadata"}
PREFIXES = ("ls_", "langgraph_", "lc_")
INVOCATION = ("model", "model_name", "_type", "temperature", "max_tokens", "max_completion_tokens", "stream")


class Veil:
    """A LangSmith client that sends hashes for contents, and is otherwise the client it stands before."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def create_run(self, name: str, inputs: dict[str, Any], run_type: Any, **known: Any) -> None:
        """See `Client.create_run`."""
        self.client.create_run(name, _hashed(inputs), run_type, **_bare(known))

    def update_run(self, run_id: Any, **known: Any) -> None:
        """See `Client.update_run`."""
        self.client.update_run(run_id, **_bare(known))


class VeiledTracer(LangChainTracer):
    """The tracer of runs with a sensitive agent."""

    def __init__(self, *, client: Any, **known: Any) -> None:
        super().__init__(client=cast(Client, _veil(client)), **known)

    def _start_trace(self, run: Any) -> None:
        super()._start_trace(run)
        if run.replicas:
            run.replicas = [r | {"client": _veil(r["client"])} if r.get("client") else r for r in run.replicas]


def veiled(callbacks: Callbacks) -> Callbacks:
    """The callbacks of a run, with every tracer that they hold, or that the environment asks for, veiled."""
    manager = AsyncCallbackManager.configure(inheritable_callbacks=callbacks)
    known: dict[int, BaseCallbackHandler] = {}

    def cover(handlers: Sequence[BaseCallbackHandler]) -> list[BaseCallbackHandler]:
        return [known.setdefault(id(h), _covered(h)) for h in handlers]

    if not isinstance(callbacks, BaseCallbackManager):
        given = list(callbacks or ())
        added = [h for h in manager.handlers if isinstance(h, LangChainTracer) and h not in given]
        return cover([*given, *added])
    manager.handlers = cover(manager.handlers)
    manager.inheritable_handlers = cover(manager.inheritable_handlers)
    return manager


def _covered(handler: BaseCallbackHandler) -> BaseCallbackHandler:
    if not isinstance(handler, LangChainTracer) or isinstance(handler, VeiledTracer):
        return handler
    return VeiledTracer(
        example_id=handler.example_id,
        project_name=handler.project_name,
        address=handler.address,
        client=handler.client,
        tags=handler.tags,
        metadata=handler.tracing_metadata,
        run_map=handler.run_map,
        order_map=handler.order_map,
        _external_run_ids=handler._external_run_ids,
    )


def _veil(client: Any) -> Veil:
    return client if isinstance(client, Veil) else Veil(client)


def _bare(run: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a run that may pass, and hashes for the rest of what matters."""
    out = {k: v for k, v in run.items() if k in RUN}
    for name in ("inputs", "outputs"):
        if run.get(name) is not None:
            out[name] = _hashed(run[name])
    if run.get("error"):
        kind = re.match(r"([A-Za-z_]\w*)\(", run["error"])
        out["error"] = f"{kind[1] if kind else 'Error'}({keyed(run['error'])})"
    if run.get("events"):
        out["events"] = [{k: e[k] for k in ("name", "time") if k in e} for e in run["events"]]
    extra = run.get("extra") or {}
    out["extra"] = {"metadata": _labels(extra.get("metadata") or {})}
    if "runtime" in extra:
        out["extra"]["runtime"] = extra["runtime"]
    if asked := extra.get("invocation_params"):
        out["extra"]["invocation_params"] = {k: asked[k] for k in INVOCATION if k in asked}
    return out


def _hashed(content: Any) -> dict[str, str]:
    return {"hash": keyed(content)}


def _labels(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata: what the house and the engine set passes; a visit may hold a model's words, and a caller anything."""
    return {k: v if k in METADATA or k.startswith(PREFIXES) else keyed(v) for k, v in metadata.items()}
