"""Every graph on the development server: seen, run, asked, resumed, forked and called, as a client does it."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from serving import ROOT, Server, served

from graphs.catalog import CATALOG
from motet import serving
from motet.load import load
from state.context import Context
from state.errors import InputError

QUESTION = "When is a refund paid?"
ALL_CALLS = 10  # of the slice: planner, counter twice, clerk three times, editor twice, reviser, writer
APPROVE = {"resume": {"decisions": [{"type": "approve"}]}}
AUTO = {"approve": "auto"}

each = pytest.mark.parametrize("name", [e.name for e in CATALOG])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(autouse=True)
def log(server: Server) -> Iterator[None]:
    """What the server says during a test is shown where it fails; that something blocks it fails it."""
    before = server.log.stat().st_size
    yield
    said = server.said(before)
    print(*(line for line in said.splitlines() if "[info " not in line), sep="\n")
    assert "Blocking call" not in said


@pytest.fixture
async def client(server: Server) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=server.url, api_key=None) as opened:
        yield opened


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as opened:
        yield opened


@pytest.fixture
async def assistants(client: LangGraphClient) -> dict[str, str]:
    """The id of each graph's assistant."""
    return {a["graph_id"]: a["assistant_id"] for a in await client.assistants.search(limit=100)}


@pytest.fixture
def docs(tmp_path: Path) -> str:
    folder = tmp_path / "handbook"
    (folder / "board").mkdir(parents=True)
    (folder / "refunds.md").write_text(
        "# Refunds\n\nA refund is paid within 30 days of the purchase.\n\n# Shipping\n\nParcels leave on Tuesday.\n"
    )
    (folder / "sales.csv").write_text("region,sales\nnorth,10\nsouth,32\neast,7\n")
    (folder / "board" / "merger.md").write_text("# Merger\n\nThe merger with Acme closes in May.\n")
    (folder / ".motet-access.toml").write_text('"board/**" = ["board"]\n')
    return str(folder)


async def new_thread(client: LangGraphClient) -> str:
    return (await client.threads.create())["thread_id"]


async def asked(client: LangGraphClient, name: str, given: Any, thread: str | None = None, **options: Any) -> Any:
    """Run to the end; an error is returned, as the client sees it."""
    return await client.runs.wait(thread, name, input=given, raise_error=False, **options)


async def answered(client: LangGraphClient, thread: str, command: Any) -> Any:
    return await client.runs.wait(thread, "slice", command=command, raise_error=False)


def said(result: dict[str, Any]) -> list[str]:
    return [m["content"] for m in result["messages"]]


def error_of(result: dict[str, Any]) -> str:
    return f"{result['__error__']['error']}: {result['__error__']['message']}"


def deepest(state: Any) -> Any:
    """The state of the innermost graph that has an open question."""
    while True:
        task = next(t for t in state["tasks"] if t["interrupts"])
        if not task.get("state"):
            return state
        state = task["state"]


# what a client sees of a graph


async def test_it_boots_without_a_key_and_serves_every_graph_under_its_name(client: LangGraphClient) -> None:
    found = {a["graph_id"]: a["name"] for a in await client.assistants.search(limit=100)}
    assert found == {e.name: e.name for e in CATALOG} | {"slice": "orchestrator_worker"}


@each
async def test_a_client_can_draw_a_form_of_input_options_and_result(
    client: LangGraphClient, assistants: dict[str, str], name: str
) -> None:
    schemas = await client.assistants.get_schemas(assistants[name])
    assert set(schemas["input_schema"]["properties"]) == {"messages", "task"}
    assert set(schemas["output_schema"]["properties"]) >= {"messages", "answer", "outcome", "reason", "usage"}
    options = schemas["context_schema"]["properties"]
    assert set(options) == set(Context.model_fields)
    assert options["approve"]["enum"] == ["auto", "ask", "deny"]
    assert all("default" in option for option in options.values())
    assert schemas["state_schema"] is not None


