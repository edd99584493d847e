import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.library import Library

FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "answers.py"
PASSAGES = {"a.md#x": "The limit is\n  **42** files.", "b.md#y": "Nothing of the sort."}


def loaded() -> Any:
    spec = importlib.util.spec_from_file_location("benchmarks_answers", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


answers = loaded()


def test_an_answer_scores_where_it_and_its_passage_hold_the_gold() -> None:
    found = answers.score("The limit is **42** files. [a.md#x]", "the LIMIT  is", PASSAGES.get)
    assert found == answers.Score(passage=True, answer=True, refused=False, cited=1, holding=1)


def test_a_passage_counts_only_when_it_is_cited() -> None:
    found = answers.score("The limit is **42** files.", "42", PASSAGES.get)
    assert (found.passage, found.answer, found.refused) == (False, True, True)


def test_a_citation_holds_only_with_its_own_sentence() -> None:
    text = "The limit is **42** files. [b.md#y] Nothing of the sort. [a.md#x] Gone. [c.md#z] [a.md#x]"
    found = answers.score(text, None, PASSAGES.get)
    assert (found.cited, found.holding) == (4, 0)


def test_words_past_the_400th_character_do_not_count() -> None:
    text = "x " * 200 + "42 [a.md#x]"
    assert not answers.score(text, "42", PASSAGES.get).answer
    assert answers.score(text, "42", PASSAGES.get).passage


def test_a_refusal_is_an_answer_that_cites_nothing() -> None:
    assert answers.score("The documents do not say.", None, PASSAGES.get).refused
    assert not answers.score("The documents do not say. [a.md#x]", None, PASSAGES.get).refused


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60), st.integers(0, 5))
def test_an_interval_holds_its_rate_and_is_the_same_for_the_same_seed(values: list[float], seed: int) -> None:
    found = answers.interval(values, seed)
    assert 0 <= found.low <= found.rate <= found.high <= 1
    assert found == answers.interval(values, seed)


def test_a_rate_of_all_or_none_has_no_width() -> None:
    assert (answers.interval([1.0] * 9, 0).low, answers.interval([0.0] * 9, 0).high) == (1.0, 0.0)


def test_a_limit_draws_the_same_questions_for_the_same_seed(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text("\n".join(json.dumps({"question": f"q{n}", "answer": None}) for n in range(30)))
    drawn = answers.questions(file, 5, 1)
    assert len(drawn) == 5
    assert drawn == answers.questions(file, 5, 1)
    assert len(answers.questions(file, None, 1)) == 30


def test_the_baseline_is_the_best_passages_best_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# A\n\nCats sleep a lot. The limit of open files is 42. Dogs bark.\n")
    (folder / "b.md").write_text("# B\n\nOther things altogether.\n")
    library = Library(folder, tmp_path / "index.db")
    library.refresh()
    assert answers.baseline(library, "What is the limit of open files?") == "The limit of open files is 42. [a.md#a]"
    assert answers.baseline(library, "zanzibar?") == ""


@pytest.fixture
def asked(tmp_path: Path) -> tuple[Path, Path]:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# Limits\n\nThe limit of open files is 42.\n\n# Cats\n\nCats sleep a lot.\n")
    rows = [
        {"question": "What is the limit of open files?", "answer": "42", "file": "a.md"},
        {"question": "Which Kubernetes operator restarts the reactor?", "answer": None},
    ]
    file = tmp_path / "q.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return folder, file


def test_it_runs_from_the_command_line_and_says_every_figure(asked: tuple[Path, Path], tmp_path: Path) -> None:
    folder, file = asked
    out = tmp_path / "out.json"
    command = [sys.executable, str(FILE), "--docs", str(folder), "--questions", str(file), "--json", str(out)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={"MOTET_HOME": str(tmp_path / "home")}, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert "offline/extractive" in done.stdout
    assert "citations of research: 1 of 1 exist" in done.stdout
    found = {row["measure"]: row for row in json.loads(out.read_text())["measures"]}
    assert found["cited passage contains the answer"]["research"]["rate"] == 1.0
    assert found["answer (≤ 400 characters) contains it"]["difference"]["rate"] == 0.0
    assert found["unanswerable refused"]["research"]["rate"] == 1.0
    assert found["answerable refused"]["research"]["rate"] == 0.0
