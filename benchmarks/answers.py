"""How good the answers are: the research job, one single agent and a plain baseline on the same questions.

    python benchmarks/answers.py --docs DIR --questions FILE.jsonl [--limit N] [--seed N] [--json FILE]

--docs and --questions may be given several times, in pairs: the figures are then those of all questions.

Each line of FILE has `question`, `answer` (a text that a right answer holds, or null where the documents
do not say) and, if it likes, `file`. Everything runs on the offline model, without a key.

    research   the application, as `motet run research` runs it
    one agent  one `react` agent with the same search tool
    baseline   the best BM25 passage for the question as it stands; of that passage the sentence that shares
               most words with the question, stop words aside (of equals the first); it never refuses

A passage or an answer contains the gold answer when it does so with white space evened out and case aside;
of an answer only the first 400 characters count, its citations among them. A passage counts when it is cited
in the answer's text. An answer that cites nothing is a refusal. A citation holds when its passage exists and
what stands before it, back to the citation before, stands in that passage word for word. Intervals are 95 %
bootstrap intervals over questions; differences are paired.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from graphs import react, research
from nodes.prompt import CITED
from runtime.offline.text import sentences, stems, terms
from state.agent import Agent
from tools.documents import SEARCH, library_of
from tools.library import Library

LONGEST = 400  # characters of an answer that count
RESAMPLES = 2_000
SOLO = Agent(name="solo", responsibility="Answers a question from the documents, with their sources.", tools=(SEARCH,))
SYSTEMS = ("research", "one agent", "baseline")


@dataclass(frozen=True, slots=True)
class Score:
    """What one answer is worth; `holding` of `cited` citations hold."""

    passage: bool
    answer: bool
    refused: bool
    cited: int
    holding: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A rate with its 95 % interval."""

    rate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.rate:5.1f} [{100 * self.low:5.1f}, {100 * self.high:5.1f}]"


def even(text: str) -> str:
    """White space evened out, case aside."""
    return " ".join(text.split()).casefold()


def score(text: str, gold: str | None, passage_of: Callable[[str], str | None]) -> Score:
    """Score an answer's text; `passage_of` gives the text behind a reference, or None."""
    said, sources = CITED.split(text)[::2], CITED.findall(text)
    passages = [passage_of(source) for source in sources]
    holding = sum(
        found is not None and bool(even(words)) and even(words) in even(found)
        for words, found in zip(said, passages, strict=False)
    )
    wanted = None if gold is None else even(gold)
    return Score(
        passage=wanted is not None and any(wanted in even(found) for found in passages if found is not None),
        answer=wanted is not None and wanted in even(text[:LONGEST]),
        refused=not sources,
        cited=len(sources),
        holding=holding,
    )


def baseline(library: Library, question: str) -> str:
    """The plain answer: the best passage's best-matching sentence, with its reference."""
    found = library.search(question, limit=1)
    if not found:
        return ""
    wanted = set(terms(question))
    said = sentences(found[0].text)
    best = max(said, key=lambda s: len(wanted & set(stems(s))), default="")
    return f"{best[:LONGEST]} [{found[0].reference}]"


def interval(values: Sequence[float], seed: int) -> Interval:
    """The mean, and the middle 95 % of its bootstrap distribution."""
    if not values:
        return Interval(float("nan"), float("nan"), float("nan"))
    dice, n = random.Random(seed), len(values)
    means = sorted(sum(dice.choices(values, k=n)) / n for _ in range(RESAMPLES))
    return Interval(sum(values) / n, means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1])


def questions(file: Path, limit: int | None, seed: int) -> list[dict[str, Any]]:
    """The questions of a file; with a limit, that many drawn by the seed."""
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
    return rows if limit is None or limit >= len(rows) else random.Random(seed).sample(rows, limit)


