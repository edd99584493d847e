"""Real HTTP: langchain-openai against a loopback server, and what each kind of answer comes to."""

import asyncio
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from openai_server import USAGE, Answer, Server, calls, refused, said, serving
from pydantic import BaseModel

from graphs import react
from graphs.bind import bind
from nodes import request
from runtime import run as runs
from runtime.book import Book
from runtime.persistence import open_persistence
from state.agent import Agent, Limits, fallback
from state.context import Context
from state.errors import ToolError
from state.record import Record
from state.tool import Arguments, Tool, ToolContext

EXACT = {"input_tokens": USAGE["prompt_tokens"], "output_tokens": USAGE["completion_tokens"]}


class Verdict(BaseModel):
    """What was decided."""

    good: bool
    why: str


class City(Arguments):
    name: str


async def look(city: City, context: ToolContext) -> str:
    if city.name == "Atlantis":
        raise ToolError("no such city")
    return f"{city.name} is sunny"


WEATHER = Tool(name="weather", description="The weather of a city.", args=City, run=look)
PLAIN = Agent(name="speaker", responsibility="Answers.")
JUDGE = Agent(name="judge_", responsibility="Judges.", output=Verdict)
FINDER = Agent(name="finder", responsibility="Finds out.", tools=(WEATHER,))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as running:
        monkeypatch.setenv("MOTET_BASE_URL", running.url)
        monkeypatch.setenv("MOTET_MODEL", "openai:test")
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been waited between attempts; short waits are not waited."""
    asked: list[float] = []
    real = request.pause

    def pause(error: BaseException, attempt: int) -> float | None:
        if (seconds := real(error, attempt)) is None:
            return None
        asked.append(seconds)
        return 0.0 if seconds < 10 else seconds

    monkeypatch.setattr(request, "pause", pause)
    return asked


@dataclass
class Ran:
    state: dict[str, Any]
    records: list[Record]

    @property
    def models(self) -> list[Record]:
        return [r for r in self.records if r["kind"] == "model"]

    @property
    def ends(self) -> list[tuple[str, str]]:
        """How each attempt ended, and whose fault it was."""
        return [(r["outcome"], r.get("owner", "")) for r in self.models]


async def run(agent: Agent, context: Context | None = None, *, task: str = "Go on.") -> Ran:
    """One turn of the agent's loop on a thread in memory; nothing may be raised."""
    bound, db = bind(agent), open_persistence("memory://")
    graph = db.bind(bound.graph or react.build(bound))
    config: Any = {"configurable": {"thread_id": "t"}}
    state = await graph.ainvoke({"task": task}, config, context=context or Context())
    records = (await Book(db.store, thread="t", branch="main", turn=1).load()).records()
    assert all(r["outcome"] for r in records), "every record has ended"
    used = state["usage"]["total"]
    models = [r for r in records if r["kind"] == "model"]
    assert used["calls"] == len(models)
    assert used["tokens_in"] == sum(r["tokens_in"] for r in models)
    assert used["tokens_out"] == sum(r["tokens_out"] for r in models)
    return Ran(state, records)


async def test_a_plain_answer_completes_and_books_what_the_server_says(server: Server) -> None:
    server.will(said("All is well."))
    ran = await run(PLAIN)
    assert ran.state["outcome"] == "completed"
    assert ran.state["answer"]["text"] == "All is well."
    [record] = ran.models
    assert (record["tokens_in"], record["tokens_out"]) == (20, 7)
    [asked] = server.requests
    assert asked["model"] == "test"
    assert asked["max_completion_tokens"] == PLAIN.limits.tokens_per_call
    assert asked["path"] == "/v1/chat/completions"


