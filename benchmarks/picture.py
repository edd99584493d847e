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

QUESTION = "What happens to agent calls after a kill -9?"
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


def screen_of(text: str) -> str:
    """What stays on the screen: live progress goes up over its own lines, and clears them."""
    lines, row = [""], 0
    for part in re.split(r"(\n|\r|\x1b\[\d*[AK]|\x1b\[\?\d+[hl])", text):
        if part == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif part.endswith("A") and part.startswith("\x1b"):
            row = max(0, row - int(part[2:-1] or 1))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part and part != "\r" and not part.startswith("\x1b[?"):
            lines[row] += part
    return "\n".join(lines).strip()


def main() -> None:
    """Run, and draw what stays on the screen."""
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"COLUMNS": str(WIDTH), "LINES": "50", "MOTET_HOME": home, "TERM": "xterm-256color"}
        text = recorded(COMMAND).replace(home, "~/.motet").replace(f"{Path.cwd()}/", "")
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text.from_ansi(f"$ {shlex.join(COMMAND)}\n{screen_of(text)}"))
    picture = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="motet"), flags=re.DOTALL)  # no web fonts
    Path("docs/run.svg").write_text(picture, "utf-8")


if __name__ == "__main__":
    main()