@each
async def test_a_client_sees_the_same_drawing_as_we_do(
    client: LangGraphClient, assistants: dict[str, str], name: str
) -> None:
    drawing = await client.assistants.get_graph(assistants[name], xray=True)
    own = load(name).get_graph(xray=True)
    assert {n["id"] for n in drawing["nodes"]} == set(own.nodes)
    assert {(e["source"], e["target"]) for e in drawing["edges"]} == {(e.source, e.target) for e in own.edges}
    assert any("agent" in (n.get("metadata") or {}) for n in drawing["nodes"])


async def test_a_client_sees_into_all_three_levels_of_a_nested_graph(
    client: LangGraphClient, assistants: dict[str, str]
) -> None:
    drawing = await client.assistants.get_graph(assistants["slice"], xray=True)
    assert {"assign", "team:weigh", "team:generate:gate"} <= {n["id"] for n in drawing["nodes"]}
    inner = await client.assistants.get_subgraphs(assistants["slice"], recurse=True)
    assert set(inner) == {"team", "team|generate"}


# runs

END = ("answer", "outcome", "reason", "usage")


async def test_messages_alone_are_enough_every_stream_flows_and_the_answer_is_that_of_the_graph_itself(
    client: LangGraphClient, docs: str
) -> None:
    async def go(name: str) -> None:
        thread = await new_thread(client)
        streamed: dict[str, list[Any]] = {}
        async for part in client.runs.stream(
            thread,
            name,
            input={"messages": [{"role": "user", "content": QUESTION}]},
            context={"docs": docs},
            stream_mode=["values", "updates", "messages", "custom"],
            stream_subgraphs=True,
        ):
            streamed.setdefault(part.event, []).append(part.data)
        assert "error" not in streamed, f"{name}: {streamed}"
        assert "finish" in streamed["updates"][-1]
        told = [event["call"] for kind, events in streamed.items() if kind.startswith("custom") for event in events]

        state = await client.threads.get_state(thread)
        assert not state["next"]
        result, shown = state["values"], streamed["values"][-1]
        assert told.count("started") == told.count("ended")
        if result["usage"]["total"]["calls"]:  # of the default negotiators no model is asked
            assert told
            assert any(m["type"] in ("ai", "AIMessageChunk") for part in streamed["messages/partial"] for m in part)
        assert [m["id"] for m in shown.pop("messages")] == [m["id"] for m in result["messages"]]
        assert {key: shown[key] for key in END} == {key: result[key] for key in END}
        own = await load(name).ainvoke({"task": QUESTION}, context=Context(docs=docs))
        assert result["outcome"] == own["outcome"] == "completed"
        assert (result["answer"], result["usage"]) == (own["answer"], own["usage"]), name
        assert said(result) == [m.text for m in own["messages"]]
        assert result["messages"][-1]["name"]
        if name in ("react", "research"):
            assert result["answer"]["citations"] == ["refunds.md#refunds"]

    await asyncio.gather(*(go(entry.name) for entry in CATALOG))


async def test_no_tool_blocks_the_server(client: LangGraphClient, docs: str) -> None:
    questions = [
        ("react", "What is 6 * 7?", "42"),
        ("react", "What are the sales in total?", "49"),
        ("react", "When do parcels leave?", "Tuesday"),
        ("research", "Draw a chart of the total sales per region.", "south"),
    ]
    context = {"docs": docs}
    results = await asyncio.gather(*(asked(client, n, {"task": task}, context=context) for n, task, _ in questions))
    for result, (_, _, answer) in zip(results, questions, strict=True):
        assert result["outcome"] == "completed"
        assert answer in result["messages"][-1]["content"]
    assert results[-1]["answer"]["charts"]


