"""The report of a research job, as Markdown: question, summary, findings, charts, what is missing, what it cost."""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.home import home
from state.record import digest

UNFIT = re.compile(r"[^\w-]+")


def write_report(state: Mapping[str, Any], folder: Path, *, thread: str = "") -> Path:
    """Write the report of a final state into a folder, with the charts it shows beside it; returns its path.

    `thread` is the run's thread: its charts are found by it. The same turn of the same thread has the same file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = question_of(state)
    name = UNFIT.sub("-", asked.lower()).strip("-")[:60].rstrip("-") or "report"
    path = folder / f"{name}-{digest([thread, state.get('turn'), asked])[:8]}.md"
    pictures = home() / "files" / digest(thread)[:16]
    for chart in (state.get("answer") or {}).get("charts") or []:
        drawn = pictures / Path(chart["file"]).name
        if drawn.is_file():
            shutil.copyfile(drawn, folder / drawn.name)
    path.write_text("\n".join(lines(state)) + "\n", "utf-8")
    return path


def lines(state: Mapping[str, Any]) -> Iterator[str]:
    """The report, line by line."""
    answer = state.get("answer") or {}
    yield f"# {question_of(state)}"
    yield from ("", answer.get("text") or "There is no answer.", "")
    outcome = state.get("outcome") or "unfinished"
    yield f"*{outcome}{': ' + state['reason'] if state.get('reason') else ''}*"
    if claims := answer.get("claims"):
        yield from ("", "## Findings", "")
        for claim in claims:
            yield from _finding(claim)
    if charts := answer.get("charts"):
        yield from ("", "## Charts")
        for chart in charts:
            yield from ("", f"![{chart['title']}]({Path(chart['file']).name})")
    if missing := answer.get("missing"):
        yield from ("", "## Missing", "", *(f"- {what}" for what in missing))
    yield from _costs(state.get("usage") or {})


def question_of(state: Mapping[str, Any]) -> str:
    """What was asked, in one line: the task, or the newest human message where the state shows none."""
    task = state.get("task")
    said = task.get("goal", "") if isinstance(task, dict) else task or ""
    if not said:
        said = next((m.text for m in reversed(state.get("messages") or []) if m.type == "human"), "")
    return " ".join(str(said).split()) or "Report"


def _finding(claim: Mapping[str, Any]) -> Iterator[str]:
    yield f"- {claim['text']} [{claim['citation']}]"
    if claim.get("quote") and claim["quote"] != claim["text"]:
        yield f"  > {claim['quote']}"
    if claim.get("sql"):
        yield f"  `{' '.join(claim['sql'].split())}`"


def _costs(usage: Mapping[str, Any]) -> Iterator[str]:
    if not usage:
        return
    yield from ("", "## Cost", "", "| agent | calls | tokens in | tokens out | US dollars |", "|---|--:|--:|--:|--:|")
    for name, used in usage.items():
        dollars = used["cost_microusd"] / 1_000_000
        yield f"| {name} | {used['calls']} | {used['tokens_in']} | {used['tokens_out']} | {dollars:.4f} |"
