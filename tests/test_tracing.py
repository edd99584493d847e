"""Traces: what LangSmith gets of a run, and what it never gets of a sensitive one."""

import asyncio
import json
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import langsmith
import pytest
from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers.langchain import LangChainTracer, wait_for_all_tracers
from langgraph.graph import END, START, MessagesState, StateGraph
from langsmith import run_trees
from langsmith import utils as ls_utils
from openai_server import said, serving
from pydantic import BaseModel
from scripted import Scripted

from graphs import critic, orchestrator_worker, react
from graphs.bind import bind
from runtime.book import Book
from runtime.persistence import Persistence, open_persistence
from runtime.sync import Graph
from runtime.veil import VEILED, key, keyed, veils
from state.agent import Agent, fallback
from state.context import Context
from state.critic import Critique
from state.errors import StorageError
from state.plan import Plan
from state.tool import Arguments, Tool, ToolContext

SECRET = "zebra-4711"
"""Every sensitive content of these tests has this in it, and nothing else has."""


@dataclass
class Captured:
    url: str = ""
    raw: list[bytes] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def read(self) -> "Captured":
        """Wait until all is sent, and fold posts and patches into runs."""
        wait_for_all_tracers()
        for body in self.raw:
            for part in BytesParser(policy=HTTP).parsebytes(body).iter_parts():  # type: ignore[attr-defined]
                self._part(part)
        return self

    def _part(self, part: Message) -> None:
        _, run, *name = str(part.get_param("name", header="content-disposition")).split(".")
        content = json.loads(part.get_payload(decode=True) or b"null")  # type: ignore[arg-type]
        known = self.runs.setdefault(run, {})
        known.update({name[0]: content} if name else {k: v for k, v in content.items() if v is not None})

    @property
    def root(self) -> dict[str, Any]:
        [root] = [r for r in self.runs.values() if not r.get("parent_run_id")]
        return root

    def named(self, name: str) -> list[dict[str, Any]]:
        return [r for r in self.runs.values() if r["name"] == name]

    @property
    def models(self) -> list[dict[str, Any]]:
        return [r for r in self.runs.values() if r["run_type"] == "llm"]

    @property
    def bytes(self) -> bytes:
        return b"\n".join(self.raw)


@contextmanager
def langsmith_server() -> Iterator[Captured]:
    """The endpoint of LangSmith, on the loopback; it does not offer compression."""
    state = Captured()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            limits = {"use_multipart_endpoint": True, "size_limit": 100, "size_limit_bytes": 20_000_000}
            limits |= {"scale_up_nthreads_limit": 4, "scale_up_qsize_trigger": 1000, "scale_down_nempty_trigger": 4}
            self._answer({"version": "0.10", "batch_ingest_config": limits, "instance_flags": {}})

        def do_POST(self) -> None:
            head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
            if self.headers.get("transfer-encoding") == "chunked":
                body = b"".join(iter(self._chunk, b""))
            else:
                body = self.rfile.read(int(self.headers["content-length"]))
            assert self.headers.get("content-encoding") is None
            state.raw.append(head + body)
            self._answer({})

        def _chunk(self) -> bytes:
            size = int(self.rfile.readline(), 16)
            part = self.rfile.read(size)
            self.rfile.readline()
            return part

        def _answer(self, body: Any) -> None:
            text = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    state.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Captured]:
    """Tracing as a user turns it on: by the environment."""
    with langsmith_server() as server:
        for name, value in {
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_ENDPOINT": server.url,
            "LANGSMITH_API_KEY": "lsv2_fake",
            "LANGSMITH_DISABLE_RUN_COMPRESSION": "true",
        }.items():
            monkeypatch.setenv(name, value)
        ls_utils.get_env_var.cache_clear()
        monkeypatch.setattr(run_trees, "_CLIENT", None)
        yield server
        wait_for_all_tracers()
    monkeypatch.undo()
    ls_utils.get_env_var.cache_clear()


