"""The command line: what a user sees, what a program reads, and what is refused."""

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from graphs.catalog import CATALOG
from motet import asking, serving
from motet.cli import app
from motet.ended import Ended, Question
from motet.session import Session
from motet.turns import turn

HERE = Path(__file__).parent
SLICE = "slice_app:graph"
APPROVE = '{"decisions": [{"type": "approve"}]}'
SUM = ["react", "What is 6 * 7?"]
COMMANDS = (
    "run",
    "patterns",
    "show",
    "threads",
    "history",
    "state",
    "resume",
    "fork",
    "verify",
    "prune",
    "serve",
    "doctor",
)


def motet(*words: str, given: str | bytes | None = None) -> Any:
    """One command, in this process."""
    return CliRunner().invoke(app, list(words), input=given)


def plain(*words: str) -> Any:
    """What a command says to a program."""
    return json.loads(motet(*words, "--json").stdout)


def error_of(result: Any, status: int = 2) -> str:
    """The one line by which a command refuses, which is all it says."""
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    assert not result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def process(*words: str, **options: Any) -> subprocess.Popen[str]:
    """One command, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parent}"} | options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", "motet.cli", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


# help and lists


@pytest.mark.parametrize("words", [["--help"], ["patterns"], ["patterns", "--json"], ["run", "--help"]])
def test_help_and_the_list_of_patterns_load_neither_the_engine_nor_a_provider(words: list[str]) -> None:
    code = (
        "import sys; from motet.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "print([m for m in ('langgraph', 'langchain_core', 'langchain_openai', 'openai') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, *words], cwd=HERE.parent, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command_and_every_exit_status() -> None:
    said = motet("--help").stdout
    assert all(f"\n  {name} " in said for name in COMMANDS)
    for status in ("0 completed or degraded", "2 usage", "3 waiting", "4 out of budget", "5 failed", "130 cancelled"):
        assert status in " ".join(said.split())


def test_patterns_are_listed_for_people_and_for_programs() -> None:
    assert [p["name"] for p in plain("patterns")] == [e.name for e in CATALOG]
    said = motet("patterns").stdout
    assert all(e.name in said and e.sentence in said and e.cost in said for e in CATALOG)


@pytest.mark.parametrize("name", [e.name for e in CATALOG] + [SLICE])
def test_show_draws_a_pattern_and_says_what_it_takes_and_costs(name: str) -> None:
    described = plain("show", name)
    assert {"name", "sentence", "use", "avoid", "cost", "figure", "options", "mermaid"} <= described.keys()
    assert "__start__" in described["mermaid"]
    said = motet("show", name).stdout
    assert (described["figure"] or described["mermaid"].strip()) in said
    assert "langgraph." not in said
    assert motet("show", name, "--mermaid").stdout.strip() == described["mermaid"].strip()


# runs


def test_the_answer_alone_goes_to_standard_output() -> None:
    ran = motet("run", *SUM)
    assert ran.exit_code == 0
    assert "42" in ran.stdout
    assert ran.stderr.startswith("thread     react-")
    assert "completed" in ran.stderr
    assert "tokens in" in ran.stderr
    assert "42" not in ran.stderr


def test_progress_is_a_line_per_call_where_nobody_looks() -> None:
    lines = motet("run", SLICE, "go", "--approve", "auto").stderr.splitlines()
    assert "  planner  plan/0/0" in lines
    assert "  clerk  work/0/a/generate/0/think/1" in lines


def test_a_program_reads_json_and_nothing_else() -> None:
    ran = motet("run", *SUM, "--thread", "sums", "--json")
    said = json.loads(ran.stdout)
    assert {"outcome", "reason", "answer", "citations", "usage", "thread"} <= said.keys()
    assert (said["outcome"], said["thread"], ran.stderr) == ("completed", "sums", "")
    again = plain("resume", "sums")
    assert again == said


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("completed", 0),
        ("degraded", 0),
        ("waiting", 3),
        ("out_of_budget", 4),
        ("failed", 5),
        ("rejected", 5),
        ("escalated", 5),
        ("cancelled", 130),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_the_exit_status_says_how_it_ended(outcome: str, status: int, as_json: bool) -> None:
    async def work(session: Session, **how: Any) -> Ended:
        return Ended(thread="t", pattern="react", outcome=outcome)

    assert turn("memory://", as_json, work) == status


def test_a_budget_that_is_spent_is_an_outcome_with_a_status_of_its_own() -> None:
    ran = motet("run", *SUM, "--budget-tokens", "1")
    assert ran.exit_code == 4
    assert "out_of_budget" in ran.stderr


def test_the_question_may_come_from_standard_input_or_as_a_whole_task(tmp_path: Path) -> None:
    assert "42" in motet("run", "react", "-", given="What is 6 * 7?\n").stdout
    assert "42" in motet("run", "react", "--input", '{"goal": "What is 6 * 7?"}').stdout
    (tmp_path / "task.json").write_text('{"goal": "What is 6 * 7?"}')
    assert "42" in motet("run", "react", "--input", f"@{tmp_path / 'task.json'}").stdout


def test_options_reach_the_run() -> None:
    words = ["--tier", "judge=offline", "--model", "offline", "--max-seconds", "9", "--max-concurrency", "3"]
    motet("run", *SUM, "--thread", "t", *words, "--budget-usd", "0.5", "--context", '{"seed": 3}')
    (thread,) = plain("threads")
    assert (thread["thread"], thread["pattern"], thread["outcome"]) == ("t", "react", "completed")


def test_a_waiting_run_says_what_it_asks_and_how_to_answer() -> None:
    ran = motet("run", SLICE, "go", "--thread", "t")
    assert ran.exit_code == 3
    assert 'send {"to": "ann"}' in ran.stderr
    assert f"motet resume t --answer '{APPROVE}'" in ran.stderr
    assert motet("resume", "t").exit_code == 3
    done = motet("resume", "t", "--answer", APPROVE)
    assert (done.exit_code, done.stdout.strip()) == (0, "all done")


def test_approval_may_be_given_or_refused_beforehand() -> None:
    assert motet("run", SLICE, "go", "--approve", "auto").stdout.strip() == "all done"
    motet("run", SLICE, "go", "--thread", "t", "--approve", "deny")
    assert "send" not in [r.get("tool") for r in plain("state", "t")["records"]]


def test_somebody_at_the_terminal_is_asked_and_asked_again_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["", "perhaps", "e", "[1", "edit", "[1]", "e", '{"to": "zoe"}'])
    monkeypatch.setattr(asking, "somebody", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: next(typed))
    ran = motet("run", SLICE, "go", "--thread", "t")
    assert (ran.exit_code, ran.stdout.strip()) == (0, "all done")
    sent = [r for r in plain("state", "t")["records"] if r.get("tool") == "send"]
    assert [r["args"] for r in sent] == [{"to": "zoe"}]


def test_a_policy_can_be_given_for_one_tool_and_to_what_is_already_open() -> None:
    assert motet("run", SLICE, "go", "--approve", "clerk.send=auto").exit_code == 0
    assert motet("run", SLICE, "go", "--thread", "t", "--approve", "send=ask by eve within 3600").exit_code == 3
    assert "send is decided by eve, not by" in error_of(motet("resume", "t", "--answer", APPROVE))
    assert motet("resume", "t", "--approve", "send=auto").stdout.strip() == "all done"
    assert [r["by"] for r in plain("state", "t")["records"] if r["kind"] == "human"] == ["policy"]


def test_an_answer_typed_under_the_wrong_name_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = iter(["approve", "ann", "approve", "eve"])
    monkeypatch.setattr(asking, "somebody", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: next(lines))
    ran = motet("run", SLICE, "go", "--approve", "send=ask by eve")
    assert (ran.exit_code, ran.stdout.strip()) == (0, "all done")
    assert "send is decided by eve, not by ann" in " ".join(ran.stderr.split())


@pytest.mark.parametrize("leaves", [EOFError, KeyboardInterrupt])
def test_whoever_leaves_a_question_finds_it_open_again(monkeypatch: pytest.MonkeyPatch, leaves: Any) -> None:
    def left() -> str:
        raise leaves

    monkeypatch.setattr(asking, "somebody", lambda: True)
    monkeypatch.setattr("builtins.input", left)
    assert motet("run", SLICE, "go", "--thread", "t").exit_code == 3
    monkeypatch.setattr(asking, "somebody", lambda: False)
    assert motet("resume", "t", "--answer", APPROVE).exit_code == 0


def test_every_kind_of_decision_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    def question(*allowed: str) -> Question:
        action = {"name": "x", "args": {}, "description": ""}
        config = {"action_name": "x", "allowed_decisions": list(allowed)}
        return Question("q", {"kind": "approval", "action_requests": [action], "review_configs": [config]})

    def typed(*lines: str) -> None:
        left = iter(lines)
        monkeypatch.setattr("builtins.input", lambda: next(left))

    typed("a")
    assert asking.ask([question("approve", "reject")]) == {"q": {"decisions": [{"type": "approve"}], "by": "terminal"}}
    typed("rej", "not now")
    (said,) = (asking.ask([question("approve", "reject")]) or {})["q"]["decisions"]
    assert said == {"type": "reject", "message": "not now"}
    typed("respond", "", "r", "because")
    (said,) = (asking.ask([question("respond")]) or {})["q"]["decisions"]
    assert said == {"type": "respond", "message": "because"}


# looking back


def test_threads_tell_truly_how_each_stands() -> None:
    motet("run", *SUM, "--thread", "done")
    motet("run", SLICE, "go", "--thread", "waits")
    assert {t["thread"]: t["outcome"] for t in plain("threads")} == {"waits": "waiting", "done": "completed"}
    lines = motet("threads", "--limit", "1").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["thread", "waits"]


def test_history_and_state_show_steps_values_nested_graphs_and_calls() -> None:
    motet("run", SLICE, "go", "--thread", "t")
    steps = plain("history", "t")
    assert [s["next"] for s in steps][::-1] == [["__start__"], ["begin"], ["plan"], ["assign"], ["team", "counter"]]
    assert all(s["at"] in motet("history", "t").stdout for s in steps)
    state = plain("state", "t")
    assert state["values"]["task"]["goal"] == "go"
    assert [n["next"] for n in state["nested"]] == [["generate"], ["gate"]]
    deepest = state["nested"][-1]["inside"]
    inner = plain("state", "t", "--inside", deepest)
    assert [r["visit"] for r in inner["records"]] == ["think/1", "act/1/0", "think/2", "gate/2"]
    assert plain("history", "t", "--inside", deepest)[0]["next"] == ["gate"]
    assert plain("state", "t", "--at", steps[-2]["at"])["records"] == []
    shown = motet("state", "t").stdout
    assert "human: go" in shown
    assert deepest in shown
    assert ["work/0/a/generate/0/gate/2", "human", "clerk", "open", "0.0"] in [x.split() for x in shown.splitlines()]


def test_a_fork_names_its_branch_and_runs_on() -> None:
    motet("run", SLICE, "go", "--thread", "t", "--approve", "auto")
    step = next(s["at"] for s in plain("history", "t") if s["next"] == ["team", "counter"])
    assert plain("fork", "t", "--at", step, "--no-run") == {"thread": "t", "branch": "main-1"}
    ran = motet("fork", "t", "--at", step)
    assert "branch     main-2 of t" in ran.stderr
    assert ran.stdout.strip() == "all done"
    assert plain("fork", "t", "--at", step)["branch"] == "main-3"


def test_a_fork_inside_a_nested_graph_runs_on_from_there() -> None:
    motet("run", SLICE, "go", "--thread", "t")
    deepest = plain("state", "t")["nested"][-1]["inside"]
    step = plain("history", "t", "--inside", deepest)[0]["at"]
    motet("resume", "t", "--answer", APPROVE)
    ran = motet("fork", "t", "--at", step, "--inside", deepest)
    assert ran.exit_code == 3
    assert 'send {"to": "ann"}' in ran.stderr


def test_doctor_says_what_is_configured_and_fails_where_something_is_not(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert motet("doctor").exit_code == 0
    found = {f["what"]: f for f in plain("doctor")}
    assert str(own_home) in found["home"]["is"]
    assert all(f["ok"] for f in found.values())
    monkeypatch.setenv("MOTET_JUDGE", "openai:gpt-7")
    broken = motet("doctor", "--json")
    assert broken.exit_code == 5
    (fault,) = [f for f in json.loads(broken.stdout) if not f["ok"]]
    assert fault["what"] == "model openai:gpt-7 (judge)"
    assert "OPENAI_API_KEY" in fault["is"]


def test_serve_becomes_the_development_server_with_ten_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *args: became.append(args))
    monkeypatch.setattr(os, "chdir", lambda path: None)
    assert motet("serve", "--port", "4711").exit_code == 0
    words = became[0][1]
    assert words[1:3] == ["dev", "--config"]
    assert (words[words.index("--port")], words[words.index("--port") + 1]) == ("--port", "4711")
    assert words[words.index("--n-jobs-per-worker") + 1] == "10"
    monkeypatch.setattr(serving, "CONFIG", Path("/nowhere/langgraph.json"))
    assert "serve from a clone" in error_of(motet("serve"))


# what is refused, each with one line, and before anything is saved

REFUSED: list[tuple[list[str], str]] = [
    (["run", "react", ""], "the input is empty"),
    (["run", "react", " \n\t "], "the input is empty"),
    (["run", "react"], "the input is empty"),
    (["run", "react", "go", "--input", "{}"], "given twice"),
    (["run", "react", "--input", "{}"], "`task` is not a Task: goal"),
    (["run", "react", "--input", '{"goal": " "}'], "goal is empty"),
    (["run", "react", "--input", '{"goal": "go", "gaol": 1}'], "gaol"),
    (["run", "react", "--input", "{goal"], "--input is not valid JSON"),
    (["run", "react", "--input", "[1]"], "--input must be a JSON object"),
    (["run", "react", "--input", "@nowhere.json"], "--input: nowhere.json cannot be read: No such file"),
    (["run", "reakt", "go"], "no pattern is called 'reakt'; did you mean react"),
    (["show", "reakt"], "no pattern is called 'reakt'; did you mean react"),
    (["run", "nowhere:graph", "go"], "No module named 'nowhere'"),
    (["run", "slice_app:graf", "go"], "slice_app has no 'graf'; it has team, graph"),
    (["run", "slice_app:LOG", "go"], "'slice_app:LOG' is a str, not a graph of ours"),
    (["run", "./slice_app.py:graph", "go"], "write MODULE:ATTRIBUTE"),
    (["run", "slice_app:", "go"], "write MODULE:ATTRIBUTE"),
    (["run", *SUM, "--docs", "nowhere"], "no such folder: "),
    (["run", *SUM, "--tier", "worker"], "--tier worker does not fit: write planner=NAME"),
    (["run", *SUM, "--tier", "boss=offline"], "--tier boss=offline does not fit"),
    (["run", *SUM, "--tier", "worker="], "--tier worker= does not fit"),
    (["run", *SUM, "--model", "openai:gpt-7"], "set OPENAI_API_KEY"),
    (["run", *SUM, "--model", "gpt-7"], "no model is called 'gpt-7'; known: offline"),
    (["run", *SUM, "--context", "{"], "--context is not valid JSON"),
    (["run", *SUM, "--context", "@nowhere.json"], "nowhere.json cannot be read"),
    (["run", *SUM, "--context", '{"sede": 1}'], "Known options: planner, worker, judge"),
    (["run", *SUM, "--budget-usd", "inf"], "max_usd"),
    (["run", *SUM, "--thread", " "], "cannot name a thread"),
    (["run", *SUM, "--db", "threads.db"], "use sqlite:///PATH or memory://"),
    (["resume", "nobody"], "no thread is called 'nobody'; there are no threads yet"),
    (["history", "nobody"], "no thread is called 'nobody'"),
    (["state", "nobody"], "no thread is called 'nobody'"),
    (["fork", "nobody", "--at", "x"], "no thread is called 'nobody'"),
    (["fork", "nobody", "--at", "x", "--set", "go"], "--set go does not fit: write NAME=JSON"),
    (["fork", "nobody", "--at", "x", "--set", "task=go"], "--set task is not valid JSON"),
    (["resume", "nobody", "--answer", "yes"], "--answer is not valid JSON"),
]


@pytest.mark.parametrize(("words", "says"), REFUSED, ids=[" ".join(words)[:60] for words, _ in REFUSED])
def test_what_is_wrong_is_refused_in_one_line_and_leaves_nothing_behind(words: list[str], says: str) -> None:
    assert says in error_of(motet(*words))
    assert plain("threads") == []


@pytest.mark.parametrize(
    "words",
    [
        ["--budget-tokens", "0"],
        ["--budget-tokens", "-5"],
        ["--budget-tokens", "many"],
        ["--budget-usd", "0"],
        ["--budget-usd", "-1"],
        ["--budget-usd", "nan"],
        ["--max-seconds", "0"],
        ["--max-concurrency", "0"],
        ["--max-concurrency", "1.5"],
        ["--approve", "perhaps"],
        ["--approve", "send=perhaps"],
    ],
)
def test_impossible_limits_are_refused_by_their_option(words: list[str]) -> None:
    ran = motet("run", *SUM, *words)
    assert ran.exit_code == 2
    assert f"Invalid value for '{words[0]}'" in ran.stderr
    assert plain("threads") == []


def test_a_refusal_is_json_too_for_programs() -> None:
    ran = motet("run", "reakt", "go", "--json")
    assert ran.exit_code == 2
    assert json.loads(ran.stdout)["kind"] == "InputError"


def test_a_question_of_a_megabyte_or_of_no_text_is_refused() -> None:
    assert "at most 200,000 are taken" in error_of(motet("run", "react", "-", given="x" * 2**20))
    assert "not UTF-8" in error_of(motet("run", "react", "-", given=b"\xff\xfe"))
    assert "not valid UTF-8" in error_of(motet("run", "react", "what is \udcff?"))


def test_a_module_that_breaks_when_it_is_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, source in {"broken": "1 / 0", "leaves": "raise SystemExit(7)", "unread": "graph ="}.items():
        (tmp_path / f"{name}_team.py").write_text(source)
        assert f"{name}_team raised " in error_of(motet("run", f"{name}_team:graph", "go"))


def test_a_folder_that_cannot_be_read_is_refused_and_an_unreadable_file_is_named(tmp_path: Path) -> None:
    empty, file = tmp_path / "empty", tmp_path / "file.md"
    empty.mkdir()
    file.write_text("# Sums\n\nSix times seven is 42.\n")
    assert "nothing readable" in error_of_docs(motet("run", *SUM, "--docs", str(empty)))
    assert "is not a folder" in error_of(motet("run", *SUM, "--docs", str(file)))
    assert plain("threads") == []
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    ran = motet("run", *SUM, "--docs", str(tmp_path))
    assert ran.exit_code == 0
    assert "1 read, 0 unchanged, " in ran.stderr
    assert "  skipped  broken.pdf: broken PDF" in ran.stderr


def error_of_docs(result: Any) -> str:
    """As `error_of`, below the note that the folder is looked through."""
    lines = result.stderr.splitlines()
    assert (result.exit_code, len(lines), lines[0][:9]) == (2, 2, "documents")
    return str(lines[1])


def test_steps_and_answers_of_others_are_refused() -> None:
    motet("run", SLICE, "go", "--thread", "t")
    motet("run", *SUM, "--thread", "sums")
    step = plain("history", "t")[0]["at"]
    for words in (["state", "sums", "--at", step], ["fork", "sums", "--at", step]):
        assert f"'sums' has no step '{step}'" in error_of(motet(*words))
    assert "names no nested graph" in error_of(motet("state", "t", "--inside", "crew:1"))
    assert "no step" in error_of(motet("state", "t", "--inside", "team:1"))
    assert "the state has no tsak; it has answer, " in error_of(
        motet("fork", "t", "--at", step, "--set", "tsak=1", "--no-run")
    )
    assert "no question 'q'" in error_of(motet("resume", "t", "--answer", '{"q": {}}'))
    assert "asks nothing (completed)" in error_of(motet("resume", "sums", "--answer", APPROVE))
    assert "belongs to react" in error_of(motet("run", "critic", "go", "--thread", "sums"))
    assert 'send {"to": "ann"}' in error_of(motet("run", SLICE, "go on", "--thread", "t"))
    assert motet("run", SLICE, "go on", "--thread", "t", "--discard", "--approve", "auto").exit_code == 0


def test_a_fault_nobody_foresaw_is_one_line_and_status_five(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("oh\nno")

    monkeypatch.setattr("motet.view.catalogue", breaks)
    assert error_of(motet("patterns"), status=5) == "RuntimeError: oh (MOTET_TRACEBACK=1 shows where)"


def test_a_graph_that_raises_ends_its_run_as_failed_and_can_be_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("nodes.orchestrator_worker.inputs_of", lambda *_: {}[0])
        ran = motet("run", SLICE, "go", "--thread", "t", "--approve", "auto", "--json")
    said = json.loads(ran.stdout)
    assert (ran.exit_code, said["outcome"], said["unfinished"]) == (5, "failed", True)
    assert said["reason"] == "KeyError: 0 (MOTET_TRACEBACK=1 shows where)"
    assert motet("resume", "t").stdout.strip() == "all done"


# databases that fail


def test_a_database_that_cannot_be_opened_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "random.db").write_bytes(os.urandom(9000))
    (tmp_path / "folder.db").mkdir()
    for path in (tmp_path / "random.db", tmp_path / "folder.db", "/proc/none/threads.db"):
        said = error_of(motet("run", *SUM, "--db", f"sqlite:///{path}"))
        assert f"the database {path} cannot be used" in said
        assert "--db" in said


def test_a_truncated_database_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    for n in range(6):
        motet("run", *SUM, "--thread", f"t{n}", "--db", f"sqlite:///{path}")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    for words in (["threads"], ["resume", "t1"], ["run", *SUM]):
        assert "database" in error_of(motet(*words, "--db", f"sqlite:///{path}"))
    path.write_bytes(whole)
    assert len(json.loads(motet("threads", "--db", f"sqlite:///{path}", "--json").stdout)) == 6


def test_a_home_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTET_HOME", "/proc/none")
    assert "set MOTET_HOME" in error_of(motet("run", *SUM))


def test_a_full_disk_ends_the_run_and_it_goes_on_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    url = f"sqlite:///{path}"
    motet("run", *SUM, "--thread", "before", "--db", url)

    def little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    ran = process("run", SLICE, "go", "--thread", "t", "--approve", "auto", "--db", url, preexec_fn=little_room)
    _, said = ran.communicate(timeout=60)
    assert ran.returncode == 5, said
    assert "Traceback" not in said
    assert f"failed: the database {path} stopped working: " in said
    assert "What was saved stands: look at the disk and the room on it, then resume" in said
    assert "go on      motet resume t" in said
    done = motet("resume", "t", "--db", url)
    assert (done.exit_code, done.stdout.strip()) == (0, "all done")
    found = {t["thread"]: t["outcome"] for t in json.loads(motet("threads", "--db", url, "--json").stdout)}
    assert found == {"t": "completed", "before": "completed"}


# stopping


def wait_for(log: Path, calls: int) -> None:
    """Until so many calls have begun."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if log.exists() and len(log.read_text().splitlines()) >= calls:
            return
        time.sleep(0.01)
    raise AssertionError("it did not get that far")