async def ask(rows: Sequence[dict[str, Any]], docs: Path) -> dict[str, list[Score]]:
    """The scores of each system, question by question."""
    library = await asyncio.to_thread(library_of, docs)

    def passage_of(reference: str) -> str | None:
        found = library.passage(reference)
        return found.text if found else None

    solo, context = react.build(SOLO), {"docs": str(docs)}
    out: dict[str, list[Score]] = {name: [] for name in SYSTEMS}
    for n, row in enumerate(rows, start=1):
        texts = {"baseline": baseline(library, row["question"])}
        for name, graph in (("research", research.graph), ("one agent", solo)):
            state = await graph.ainvoke({"task": row["question"]}, context=context)
            texts[name] = (state["answer"] or {}).get("text", "")
        for name in SYSTEMS:
            out[name].append(score(texts[name], row["answer"], passage_of))
        if sys.stderr.isatty():
            print(f"\r{n}/{len(rows)}", end="", file=sys.stderr, flush=True)
    return out


def measures(rows: Sequence[dict[str, Any]], scores: dict[str, list[Score]], seed: int) -> list[dict[str, Any]]:
    """Each measure for each system, and where it makes sense the paired difference of research and baseline."""
    answerable = [n for n, row in enumerate(rows) if row["answer"] is not None]
    others = [n for n, row in enumerate(rows) if row["answer"] is None]
    kinds: list[tuple[str, Callable[[Score], bool], list[int], bool]] = [
        ("cited passage contains the answer", lambda s: s.passage, answerable, True),
        (f"answer (≤ {LONGEST} characters) contains it", lambda s: s.answer, answerable, True),
        ("answerable refused", lambda s: s.refused, answerable, False),
        ("unanswerable refused", lambda s: s.refused, others, False),
    ]
    out: list[dict[str, Any]] = []
    for title, of, where, compared in kinds:
        values = {name: [float(of(scores[name][n])) for n in where] for name in SYSTEMS}
        row: dict[str, Any] = {"measure": title, "n": len(where)}
        row |= {name: interval(values[name], seed) for name in SYSTEMS}
        if compared:
            paired = [a - b for a, b in zip(values["research"], values["baseline"], strict=True)]
            row["difference"] = interval(paired, seed)
        out.append(row)
    return out


def table(found: list[dict[str, Any]], scores: dict[str, list[Score]]) -> str:
    """The measures as a text table, in per cent."""
    width = max(len(row["measure"]) for row in found)
    head = f"{'per cent, with 95 % intervals':{width}}    n  " + "  ".join(f"{name:20}" for name in SYSTEMS)
    lines = [f"{head}  research - baseline"]
    for row in found:
        cells = "  ".join(f"{row[name]!s:20}" for name in SYSTEMS)
        lines.append(f"{row['measure']:{width}} {row['n']:4}  {cells}  {row.get('difference', '')}".rstrip())
    lines.append("")
    for name in SYSTEMS:
        cited, holding = sum(s.cited for s in scores[name]), sum(s.holding for s in scores[name])
        lines.append(f"citations of {name}: {holding} of {cited} exist and contain the quoted sentence")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--docs", type=Path, required=True, action="append", help="folder of documents")
    parser.add_argument(
        "--questions", type=Path, required=True, action="append", help="JSON lines: question, answer or null"
    )
    parser.add_argument("--limit", type=int, help="ask only so many of each file, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0, help="of the draw and of the bootstrap")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    if len(options.docs) != len(options.questions):
        parser.error("give one --docs for each --questions")
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    scores: dict[str, list[Score]] = {name: [] for name in SYSTEMS}
    for docs, file in zip(options.docs, options.questions, strict=True):
        chosen = questions(file, options.limit, options.seed)
        rows += chosen
        for name, more in asyncio.run(ask(chosen, docs)).items():
            scores[name] += more
    seconds = time.perf_counter() - began
    found = measures(rows, scores, options.seed)
    names = ", ".join(file.name for file in options.questions)
    print(f"{names}: {len(rows)} questions, offline/extractive, {seconds:.0f} s\n")
    print(table(found, scores))
    if options.json:
        plain = [{k: asdict(v) if isinstance(v, Interval) else v for k, v in row.items()} for row in found]
        citations = {
            name: [sum(s.cited for s in scores[name]), sum(s.holding for s in scores[name])] for name in SYSTEMS
        }
        data = {"questions": names, "measures": plain, "citations": citations, "seconds": seconds}
        options.json.write_text(json.dumps(data, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