@pytest.fixture(autouse=True)
def no_key_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOTET_KEY", raising=False)


class Letter(Arguments):
    to: str


async def look(letter: Letter, context: ToolContext) -> str:
    return traceable_look(letter.to)


@langsmith.traceable
def traceable_look(who: str) -> str:
    return f"{who} lives at 1 Main Street"


LOOK = Tool(name="look", description="Look up an address.", args=Letter, run=look)
CONFIG: RunnableConfig = {"configurable": {"thread_id": "thread-9"}}


def clerk(messages: Any, tools: Any) -> Any:
    done = [m for m in messages if m.type == "tool"]
    return f"{messages[1].text}: {done[-1].text}" if done else [("look", {"to": messages[1].text.split()[-1]})]


def team(*, sensitive: bool = False) -> Graph:
    """React inside critic inside orchestrator and workers; the deepest agent may be sensitive."""
    steps = [{"id": "a", "worker": "office", "task": "write to ann"}, {"id": "b", "worker": "counter", "task": "count"}]
    accept = [("Critique", {"verdict": "accept", "issues": []})]
    office = critic.build(
        bind(
            Agent(name="clerk", responsibility="Writes letters.", tools=(LOOK,), sensitive=sensitive),
            Scripted(
                script=lambda m, t: clerk([m[0], m[0].model_copy(update={"content": f"ask {SECRET}"}), *m[2:]], t)
            ),
        ),
        [bind(Agent(name="editor", responsibility="Edits.", output=Critique), Scripted(script=lambda m, t: accept))],
    )
    return orchestrator_worker.build(
        bind(
            Agent(name="planner", responsibility="Plans.", output=Plan, tier="planner"),
            Scripted(script=lambda m, t: [("Plan", {"steps": steps})]),
        ),
        [
            bind(Agent(name="office", responsibility="Sends letters."), office),
            bind(Agent(name="counter", responsibility="Counts."), Scripted(script=lambda m, t: "three")),
        ],
        bind(Agent(name="writer", responsibility="Writes up."), Scripted(script=lambda m, t: f"In sum: {m[-1].text}")),
    )


async def records(db: Persistence, thread: str = "thread-9") -> Any:
    return (await Book(db.store, thread=thread, branch="main", turn=1).load()).records()


async def test_a_trace_has_the_pattern_at_its_root_roles_below_and_agents_on_its_model_runs(traced: Captured) -> None:
    await open_persistence("memory://").bind(team()).ainvoke({"task": "Go"}, CONFIG, context=Context())
    traced.read()
    assert traced.root["name"] == "orchestrator_worker"
    assert {"begin", "plan", "office", "counter", "generate", "editor", "think", "act", "synthesize"} <= {
        r["name"] for r in traced.runs.values()
    }
    assert {r["name"] for r in traced.models} == {"planner", "clerk", "editor", "counter", "writer"}
    parents = {i: r.get("parent_run_id") for i, r in traced.runs.items()}
    assert all(p is None or p in traced.runs for p in parents.values())
    assert SECRET.encode() in traced.bytes, "what nobody called sensitive is there to be read"


async def test_model_runs_carry_tags_and_metadata_to_filter_by(traced: Captured) -> None:
    await open_persistence("memory://").bind(team()).ainvoke({"task": "Go"}, CONFIG, context=Context())
    traced.read()
    assert "pattern:orchestrator_worker" in traced.root["tags"]
    assert traced.root["extra"]["metadata"]["thread_id"] == "thread-9"
    for run in traced.models:
        labels = run["extra"]["metadata"]
        assert {f"agent:{run['name']}", f"tier:{labels['tier']}", "pattern:orchestrator_worker"} <= set(run["tags"])
        assert labels["agent"] == run["name"]
        assert labels["thread_id"] == "thread-9"
    [first] = [r["extra"]["metadata"] for r in traced.models if r["name"] == "planner"]
    assert (first["tier"], first["path"], first["visit"]) == ("planner", "", "plan/0/0")
    deep = [r["extra"]["metadata"] for r in traced.models if r["name"] == "clerk"]
    assert [(d["path"], d["visit"]) for d in deep] == [
        ("work/0/a/generate/0", "think/1"),
        ("work/0/a/generate/0", "think/2"),
    ]
    assert {r["extra"]["metadata"]["pattern"] for r in traced.models if r["name"] == "clerk"} == {"react"}


