"""What stands on the screen: nothing hidden, nothing endless, nothing taken for markup."""

import json
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from motet import screen, view
from motet.ended import Ended, Question
from motet.progress import Progress
from tools.library import Refreshed


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """A terminal of 60 columns in place of both streams."""
    written = StringIO()
    for name in ("out", "err"):
        monkeypatch.setattr(screen, name, Console(file=written, force_terminal=True, width=60, highlight=False))
    return written


def test_what_drives_a_terminal_or_hides_text_is_made_visible() -> None:
    assert screen.clean("a\x1b[2Jb\r\x07\x9b c\u202ed\u200b") == "a\\x1b[2Jb\\x0d\\x07\\x9b c\\u202ed\\u200b"
    assert screen.clean("straße\n\t漢字 🎵") == "straße\n\t漢字 🎵"


def test_an_answer_is_written_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    answer = "Refunds [handbook.md#refunds]\n\n[bold]not markup[/bold]\t" + "long " * 100
    view.ended(Ended(thread="t", pattern="react", outcome="completed", answer=answer), as_json=False)
    assert capsys.readouterr().out == answer + "\n"


def test_sources_that_the_answer_does_not_name_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    ended = Ended(
        thread="t", pattern="react", outcome="completed", answer="so [a.md#x]", citations=["a.md#x", "b.md#y"]
    )
    view.ended(ended, as_json=False)
    assert "sources    b.md#y\n" in capsys.readouterr().err


def test_a_table_folds_on_a_terminal_and_keeps_its_lines_elsewhere(
    capsys: pytest.CaptureFixture[str], terminal: StringIO
) -> None:
    wide = screen.table("name", "text", rows=[("[x]", "word " * 40)])
    screen.show(wide)
    assert max(len(line) for line in Text.from_ansi(terminal.getvalue()).plain.splitlines()) <= 60
    screen.show(wide, Console(highlight=False))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("[x]   word word")


def test_every_open_question_can_be_answered_by_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    request = {
        "kind": "escalation",
        "action_requests": [{"name": "clerk", "args": {"why": "'"}, "description": ""}],
        "review_configs": [{"action_name": "clerk", "allowed_decisions": ["respond", "reject"]}],
    }
    questions = [Question("q1", request), Question("q2", request)]
    view.ended(Ended(thread="t", pattern="react", outcome="waiting", questions=questions), as_json=False)
    said = capsys.readouterr().err
    typed = said.split("--answer '")[1].split("'\n")[0]
    assert json.loads(typed) == {i: {"decisions": [{"type": "respond", "message": "…"}]} for i in ("q1", "q2")}


def test_a_large_state_stays_readable(capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("x" * 50_000, {"a": "x" * 50_000}, ["x" * 50_000, None], [{"type": "ai", "content": "x" * 50_000}]):
        view.channel("large", value)
        said = capsys.readouterr().out
        assert said.startswith("large")
        assert len(said) < 3_000
        assert "characters; --json shows all)" in said


def test_events_of_other_peoples_graphs_are_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(quiet=False) as progress:
        for event in (
            "text",
            7,
            None,
            {"call": "started"},
            {"agent": "a"},
            {"agent": "a", "call": "flew"},
            {"thread": 1},
        ):
            progress.show(event)
    assert (progress.thread, capsys.readouterr().err) == ("", "")


def test_a_terminal_shows_each_agent_at_work_and_leaves_no_trace_of_it(terminal: StringIO) -> None:
    with Progress(quiet=False) as progress:
        progress.show({"thread": "t", "pattern": "react"})
        for call in ("started", "started", "ended", "started"):
            progress.show({"agent": "clerk", "path": "", "visit": "x", "call": call})
        drawn = Console(file=StringIO(), width=60)
        drawn.print(progress.table())
        assert "clerk  1 call  2 running" in drawn.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert terminal.getvalue().startswith("thread     t\n")


def test_skipped_files_are_counted_by_reason_and_some_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = [(f"{n}.bin", "not a kind of file that is read") for n in range(40)] + [("a.pdf", "broken PDF")]
    skipped += [(f"odd{n}", f"reason {n}") for n in range(9)]
    with Progress(quiet=False) as progress:
        progress.show({"docs": "/d", "refreshed": Refreshed(2, 1_000, 0, skipped)})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "documents  2 read, 1,000 unchanged, 50 skipped"
    assert "  skipped  a.pdf: broken PDF" in lines
    assert lines[-1] == "  skipped  45 more, for 6 other reasons"
    assert len(lines) == 7


def test_a_program_gets_json_and_no_line_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[Any] = []
    for show in (view.threads, view.doctor, view.catalogue, view.history):
        show([], True)
        shown.append(json.loads(capsys.readouterr().out))
    assert shown == [[], [], [], []]
