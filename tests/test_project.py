"""The project hangs together: packages, catalogue, tables, server configuration, README."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from graphs.catalog import CATALOG

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("state", "runtime", "tools", "nodes", "graphs", "motet")


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_comes_from_this_repository(name: str) -> None:
    module = importlib.import_module(name)
    assert Path(module.__file__ or "").resolve().parent == ROOT / name


def test_the_server_serves_exactly_the_catalogue() -> None:
    served = json.loads((ROOT / "langgraph.json").read_text())["graphs"]
    about = {e.name: f"{e.sentence} Use it when {e.use}; not when {e.avoid}." for e in CATALOG}
    assert served == {e.name: {"path": e.graph, "description": about[e.name]} for e in CATALOG}


@pytest.mark.parametrize("entry", CATALOG, ids=lambda e: e.name)
def test_each_entry_names_a_graph_and_a_stem_in_every_room(entry: object) -> None:
    module, _, attribute = entry.graph.partition(":")  # type: ignore[attr-defined]
    graph = getattr(importlib.import_module(module), attribute)
    assert graph.name == entry.name  # type: ignore[attr-defined]
    for room in ("graphs", "nodes", "state"):
        assert (ROOT / room / f"{entry.name}.py").exists()  # type: ignore[attr-defined]
    assert (ROOT / "tests" / f"test_{entry.name}.py").exists()  # type: ignore[attr-defined]


def tables() -> str:
    choice = ["| pattern | what it does | use it when | not when |", "|---|---|---|---|"]
    choice += [f"| `{e.name}` | {e.sentence} | {e.use} | {e.avoid} |" for e in CATALOG]
    price = ["| pattern | who hears whom | cost in model calls | it waits for |", "|---|---|---|---|"]
    price += [f"| `{e.name}` | {e.talk} | {e.cost} | {e.latency} |" for e in CATALOG]
    return "\n".join([*choice, "", *price])


def test_the_readme_shows_the_catalogue() -> None:
    shown = re.search(r"<!-- catalogue -->\n(.*?)\n?<!-- /catalogue -->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert shown.group(1).strip() == tables()


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(snippets())))
def test_every_snippet_of_the_readme_runs(number: int, tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(snippets()[number])
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()


def test_every_link_of_the_readme_and_the_docs_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_promise_of_a_pattern_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "patterns.md").read_text()
    sections = set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
    assert {e.name for e in CATALOG if not e.application} <= sections
    named = re.findall(r"`(test_\w+)::(\w+)`", page)
    assert len(named) > 300
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert all("`test_" in line for line in lines)
    source = {file: (ROOT / "tests" / f"{file}.py").read_text() for file, _ in named}
    missing = [(f, n) for f, n in named if not re.search(rf"(def|class) {n}\b|^{n} = ", source[f], re.MULTILINE)]
    assert missing == []


def test_every_command_of_the_readme_exists() -> None:
    from motet.cli import app

    commands = {c.callback.__name__ for c in app.registered_commands if c.callback}
    named = set(re.findall(r"^motet (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named <= commands
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert all(re.search(rf"^{t}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for t in targets)


def test_a_list_of_patterns_imports_no_engine_and_no_provider() -> None:
    heavy = ("langgraph", "openai", "langchain_core", "langchain_openai")
    code = f"import sys, motet.cli; print([m for m in {heavy!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
