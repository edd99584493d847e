"""The sequence diagram: who said what to whom, folded from the book."""

import re
from typing import Any

import pytest
from makers import scripted
from typer.testing import CliRunner

from graphs import critic, pipeline
from graphs.bind import bind
from motet.cli import app
from motet.drawing import diagram
from runtime.book import Book
from runtime.persistence import Persistence
from runtime.travel import at
from state.agent import Agent
from state.critic import Critique
from state.sequence import sequence


async def book_of(memory: Persistence, graph: Any) -> Any:
    await memory.bind(graph).ainvoke({"task": "go"}, at("t"), durability="sync")
    return (await Book(memory.store, thread="t", branch="main", turn=1).load()).records()


async def test_every_call_stands_with_its_answer_under_who_made_it(memory: Persistence) -> None:
    accept = scripted("editor", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)
    team = bind(Agent(name="team", responsibility="Works."), critic.build(scripted("author", "a draft"), [accept]))
    records = await book_of(memory, pipeline.build(team, scripted("closer", "the end")))
    said = [(s.sender, s.recipient, s.answer) for s in sequence(records, "pipeline")]
    assert said == [
        ("pipeline", "team", False),
        ("team", "author", False),
        ("author", "team", True),
        ("team", "editor", False),
        ("editor", "team", True),
        ("team", "pipeline", True),
        ("pipeline", "closer", False),
        ("closer", "pipeline", True),
    ]


async def test_the_diagram_is_mermaid_whatever_the_names(memory: Persistence) -> None:
    records = await book_of(memory, pipeline.build(scripted("author", "a draft")))
    records[0]["visit"] = "odd; #visit\nend"
    lines = diagram(records, "pipeline").splitlines()
    assert lines[0] == "sequenceDiagram"
    assert all(re.fullmatch(r"    [\w ]+-?->>[\w ]+: [\w /~.,:-]+", line) for line in lines[1:])


def test_the_command_line_prints_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTET_DB", f"sqlite:///{tmp_path / 't.db'}")
    runner = CliRunner()
    assert runner.invoke(app, ["run", "critic", "What is a critic?", "--thread", "c"]).exit_code == 0
    shown = runner.invoke(app, ["diagram", "c"])
    assert shown.exit_code == 0
    assert "critic->>author: generate/0" in shown.output