async def test_a_tool_call_is_run_and_its_result_goes_back(server: Server) -> None:
    server.will(calls(("weather", {"name": "Rome"})), said("Sunny."))
    ran = await run(FINDER)
    assert ran.state["outcome"] == "completed"
    result = server.requests[1]["messages"][-1]
    assert result["role"] == "tool"
    assert "Rome is sunny" in result["content"]
    assert [r["kind"] for r in ran.records] == ["model", "tool", "model"]


async def test_parallel_tool_calls_are_all_run_and_answered_in_order(server: Server) -> None:
    wanted = [("weather", {"name": n}) for n in ("Rome", "Atlantis", "Oslo")]
    server.will(calls(*wanted), said("Mixed."))
    ran = await run(FINDER)
    assert ran.state["outcome"] == "completed"
    results = [m for m in server.requests[1]["messages"] if m["role"] == "tool"]
    assert [m["tool_call_id"] for m in results] == ["call_0", "call_1", "call_2"]
    assert [w in m["content"] for m, w in zip(results, ("Rome", "no such city", "Oslo"), strict=True)] == [True] * 3


async def test_a_typed_output_is_asked_for_as_a_function_and_validated(server: Server) -> None:
    server.will(calls(("Verdict", {"good": True, "why": "tested"})))
    ran = await run(JUDGE)
    assert ran.state["answer"] == {"good": True, "why": "tested"}
    [asked] = server.requests
    assert asked["tool_choice"] == "required"
    assert [t["function"]["name"] for t in asked["tools"]] == ["Verdict"]


async def test_a_typed_output_that_does_not_validate_is_repaired_with_the_exact_error(server: Server) -> None:
    server.will(calls(("Verdict", {"good": "perhaps"})), calls(("Verdict", {"good": False, "why": "no"})))
    ran = await run(JUDGE)
    assert ran.state["outcome"] == "completed"
    assert ran.ends == [("refused", "receiver"), ("completed", "")]
    told = server.requests[1]["messages"][-1]["content"]
    assert "good" in told
    assert "why: Field required" in told


async def test_streaming_brings_chunks_and_the_usage_is_booked(server: Server) -> None:
    server.will(calls(("weather", {"name": "Rome"})), said("It is sunny in Rome"))
    db = open_persistence("memory://")
    graph = db.bind(react.build(FINDER))
    words = []
    config: Any = {"configurable": {"thread_id": "t"}}
    async for chunk, _ in graph.astream({"task": "Weather?"}, config, context=Context(), stream_mode="messages"):
        if chunk.type == "AIMessageChunk" and chunk.text:
            words.append(chunk.text)
    assert len(words) >= 5
    assert all(r["stream"] and r["stream_options"] == {"include_usage": True} for r in server.requests)
    records = (await Book(db.store, thread="t", branch="main", turn=1).load()).records()
    models = [r for r in records if r["kind"] == "model"]
    assert [(r["outcome"], r["tokens_in"], r["tokens_out"]) for r in models] == [("completed", 20, 7)] * 2
    [tool] = [r for r in records if r["kind"] == "tool"]
    assert tool["args"] == {"name": "Rome"}


async def test_a_server_that_tells_no_usage_is_booked_by_an_upper_bound_within_the_cap(server: Server) -> None:
    server.will(said("word " * 400, usage=None))
    ran = await run(Agent(name="speaker", responsibility="Answers.", limits=Limits(tokens_per_call=300)))
    [record] = ran.models
    assert record["tokens_out"] == 300
    assert record["tokens_in"] > 20


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_obeyed_and_each_attempt_has_its_record(
    server: Server, waits: list[float], form: str
) -> None:
    when = "7" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=8), usegmt=True)
    server.will(refused(429, "rate_limit_exceeded", retry_after=when), said("Here."))
    ran = await run(PLAIN)
    assert ran.state["outcome"] == "completed"
    assert ran.ends == [("failed", "environment"), ("completed", "")]
    assert [r["attempt"] for r in ran.models] == [1, 2]
    assert 5 < waits[0] <= 8
    assert [r["tokens_in"] for r in ran.models] == [0, 20], "a request that was turned away cost nothing"


