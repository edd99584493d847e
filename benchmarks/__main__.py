"""All comparisons in one table: `python -m benchmarks`, or some of them by name.

Each row is a ratio within one run, against raw LangGraph or the physical limit, beside the limit that
the project holds itself to. Exit status 1 when a row is over.
"""

import argparse
import os
import sys

os.environ["LANGSMITH_TRACING"] = "false"

from rich.console import Console
from rich.table import Table

from benchmarks import fanout, growth, guard, plans, starts, steps, talks

ALL = {
    "steps": steps,
    "guard": guard,
    "fanout": fanout,
    "plans": plans,
    "growth": growth,
    "starts": starts,
    "talks": talks,
}


def main() -> int:
    """Measure what is named, or everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="which; all by default")
    names = parser.parse_args().names or list(ALL)
    table = Table("what", "baseline", "ours", "ratio", "limit", "", box=None)
    over = 0
    for name in names:
        for what, base, ours, ratio, limit in ALL[name].measure():
            over += ratio > limit
            table.add_row(
                what, f"{base:,.2f}", f"{ours:,.2f}", f"{ratio:.2f}", f"{limit:.2f}", "over" if ratio > limit else ""
            )
    Console().print(table)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