async def test_a_thread_holds_many_turns_and_none_sees_the_leftovers_of_another(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    first = await asked(client, "react", {"messages": [{"role": "user", "content": "What is 6 * 7?"}]}, thread)
    second = await asked(client, "react", {"task": "What is 6 * 9?"}, thread)
    told = [" ".join(text.split()[:5]) for text in said(second)]
    assert told == [
        "What is 6 * 7?",
        "6 * 7 = 42",
        "What is 6 * 9?",
        "6 * 9 = 54",
    ]
    assert first["usage"]["total"]["calls"] == second["usage"]["total"]["calls"] == 2


async def test_threads_at_the_same_time_do_not_mix(client: LangGraphClient, server: Server) -> None:
    before = len(server.calls())
    threads = [await new_thread(client) for _ in range(4)]
    results = await asyncio.gather(*(asked(client, "slice", {"task": "go"}, t, context=AUTO) for t in threads))
    assert [r["outcome"] for r in results] == ["completed"] * 4
    assert [r["usage"]["total"]["calls"] for r in results] == [ALL_CALLS] * 4
    assert server.calls(before).count("sent ann") == 4


async def test_runs_of_one_thread_wait_for_each_other(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    await asyncio.gather(*(asked(client, "react", {"task": f"What is 6 * {n}?"}, thread) for n in (7, 8)))
    state = await client.threads.get_state(thread)
    assert sorted(said(state["values"])[::2]) == ["What is 6 * 7?", "What is 6 * 8?"]
    assert sorted(m[:10] for m in said(state["values"])[1::2]) == ["6 * 7 = 42", "6 * 8 = 48"]


async def test_a_graph_is_reached_from_other_projects_as_a_remote_graph(server: Server) -> None:
    remote = RemoteGraph("react", url=server.url, api_key=None)
    result = await remote.ainvoke({"task": "What is 6 * 7?"})
    assert result["outcome"] == "completed"
    assert "42" in result["answer"]["text"]


# options


async def test_options_reach_the_run(client: LangGraphClient, docs: str) -> None:
    poor, denied, keyless = await asyncio.gather(
        asked(client, "research", {"task": QUESTION}, context={"docs": docs, "max_calls": 2}),
        asked(client, "slice", {"task": "go"}, context={"approve": "deny"}),
        asked(client, "react", {"task": QUESTION}, context={"worker": "openai:gpt-7"}),
    )
    assert poor["outcome"] == "out_of_budget"
    assert denied["outcome"] == "completed"
    assert keyless["outcome"] == "failed"
    assert "OPENAI_API_KEY" in keyless["reason"]


async def test_tools_see_only_what_the_requesting_user_may_see(client: LangGraphClient, docs: str) -> None:
    question, user = {"task": "When does the merger with Acme close?"}, {"identity": "ann", "groups": ["board"]}
    stranger, member = await asyncio.gather(
        asked(client, "react", question, context={"docs": docs}),
        asked(client, "react", question, context={"docs": docs, "user": user}),
    )
    assert "May" not in stranger["messages"][-1]["content"]
    assert member["answer"]["citations"] == ["board/merger.md#merger"]


async def test_an_impossible_option_is_refused_by_name(client: LangGraphClient) -> None:
    number, choice = await asyncio.gather(
        asked(client, "react", {"task": QUESTION}, context={"max_tokens": -3}),
        asked(client, "react", {"task": QUESTION}, context={"approve": "perhaps"}),
    )
    assert "max_tokens" in error_of(number)
    assert "'auto', 'ask' or 'deny'" in error_of(choice)


async def test_an_option_that_is_unknown_never_reaches_a_run(client: LangGraphClient) -> None:
    # the server drops it before any graph of ours sees it: docs/serving.md says so
    result = await asked(client, "react", {"task": "What is 6 * 7?"}, context={"max_token": 1})
    assert result["outcome"] == "completed"


# what cannot be run


async def test_an_empty_input_is_a_clear_error_and_the_thread_goes_on(client: LangGraphClient) -> None:
    async def go(name: str, empty: dict[str, Any]) -> None:
        thread = await new_thread(client)
        assert "InputError: the input is empty: give `task`" in error_of(await asked(client, name, empty, thread)), name
        result = await asked(client, name, {"task": QUESTION}, thread)
        assert result["outcome"] == ("failed" if name == "research" else "completed"), name  # no folder was named
        assert said(result)[0] == QUESTION
        assert len(said(result)) == 2

    empties: list[dict[str, Any]] = [{}, {"messages": []}, {"task": " "}]
    await asyncio.gather(*(go(entry.name, empty) for entry in CATALOG for empty in empties))


async def test_a_cancelled_run_stops_and_its_thread_goes_on_without_repeating_what_had_ended(
    client: LangGraphClient, server: Server
) -> None:
    async def go(visit: str) -> int:
        thread = await new_thread(client)
        run = await client.runs.create(
            thread, "slice", input={"task": "go"}, context=AUTO, stream_mode=["custom"], stream_subgraphs=True
        )
        async for part in client.runs.join_stream(thread, run["run_id"], stream_mode=["custom"]):
            told = part.data if part.event.startswith("custom") else {"visit": "", "call": ""}
            if told["visit"].startswith(visit) and told["call"] == "started":
                await client.runs.cancel(thread, run["run_id"], wait=True)
                break
        assert (await client.threads.get_state(thread))["next"], visit
        result = await asked(client, "slice", None, thread, context=AUTO)
        assert result["outcome"] == "completed", visit
        made: int = result["usage"]["total"]["calls"]
        assert made in (ALL_CALLS, ALL_CALLS + 1), visit  # one that was cancelled is paid for, unless it had just ended
        return made

    before, visits = len(server.calls()), ["plan/", "think/2", "synthesize"]
    made = await asyncio.gather(*(go(visit) for visit in visits))
    done = server.calls(before)
    assert done.count("sent ann") == len(visits)
    assert len([call for call in done if call.startswith("call")]) == sum(made)


# questions


async def test_a_question_shows_in_the_deepest_graph_a_wrong_answer_is_refused_and_the_right_one_completes(
    client: LangGraphClient, server: Server
) -> None:
    before, thread = len(server.calls()), await new_thread(client)
    waiting = await asked(client, "slice", {"messages": [{"role": "user", "content": "go"}]}, thread)
    (question,) = waiting["__interrupt__"]
    assert question["value"]["action_requests"][0]["args"] == {"to": "ann"}
    assert question["response_schema"]["properties"]["decisions"]

    state = await client.threads.get_state(thread, subgraphs=True)
    assert state["next"] == ["team"]
    inner = deepest(state)
    assert inner["next"] == ["gate"]
    assert [part.split(":")[0] for part in inner["checkpoint"]["checkpoint_ns"].split("|")] == ["team", "generate"]

    for wrong, why in (
        ({"decisions": [{"type": "approve"}] * 2}, "1 decision(s) are needed"),
        ({"decisions": [{"type": "respond", "message": "hm"}]}, "send takes approve or edit or reject"),
        ({"decisions": [{"type": "approve"}], "for": "0" * 32}, "it was given to another question"),
        ({"decisions": [{"type": "approve"}], "by": "clerk"}, "was asked for by clerk, who may not approve it"),
    ):
        assert why in error_of(await answered(client, thread, {"resume": wrong}))
        still = await client.threads.get_state(thread)
        assert [i["id"] for i in still["interrupts"]] == [question["id"]]

    done = await answered(client, thread, APPROVE)
    assert done["outcome"] == "completed"
    assert done["usage"]["total"]["calls"] == ALL_CALLS
    assert len([call for call in server.calls(before) if call.startswith("call")]) == ALL_CALLS
    assert server.calls(before).count("sent ann") == 1
    state = await client.threads.get_state(thread, subgraphs=True)
    assert (state["next"], state["interrupts"]) == ([], [])


async def test_an_edit_changes_what_is_done_and_a_rejection_prevents_it(
    client: LangGraphClient, server: Server
) -> None:
    async def go(decision: dict[str, Any]) -> None:
        thread = await new_thread(client)
        await asked(client, "slice", {"task": "go"}, thread)
        done = await answered(client, thread, {"resume": {"decisions": [decision], "by": "ann"}})
        assert done["outcome"] == "completed"

    before = len(server.calls())
    await asyncio.gather(
        go({"type": "edit", "args": {"to": "zoe"}}),
        go({"type": "reject", "message": "not now"}),
    )
    assert [call for call in server.calls(before) if call.startswith("sent")] == ["sent zoe"]


async def test_policies_and_expiry_hold_over_the_server(client: LangGraphClient, server: Server) -> None:
    async def go(policy: str, *answers: str) -> list[Any]:
        thread, options = await new_thread(client), {"approvals": {"clerk.send": policy}, "user": {"identity": "ann"}}
        waiting = await asked(client, "slice", {"task": "go"}, thread, context=options)
        (question,) = waiting["__interrupt__"]
        await asyncio.sleep(max(0.0, (question["value"]["expires_at"] or 0) - time.time()))
        given = [{"resume": {question["id"]: {**APPROVE["resume"], "by": by}}} for by in answers]
        return [await client.runs.wait(thread, "slice", command=c, context=options, raise_error=False) for c in given]

    before = len(server.calls())
    (ann, nobody, eve), (late,) = await asyncio.gather(go("ask by eve", "ann", "", "eve"), go("ask within 2", "eve"))
    assert "send is decided by eve, not by ann" in error_of(ann)
    assert "not by somebody without a name" in error_of(nobody)
    assert eve["outcome"] == late["outcome"] == "completed"
    assert server.calls(before).count("sent ann") == 1  # too late, and the default counts: not sent


async def test_new_input_drops_an_open_question(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    first = await asked(client, "slice", {"task": "go"}, thread)
    second = await asked(client, "slice", {"task": "rather this"}, thread)
    assert second["__interrupt__"][0]["id"] != first["__interrupt__"][0]["id"]
    assert (await answered(client, thread, APPROVE))["outcome"] == "completed"


# forks


async def test_a_fork_from_the_history_goes_on_from_there_and_repeats_no_effect(
    client: LangGraphClient, server: Server
) -> None:
    before, thread = len(server.calls()), await new_thread(client)
    await asked(client, "slice", {"task": "go"}, thread)
    await answered(client, thread, APPROVE)
    history = await client.threads.get_history(thread, limit=100)
    late = next(step for step in history if step["next"] == ["synthesize"])
    early = next(step for step in history if "team" in step["next"])
    assert len(server.calls(before)) == ALL_CALLS + 1

    fork = await client.threads.update_state(thread, {"reason": "forked"}, checkpoint=late["checkpoint"])
    done = await asked(client, "slice", None, thread, checkpoint=fork["checkpoint"])
    assert done["outcome"] == "completed"
    assert server.calls(before)[ALL_CALLS + 1 :] == ["call Writes up."]
    assert done["usage"]["total"]["calls"] == ALL_CALLS + 1

    waiting = await asked(client, "slice", None, thread, checkpoint=early["checkpoint"])
    assert waiting["__interrupt__"][0]["value"]["action_requests"][0]["args"] == {"to": "ann"}
    done = await answered(client, thread, APPROVE)
    assert done["outcome"] == "completed"
    called = [call for call in server.calls(before) if call.startswith("call")]
    assert done["usage"]["total"]["calls"] == len(called) == ALL_CALLS + 1 + (ALL_CALLS - 1)  # all but the planner
    assert server.calls(before).count("sent ann") == 1


async def test_a_nested_graph_has_a_history_of_its_own(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    await asked(client, "slice", {"task": "go"}, thread)
    inner = deepest(await client.threads.get_state(thread, subgraphs=True))["checkpoint"]["checkpoint_ns"]
    steps = await client.threads.get_history(thread, checkpoint={"thread_id": thread, "checkpoint_ns": inner})
    assert [step["next"] for step in steps] == [["gate"], ["think"], ["act"], ["think"], ["begin"], ["__start__"]]


# other protocols


async def rpc(http: httpx.AsyncClient, path: str, method: str, **params: Any) -> dict[str, Any]:
    said = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    reply = await http.post(path, json=said, headers={"Accept": "application/json, text/event-stream"})
    assert reply.status_code == 200, reply.text
    return dict(reply.json()["result"])


async def test_every_graph_is_an_mcp_tool_that_says_what_it_takes(
    client: LangGraphClient, http: httpx.AsyncClient, assistants: dict[str, str]
) -> None:
    await client.assistants.update(assistants["slice"], name="slice")  # two of one name would be no tool at all
    begun = await rpc(
        http,
        "/mcp",
        "initialize",
        protocolVersion="2025-06-18",
        capabilities={},
        clientInfo={"name": "test", "version": "1"},
    )
    assert "tools" in begun["capabilities"]
    tools = {tool["name"]: tool for tool in (await rpc(http, "/mcp", "tools/list"))["tools"]}
    assert set(tools) == {e.name for e in CATALOG} | {"slice"}
    for tool in tools.values():
        assert tool["inputSchema"]["type"] == "object"
        assert set(tool["inputSchema"]["properties"]) == {"messages", "task"}

    def called(name: str, **arguments: str) -> Coroutine[Any, Any, dict[str, Any]]:
        return rpc(http, "/mcp", "tools/call", name=name, arguments=arguments)

    spoken, refused, *results = await asyncio.gather(
        called("react", messages="What is 6 * 7?"), called("react"), *(called(e.name, task=QUESTION) for e in CATALOG)
    )
    assert "6 * 7 = 42" in spoken["content"][0]["text"]
    assert (refused["isError"], refused["content"][0]["text"]) == (True, "InputError")
    for entry, result in zip(CATALOG, results, strict=True):
        assert not result.get("isError")
        outcome = "failed" if entry.name == "research" else "completed"  # no folder was named
        assert f"'outcome': '{outcome}'" in result["content"][0]["text"]


@each
async def test_every_graph_has_an_agent_card(http: httpx.AsyncClient, assistants: dict[str, str], name: str) -> None:
    found = await http.get("/.well-known/agent-card.json", params={"assistant_id": assistants[name]})
    card = found.json()
    assert card["name"] == name
    assert card["url"].endswith(f"/a2a/{assistants[name]}")
    assert card["skills"][0]["metadata"]["inputSchema"]["supportsA2A"] is True


async def test_an_agent_elsewhere_sends_a_message_and_gets_the_answer_or_the_question(
    http: httpx.AsyncClient, assistants: dict[str, str]
) -> None:
    def message(text: str) -> dict[str, Any]:
        return {"role": "user", "parts": [{"kind": "text", "text": text}], "messageId": "m1"}

    task = await rpc(http, f"/a2a/{assistants['react']}", "message/send", message=message("What is 6 * 7?"))
    assert task["status"]["state"] == "completed"
    assert task["artifacts"][0]["parts"][0]["text"].startswith("6 * 7 = 42")
    task = await rpc(http, f"/a2a/{assistants['slice']}", "message/send", message=message("go"))
    assert task["status"]["state"] == "input-required"
    assert task["artifacts"][0]["parts"][0]["data"]["value"]["kind"] == "approval"


# the page about it, and the command line of it


@pytest.mark.parametrize("number", range(2))
def test_the_snippets_of_the_page_run(server: Server, tmp_path: Path, number: int) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(), re.DOTALL)
    assert len(snippets) == 2
    assert "http://127.0.0.1:2024" in snippets[number]
    script = tmp_path / "snippet.py"
    script.write_text(snippets[number].replace("http://127.0.0.1:2024", server.url))
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "completed" in ran.stdout


def test_blocking_is_never_allowed_and_no_browser_opens() -> None:
    words = serving.command("127.0.0.1", 4711)
    assert "--allow-blocking" not in words
    assert {"--no-browser", "--no-reload"} <= set(words)


def test_where_the_server_is_not_installed_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"motet\[serve\]"):
        serving.command("127.0.0.1", 4711)