async def test_a_wait_longer_than_a_minute_is_not_waited_for(server: Server, waits: list[float]) -> None:
    server.will(refused(429, retry_after="3600"), said("Here."))
    ran = await run(PLAIN)
    assert ran.state["outcome"] == "failed"
    assert (len(server.requests), waits) == (1, [])


async def test_a_wait_beyond_the_run_s_time_is_not_begun(server: Server) -> None:
    server.will(refused(429, retry_after="30"), said("Here."))
    ran = await run(PLAIN, Context(max_seconds=20))
    assert ran.state["outcome"] == "failed"
    assert len(server.requests) == 1


async def test_an_exhausted_quota_is_not_retried(server: Server) -> None:
    server.will(refused(429, "insufficient_quota", "You exceeded your current quota"))
    ran = await run(PLAIN)
    assert ran.state["outcome"] == "failed"
    assert "quota" in ran.state["reason"]
    assert ran.ends == [("failed", "environment")]


@pytest.mark.parametrize("status", [500, 503, 408])
async def test_a_server_error_is_retried_and_then_failed(server: Server, status: int) -> None:
    server.will(refused(status))
    ran = await run(PLAIN)
    assert ran.state["outcome"] == "failed"
    assert "(environment)" in ran.state["reason"]
    assert ran.ends == [("failed", "environment")] * 4


async def test_a_server_error_that_passes_is_survived(server: Server) -> None:
    server.will(refused(500), Answer("<html>bad gateway</html>", 502, kind="text/html"), said("Here."))
    ran = await run(PLAIN)
    assert ran.state["outcome"] == "completed"
    assert len(ran.models) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_request_that_the_server_refuses_is_not_repeated(server: Server, status: int) -> None:
    server.will(refused(status, message="no such thing"))
    ran = await run(PLAIN)
    assert ran.state["outcome"] == "failed"
    assert "no such thing" in ran.state["reason"]
    assert ran.ends == [("failed", "receiver")]


async def test_a_fallback_answers_for_a_model_that_refuses(server: Server) -> None:
    server.will(refused(401), said("I can."))
    other = Agent(name="other", responsibility="Stands in.")
    ran = await run(Agent(name="speaker", responsibility="Answers.", on_failure=fallback(other)))
    assert ran.state["outcome"] == "completed"
    assert ran.state["answer"]["text"] == "I can."
    assert "other answered for speaker" in ran.state["reason"]


async def test_a_call_ends_at_its_own_limit(server: Server) -> None:
    server.will(said("late"))
    server.answers[0] = Answer(server.answers[0].body, seconds=0.6)  # type: ignore[union-attr]
    begun = time.monotonic()
    ran = await run(Agent(name="speaker", responsibility="Answers.", limits=Limits(seconds_per_call=0.1)))
    assert time.monotonic() - begun < 2
    assert ran.state["outcome"] == "failed"
    assert "in time" in ran.state["reason"]
    assert ran.ends == [("failed", "environment")] * 4


