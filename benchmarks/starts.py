"""What a command imports that only lists things: no engine and no provider."""

import subprocess
import sys
import time

HEAVY = ("langgraph", "langchain_core", "langchain_openai", "openai", "matplotlib", "pypdf")


def imported(*arguments: str) -> tuple[float, int]:
    """Seconds and the number of heavy packages that a command imports."""
    code = (
        "import sys\nfrom motet.cli import app\n"
        f"try:\n    app({list(arguments)!r})\nexcept SystemExit:\n    pass\n"
        f"print(sum(m in sys.modules for m in {HEAVY!r}), file=sys.stderr)"
    )
    began = time.perf_counter()
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return time.perf_counter() - began, int(ran.stderr.split()[-1])


def measure() -> list[tuple[str, float, float, float, float]]:
    """Rows of (what, baseline, ours, ratio, limit): the number of heavy packages, which must be 0."""
    rows = []
    for command in ("--help", "patterns"):
        seconds, heavy = imported(command)
        rows.append(
            (f"motet {command}: seconds, and heavy packages imported", seconds, float(heavy), float(heavy), 0.0)
        )
    return rows


if __name__ == "__main__":
    for row in measure():
        print(row)