async def test_token_usage_has_the_form_that_is_priced(traced: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        monkeypatch.setenv("MOTET_BASE_URL", server.url)
        server.will(said("Here."))
        graph = react.build(Agent(name="speaker", responsibility="Answers."))
        await graph.ainvoke({"task": "Go"}, CONFIG, context=Context(worker="openai:gpt-4o-mini"))
    [run] = traced.read().models
    labels = run["extra"]["metadata"]
    assert (labels["ls_provider"], labels["ls_model_name"], labels["ls_model_type"]) == (
        "openai",
        "gpt-4o-mini",
        "chat",
    )
    used = labels["usage_metadata"]
    assert (used["input_tokens"], used["output_tokens"], used["total_tokens"]) == (20, 7, 27)


async def test_no_content_of_a_sensitive_agent_deep_inside_is_in_the_trace_or_the_book(traced: Captured) -> None:
    db = open_persistence("memory://")
    state = await db.bind(team(sensitive=True)).ainvoke({"task": f"Write about {SECRET}"}, CONFIG, context=Context())
    assert SECRET in state["answer"]["text"], "the caller gets the answer all the same"
    traced.read()
    assert SECRET.encode() not in traced.bytes
    assert b"Main Street" not in traced.bytes
    assert traced.root["name"] == "orchestrator_worker"
    assert {r["name"] for r in traced.models} == {"planner", "clerk", "editor", "counter", "writer"}
    for run in traced.runs.values():
        assert list(run["inputs"]) == ["hash"]
        assert list(run.get("outputs") or {"hash": ""}) == ["hash"]
        assert run["extra"]["metadata"]["thread_id"] == "thread-9"
    [usage] = [r["extra"]["metadata"]["usage_metadata"] for r in traced.models if r["name"] == "planner"]
    assert usage["total_tokens"] == 15
    kept = await records(db)
    text = json.dumps(kept)
    assert SECRET not in text
    assert "Main Street" not in text
    assert all(not {"content", "message", "args", "reason"} & r.keys() for r in kept)
    assert all(r["hidden"]["content"] for r in kept if r["kind"] == "tool")


async def test_streams_of_a_sensitive_run_are_the_caller_s_own(traced: Captured) -> None:
    graph = open_persistence("memory://").bind(team(sensitive=True))
    updates, words = [], []
    async for space, mode, part in graph.astream(
        {"task": f"Write about {SECRET}"},
        CONFIG,
        context=Context(),
        stream_mode=["updates", "messages"],
        subgraphs=True,
    ):
        (updates if mode == "updates" else words).append((space, part))
    assert SECRET in repr(updates)
    assert SECRET in repr(words)
    traced.read()
    assert len(traced.runs) > 20
    assert SECRET.encode() not in traced.bytes


async def test_errors_of_a_sensitive_run_are_hidden_too(traced: Captured) -> None:
    def fails(messages: Any, tools: Any) -> Any:
        raise ValueError(f"cannot say {SECRET}")

    failing = Agent(name="failing", responsibility="Fails.", sensitive=True)
    db = open_persistence("memory://")
    graph = db.bind(react.build(bind(failing, Scripted(script=fails))))
    state = await graph.ainvoke({"task": "Go"}, CONFIG, context=Context())
    assert SECRET in state["reason"]
    [lost] = traced.read().models
    assert lost["error"].startswith("ValueError(")
    assert SECRET.encode() not in traced.bytes
    assert SECRET not in json.dumps(await records(db))


async def test_what_a_function_traces_itself_is_veiled_with_the_rest(traced: Captured) -> None:
    inner = bind(Agent(name="inner", responsibility="Calls."), lambda task: traceable_look(SECRET))
    accepts = Scripted(script=lambda m, t: [("Critique", {"verdict": "accept", "issues": []})])
    editor = Agent(name="editor", responsibility="Edits.", output=Critique, sensitive=True)
    state = await critic.build(inner, [bind(editor, accepts)]).ainvoke({"task": "Go"}, context=Context())
    assert SECRET in state["answer"]["text"]
    traced.read()
    assert traced.named("traceable_look")
    assert SECRET.encode() not in traced.bytes


async def test_the_first_token_of_a_sensitive_stream_is_not_among_the_events(
    traced: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as server:
        monkeypatch.setenv("MOTET_BASE_URL", server.url)
        server.will(said(f"{SECRET} {SECRET}"))
        graph = react.build(Agent(name="speaker", responsibility="Answers.", sensitive=True))
        context = Context(worker="openai:gpt-4o-mini")
        async for _ in graph.astream({"task": "Go"}, CONFIG, context=context, stream_mode="messages"):
            pass
    [run] = traced.read().models
    assert SECRET.encode() not in traced.bytes
    assert {e["name"] for e in run["events"]} >= {"start", "new_token", "end"}
    assert run["extra"]["metadata"]["ls_model_name"] == "gpt-4o-mini"


@pytest.mark.parametrize("how", ["list", "manager", "empty manager", "bound", "around", "sync"])
async def test_a_tracer_that_a_caller_brings_is_veiled_too(traced: Captured, how: str) -> None:
    graph: Any = react.build(
        bind(Agent(name="s", responsibility="Says.", sensitive=True), Scripted(script=lambda m, t: SECRET))
    )
    given = {"task": f"Say {SECRET}"}
    if how == "list":
        await graph.ainvoke(given, {"callbacks": [LangChainTracer()]})
    elif how == "manager":
        await graph.ainvoke(given, {"callbacks": AsyncCallbackManager.configure([LangChainTracer()])})
    elif how == "empty manager":
        await graph.ainvoke(given, {"callbacks": AsyncCallbackManager(handlers=[])})
    elif how == "bound":
        await graph.with_config(callbacks=[LangChainTracer()]).ainvoke(given)
    elif how == "sync":
        await asyncio.to_thread(graph.invoke, given)
    else:
        with langsmith.tracing_context(project_name="other", tags=["mine"], metadata={"why": "test"}):
            await graph.ainvoke(given)
    traced.read()
    assert {r["name"] for r in traced.models} == {"s"}
    assert traced.root["name"] == "react"
    assert SECRET.encode() not in traced.bytes


async def test_inside_a_foreign_graph_all_below_ours_is_veiled(traced: Captured) -> None:
    ours = react.build(
        bind(Agent(name="s", responsibility="Says.", sensitive=True), Scripted(script=lambda m, t: SECRET))
    )

    async def calls(state: MessagesState) -> dict[str, Any]:
        found = await ours.ainvoke({"task": f"Say {SECRET}"})
        return {"messages": [AIMessage(str(len(found["answer"]["text"])))]}

    foreign = StateGraph(MessagesState).add_node("calls", calls).add_edge(START, "calls").add_edge("calls", END)
    await foreign.compile(name="foreign").ainvoke({"messages": []})
    traced.read()
    assert traced.root["name"] == "foreign"
    [inner] = traced.named("react")
    assert traced.runs[inner["parent_run_id"]]["name"] == "calls"
    assert {r["name"] for r in traced.models} == {"s"}
    assert SECRET.encode() not in traced.bytes


async def test_changing_the_state_of_a_sensitive_thread_leaves_no_content_either(traced: Captured) -> None:
    graph = open_persistence("memory://").bind(
        react.build(bind(Agent(name="s", responsibility="Says.", sensitive=True), Scripted(script=lambda m, t: "ok")))
    )
    await graph.ainvoke({"task": "Go"}, CONFIG, context=Context())
    await graph.aupdate_state(CONFIG, {"reason": SECRET}, as_node="think")
    traced.read()
    assert traced.named("reactUpdateState")
    assert SECRET.encode() not in traced.bytes
    assert (await graph.aget_state(CONFIG)).values["reason"] == SECRET


async def test_a_plan_s_step_names_do_not_betray_a_sensitive_planner(traced: Captured) -> None:
    steps = [{"id": SECRET, "worker": "counter", "task": "count"}]
    graph = orchestrator_worker.build(
        bind(
            Agent(name="planner", responsibility="Plans.", output=Plan, sensitive=True),
            Scripted(script=lambda m, t: [("Plan", {"steps": steps})]),
        ),
        [bind(Agent(name="counter", responsibility="Counts."), Scripted(script=lambda m, t: "three"))],
        bind(Agent(name="writer", responsibility="Writes up."), Scripted(script=lambda m, t: "done")),
    )
    await graph.ainvoke({"task": "Go"}, {"metadata": {"question": SECRET}}, context=Context())
    assert SECRET.encode() not in traced.read().bytes


def test_a_graph_knows_of_a_sensitive_agent_wherever_it_stands() -> None:
    quiet = Agent(name="quiet", responsibility="Whispers.", sensitive=True)
    open_ = Agent(name="loud", responsibility="Speaks.")
    assert not veils(react.build(open_))
    assert veils(react.build(quiet))
    assert veils(team(sensitive=True))
    assert not veils(team())
    standing_in = Agent(name="loud", responsibility="Speaks.", on_failure=fallback(quiet))
    judge = Agent(name="judge_", responsibility="Judges.", output=Critique)
    assert veils(critic.build(standing_in, [judge]))
    wrapped = StateGraph(MessagesState).add_node("inner", react.build(quiet)).add_edge(START, "inner").compile()
    assert veils(critic.build(wrapped, [judge]))


async def test_digests_of_a_sensitive_agent_are_keyed_and_equal_for_equal_inputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def digests(*, sensitive: bool, thread: str) -> set[str]:
        db = open_persistence("memory://")
        agent = Agent(name="s", responsibility="Says.", sensitive=sensitive)
        graph = db.bind(react.build(bind(agent, Scripted(script=lambda m, t: "ok"))))
        await graph.ainvoke({"task": "yes"}, {"configurable": {"thread_id": thread}}, context=Context())
        return {r["digest"] for r in await records(db, thread)}

    monkeypatch.setenv("MOTET_KEY", "one")
    plain, first = await digests(sensitive=False, thread="a"), await digests(sensitive=True, thread="b")
    assert first == await digests(sensitive=True, thread="c")
    monkeypatch.setenv("MOTET_KEY", "another")
    second = await digests(sensitive=True, thread="d")
    assert len(plain | first | second) == 3
    assert plain == await digests(sensitive=False, thread="e")


def test_the_key_is_made_once_for_its_owner_only(own_home: Path) -> None:
    first = key()
    assert key() == first
    assert stat.S_IMODE((own_home / "key").stat().st_mode) == 0o600
    assert [p.name for p in own_home.iterdir()] == ["key"]
    assert len(first) == 64
    assert keyed("x") != keyed("y")


def test_a_key_of_the_environment_makes_no_file(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTET_KEY", "mine")
    assert key() == b"mine"
    assert not own_home.exists()


def test_a_key_that_is_cut_off_is_refused(own_home: Path) -> None:
    own_home.mkdir()
    (own_home / "key").write_bytes(b"")
    with pytest.raises(StorageError, match="is cut off"):
        key()


class Form(BaseModel):
    text: str


def test_anything_has_a_keyed_hash() -> None:
    circle: list[Any] = []
    circle.append(circle)
    values: list[Any] = [None, 1, "x", {1: "a", "b": 2}, Form(text="x"), AIMessage("x"), circle, b"x", "\ud800"]
    assert len({keyed(v) for v in values}) == len(values)
    assert VEILED.startswith("__"), "neither checkpoints' metadata nor traces show it"