async def test_a_call_ends_at_the_house_s_timeout(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTET_TIMEOUT", "0.1")
    server.will(Answer(said("late").body, seconds=0.6), said("in time"))
    ran = await run(PLAIN)
    assert ran.state["answer"]["text"] == "in time"
    assert ran.ends == [("failed", "environment"), ("completed", "")]
    assert ran.models[0]["tokens_in"] > 0, "whether it was paid for is unknown, so it counts"


async def test_a_refused_connection_is_retried_and_then_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MOTET_BASE_URL", f"http://127.0.0.1:{free.getsockname()[1]}/v1")
        ran = await run(PLAIN, Context(worker="openai:test"))
    assert ran.state["outcome"] == "failed"
    assert ran.ends == [("failed", "environment")] * 4
    assert sum(r["tokens_in"] for r in ran.models) == 0


async def test_prose_instead_of_json_is_repaired(server: Server) -> None:
    server.will(said("It is good, I think."), calls(("Verdict", {"good": True, "why": "asked again"})))
    ran = await run(JUDGE)
    assert ran.state["outcome"] == "completed"
    assert ran.ends == [("refused", "receiver"), ("completed", "")]
    assert "answer by calling the function Verdict" in server.requests[1]["messages"][-1]["content"]


async def test_json_in_prose_is_taken_as_the_answer(server: Server) -> None:
    server.will(said('Here you are:\n```json\n{"good": true, "why": "ok"}\n```'))
    ran = await run(JUDGE)
    assert ran.state["answer"] == {"good": True, "why": "ok"}


async def test_prose_for_ever_is_a_failure_after_the_repairs(server: Server) -> None:
    server.will(said("I would rather talk."))
    ran = await run(JUDGE)
    assert ran.state["outcome"] == "failed"
    assert "after 2 repair(s)" in ran.state["reason"]
    assert ran.ends == [("refused", "receiver")] * 3


@pytest.mark.parametrize("streaming", [False, True])
async def test_broken_arguments_are_repaired_with_the_exact_error_and_nothing_is_run(
    server: Server, streaming: bool
) -> None:
    broken = calls(("weather", '{"name": "Ro'), ("weather", {"name": "Oslo"}))
    server.will(broken, calls(("weather", {"name": "Rome"})), said("Sunny."))
    db = open_persistence("memory://")
    graph = db.bind(react.build(FINDER))
    config: Any = {"configurable": {"thread_id": "t"}}
    async for _ in graph.astream(
        {"task": "Weather?"}, config, context=Context(), stream_mode="messages" if streaming else "values"
    ):
        pass
    told = server.requests[1]["messages"][-1]["content"]
    assert "the arguments of weather are not valid JSON" in told
    assert '{"name": "Ro' in told
    records = (await Book(db.store, thread="t", branch="main", turn=1).load()).records()
    assert [r["args"] for r in records if r["kind"] == "tool"] == [{"name": "Rome"}]
    assert [r["outcome"] for r in records if r["kind"] == "model"] == ["refused", "completed", "completed"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer("<html>Welcome</html>", kind="text/html"),
        Answer("{not json"),
        Answer("null"),
        Answer({}),
        Answer({"choices": None}),
        Answer({"id": "c", "object": "chat.completion", "choices": []}),
        Answer({"id": "c", "object": "chat.completion", "choices": [{"index": 0, "message": None}]}),
    ],
    ids=["html", "no json", "null", "nothing", "null choices", "empty choices", "null message"],
)
async def test_an_answer_that_is_none_is_the_endpoint_s_failure(server: Server, answer: Answer) -> None:
    server.will(answer)
    ran = await run(PLAIN)
    assert ran.state["outcome"] == "failed"
    assert "something that is no answer" in ran.state["reason"]
    assert ran.ends == [("failed", "environment")]


async def test_null_content_is_repaired(server: Server) -> None:
    server.will(said(None), said("Here."))
    ran = await run(PLAIN)
    assert ran.state["answer"]["text"] == "Here."
    assert ran.ends == [("refused", "receiver"), ("completed", "")]


async def test_an_answer_cut_by_the_agent_s_own_limit_is_a_failure_that_names_it(server: Server) -> None:
    server.will(said("Once upon", finish="length"))
    ran = await run(PLAIN)
    assert ran.state["outcome"] == "failed"
    assert "limits.tokens_per_call" in ran.state["reason"]
    assert ran.ends == [("failed", "receiver")]
    assert ran.models[0]["tokens_out"] == 7


async def test_an_answer_cut_by_the_budget_is_out_of_budget(server: Server) -> None:
    server.will(said("Once upon", finish="length"))
    ran = await run(PLAIN, Context(max_tokens=1000))
    assert ran.state["outcome"] == "out_of_budget"
    assert ran.ends == [("failed", "environment")]
    assert server.requests[0]["max_completion_tokens"] < 1000


