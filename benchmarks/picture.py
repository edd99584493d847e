"""Draw docs/run.svg, the picture in the README: a real run in a terminal, as it looks there.

Run it from the root of the project: `python -m benchmarks.picture`.
"""

import io
import os
import pty
import re
import shlex
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

QUESTION = "What does a fork inherit, and what runs anew?"
COMMAND = ["motet", "run", "research", QUESTION, "--docs", "docs"]
WIDTH = 100


def recorded(words: list[str]) -> str:
    """What a command writes to a terminal of its own, colours included."""
    said = bytearray()

    def keep(terminal: int) -> bytes:
        data = os.read(terminal, 65536)
        said.extend(data)
        return data

    pty.spawn(words, keep)
    return said.decode()


def main() -> None:
    """Run, and draw what stays on the screen."""
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"COLUMNS": str(WIDTH), "LINES": "50", "MOTET_HOME": home, "TERM": "xterm-256color"}
        text = recorded(COMMAND).replace(home, "~/.motet")
    drawn = re.sub(r"(\x1b\[\d*[A-K]|\x1b\[\?\d+[hl])+", "\x00", text)  # what was drawn over: live progress
    kept = [line.rpartition("\x00")[2].rstrip("\r") for line in drawn.split("\n")]
    screen = Console(record=True, width=WIDTH, file=io.StringIO())
    screen.print(Text.from_ansi(f"$ {shlex.join(COMMAND)}\n" + "\n".join(kept).strip()))
    picture = re.sub(
        r"@font-face \{.*?\}\s*", "", screen.export_svg(title="motet"), flags=re.DOTALL
    )  # no fonts from the web
    Path("docs/run.svg").write_text(picture, "utf-8")


if __name__ == "__main__":
    main()
