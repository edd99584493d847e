"""Live progress of a run on standard error: a table per agent on a terminal, a line per call elsewhere."""

import sys
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from motet import screen

KINDS = 5  # reasons for skipped files that are shown
FILES = 3  # files that are named for each


class Progress:
    """Takes in what a session tells. `thread` is empty until a run begins."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.thread = self.pattern = ""
        self.began = time.monotonic()
        self.running: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, event: Any) -> None:
        """Take in one event; those that a graph of somebody's own writes are passed over."""
        if not isinstance(event, dict):
            return
        if "pattern" in event and "thread" in event:
            self.thread, self.pattern = event["thread"], event["pattern"]
            if not self.quiet:
                self._begin()
        elif "docs" in event and not self.quiet:
            _tell_documents(event)
        elif "changed" in event and not self.quiet:
            screen.say(f"changed    {event['changed']}", "yellow")
        elif "budget" in event and not self.quiet:
            screen.say(f"budget     {event['budget']}", "yellow")
        elif event.get("call") in ("started", "ended") and "agent" in event:
            self._count(event)

    def _begin(self) -> None:
        screen.say(f"thread     {self.thread}")
        if screen.err.is_terminal:
            self.live = Live(
                console=screen.err,
                get_renderable=self.table,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self.live.start()

    def _count(self, event: dict[str, Any]) -> None:
        agent = event["agent"]
        if event["call"] == "started":
            self.running[agent] += 1
            return
        self.running[agent] -= 1
        self.done[agent] += 1
        if not self.quiet and self.live is None:
            where = f"{event.get('path', '')}/{event.get('visit', '')}".strip("/")
            screen.say(f"  {agent}  {where}")

    def table(self) -> Table:
        """Each agent: at work or done, how often it was called, how many calls run now."""
        made = Table(box=None, pad_edge=False, show_header=False)
        for agent in self.running:
            now, done = self.running[agent], self.done[agent]
            mark = Spinner("dots", style="cyan") if now > 0 else "[green]✓"
            calls = f"{done} call{'s' * (done != 1)}" if done else ""
            made.add_row(mark, agent, calls, f"[cyan]{now} running" if now > 1 else "")
        made.add_row("", f"[dim]{time.monotonic() - self.began:.0f} s", "", "")
        return made


def _tell_documents(event: dict[str, Any]) -> None:
    done = event.get("refreshed")
    if done is None:
        screen.say(f"documents  {event['docs']}: looking through …")
        return
    screen.say(f"documents  {done.read:,} read, {done.unchanged:,} unchanged, {len(done.skipped):,} skipped")
    why: dict[str, list[str]] = {}
    for file, reason in done.skipped:
        why.setdefault(reason, []).append(file)
    told = sorted(why.items(), key=lambda pair: len(pair[1]))
    for reason, files in told[:KINDS]:
        more = f" and {len(files) - FILES:,} more" if len(files) > FILES else ""
        screen.say(f"  skipped  {', '.join(files[:FILES])}{more}: {reason}")
    if rest := told[KINDS:]:
        screen.say(f"  skipped  {sum(len(files) for _, files in rest):,} more, for {len(rest)} other reasons")