async def test_a_budget_too_small_for_one_answer_asks_nobody(server: Server) -> None:
    server.will(said("Here."))
    ran = await run(PLAIN, Context(max_tokens=100))
    assert ran.state["outcome"] == "out_of_budget"
    assert (server.requests, ran.models) == ([], [])


@pytest.mark.parametrize(
    "answer",
    [said(None, refusal="I cannot help with that"), said("", finish="content_filter")],
    ids=["refusal", "filter"],
)
async def test_a_refusal_is_a_failure_of_the_model_and_no_repair_is_tried(server: Server, answer: Answer) -> None:
    server.will(answer)
    ran = await run(PLAIN)
    assert ran.state["outcome"] == "failed"
    assert "refused" in ran.state["reason"]
    assert ran.ends == [("failed", "receiver")]
    assert ran.models[0]["tokens_in"] == 20, "it was paid for"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(said("half an answer").body, cut=True),
        Answer('data: {"error": {"message": "overloaded"}}\n\n', kind="text/event-stream"),
    ],
    ids=["broken off", "error inside"],
)
async def test_a_stream_that_breaks_is_retried_and_never_taken_for_an_answer(server: Server, answer: Answer) -> None:
    server.will(answer, said("whole"))
    db = open_persistence("memory://")
    graph = db.bind(react.build(PLAIN))
    config: Any = {"configurable": {"thread_id": "t"}}
    async for _ in graph.astream({"task": "Go"}, config, context=Context(), stream_mode="messages"):
        pass
    state = (await graph.aget_state(config)).values
    assert state["answer"]["text"] == "whole"
    records = (await Book(db.store, thread="t", branch="main", turn=1).load()).records()
    assert [(r["outcome"], r.get("owner")) for r in records] == [("failed", "environment"), ("completed", None)]


async def test_a_cancelled_run_ends_its_record_frees_its_budget_and_commits_nothing_late(server: Server) -> None:
    server.will(Answer(said("too late").body, seconds=0.4))
    db = open_persistence("memory://")
    graph = db.bind(react.build(PLAIN))
    config: Any = {"configurable": {"thread_id": "t"}}
    task = asyncio.create_task(graph.ainvoke({"task": "Go"}, config, context=Context(max_tokens=50_000)))
    assert await asyncio.to_thread(server.asked.wait, 5)
    [ledger] = [r.ledger for k, r in runs._runs.items() if k[1] == "t" and not r.ledger.idle]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.5)
    [record] = (await Book(db.store, thread="t", branch="main", turn=1).load()).records()
    assert (record["outcome"], record["reason"]) == ("cancelled", "cancelled")
    assert ledger.idle
    assert ledger.scopes[""].used.tokens == record["tokens_in"] + record["tokens_out"]
    state = await graph.aget_state(config)
    assert state.values["answer"] is None
    assert state.next == ("think",)
    server.will(said("again"))
    assert (await graph.ainvoke(None, config, context=Context()))["answer"]["text"] == "again"


async def test_drafts_of_two_servers_do_not_mix_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as one, serving() as two:
        one.will(said("from one"))
        two.will(said("from two"))
        answers = []
        for at in (one, two, one):
            monkeypatch.setenv("MOTET_BASE_URL", at.url)
            answers.append((await run(PLAIN, Context(worker="openai:same"))).state["answer"]["text"])
    assert answers == ["from one", "from two", "from one"]
    assert (len(one.requests), len(two.requests)) == (2, 1)


def test_a_second_event_loop_does_not_meet_the_connections_of_the_first(server: Server) -> None:
    server.will(said("Here."))
    ends = [asyncio.run(run(PLAIN)).ends for _ in range(3)]
    assert ends == [[("completed", "")]] * 3
    assert len(server.requests) == 3