@pytest.fixture
def slowly(tmp_path: Path) -> Callable[..., tuple[subprocess.Popen[str], Path]]:
    def start(*words: str) -> tuple[subprocess.Popen[str], Path]:
        log = tmp_path / "calls.log"
        environment = {"SLICE_LOG": str(log), "SLICE_PAUSE": "0.4"}
        return process("run", SLICE, "go", "--thread", "t", "--approve", "auto", *words, env=environment), log

    return start


Slowly = Callable[..., tuple[subprocess.Popen[str], Path]]


@pytest.mark.parametrize("as_json", [True, False])
def test_killed_in_the_middle_it_goes_on_and_no_finished_call_runs_again(slowly: Slowly, as_json: bool) -> None:
    running, log = slowly(*["--json"] * as_json)
    wait_for(log, 4)
    if not as_json:
        assert running.stderr is not None
        assert running.stderr.readline() == "thread     t\n"
    assert plain("threads")[0]["outcome"] == "running"
    running.kill()
    running.communicate(timeout=30)
    (thread,) = plain("threads")
    assert (thread["thread"], thread["outcome"]) == ("t", "unfinished")
    finished = {r["id"]: r for r in plain("state", "t")["records"] if r["outcome"] == "completed"}
    assert len(finished) >= 2
    done = motet("resume", "t")
    assert (done.exit_code, done.stdout.strip()) == (0, "all done")
    records = {r["id"]: r for r in plain("state", "t")["records"]}
    assert finished.items() <= records.items()
    ended = [(r["path"], r["visit"], r["kind"]) for r in records.values() if r["outcome"] == "completed"]
    assert len(ended) == len(set(ended))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_running_calls_end_and_says_how_to_go_on(slowly: Slowly, number: signal.Signals) -> None:
    running, log = slowly()
    wait_for(log, 2)
    running.send_signal(number)
    answer, said = running.communicate(timeout=30)
    assert (running.returncode, answer) == (130, "")
    assert "no new call starts" in said
    assert "go on      motet resume t" in said
    assert {r["outcome"] for r in plain("state", "t")["records"] if r["kind"] == "model"} == {"completed"}
    assert motet("resume", "t").stdout.strip() == "all done"


def test_a_second_signal_cancels_what_runs(slowly: Slowly) -> None:
    running, log = slowly("--json")
    wait_for(log, 2)
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    answer, _ = running.communicate(timeout=30)
    assert time.monotonic() - began < 3
    assert running.returncode == 130
    said = json.loads(answer)
    assert (said["outcome"], said["thread"], said["unfinished"]) == ("cancelled", "t", True)
    assert motet("resume", "t").stdout.strip() == "all done"
