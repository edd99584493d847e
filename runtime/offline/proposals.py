"""What the offline model would write in each field of an answer: quotes, sources, plans, verdicts, honesty."""

import json
import re
from collections.abc import Callable
from functools import cached_property
from itertools import zip_longest
from typing import Any

from runtime.offline import candidates, judging, planning
from runtime.offline.arguments import argument
from runtime.offline.evidence import ADMITTED, SILENT, Evidence
from runtime.offline.figures import charts, computed, told
from runtime.offline.quoting import LONGEST, Quote, answering, compose
from runtime.offline.schema import Schema, resolved
from runtime.offline.text import flat

QUESTIONS = ("question", "goal", "task", "query", "topic", "title", "subject", "instruction", "description")
SURETY = ("confidence", "probability", "certainty", "score", "relevance")
YES = (
    *("supported", "accepted", "accept", "approved", "approve", "ok", "valid", "passed", "holds", "done", "correct"),
    *("satisfied", "complete", "completed", "finished", "resolved", "answered", "sufficient", "enough", "confirmed"),
)
SAME = ("agree", "agrees", "agreed", "unanimous", "same", "consensus", "identical")
WHO = ("worker", "agent", "assignee", "role", "speaker", "winner", "next", "choice", "route", "to", "target")
CHOSEN = ("choice", "winner", "vote", "option", "pick", "decision", "selected", "preferred")
NUMBERS = ("number", "index", "best", "winner", "choice", "chosen", "pick")
SOURCES = ("citation", "source", "reference")
SPEAKS = ("speaker", "next")
TALKS = ("conversation", "talk", "messages", "said before")
REPEATING = re.compile(r"\b(?:not|never|don't) repeat\b", re.I)
NEEDS = ("needs", "depends_on", "depends", "dependencies", "after")
COUNTS = ("figures", "numbers", "calculate", "tables", "data")
WHY = ("why", "reason", "reasoning", "rationale", "explanation", "justification")


class Proposals:
    """Reads the evidence of one conversation once, and proposes from it."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence

    @cached_property
    def quotes(self) -> list[Quote]:
        """What was computed, then the quotes that answer, best first; empty when nothing does."""
        figures = computed(self.evidence) or told(self.evidence)
        each = [found for found in self.parts.values() if found]
        if figures:
            return figures
        turns = (quote for row in zip_longest(*each) for quote in row if quote)
        return list({(q.reference, q.text): q for q in turns}.values())

    @cached_property
    def parts(self) -> dict[str, list[Quote]]:
        """The questions in the question, each with the quotes that answer it; together they have one answer's room."""
        e = self.evidence
        asked = planning.parts(e.question)
        room = LONGEST // len(asked)
        found = (answering(q, e.passages, e.counts, e.size, strict=bool(e.results), room=room) for q in asked)
        return dict(zip(asked, found, strict=True))

    @cached_property
    def workers(self) -> list[tuple[str, str]]:
        """Who could be given work, as the prompt describes them: while nothing is found, those not heard yet."""
        return self._waiting if self._waiting and self._judges and not self._verdict().supported else self._team

    @property
    def _said(self) -> bool:
        """Whether it was told not to repeat what was said, and knows nothing else."""
        said = flat(" ".join(v for n, v in self.evidence.sections.items() if n.lower() in TALKS))
        told = self.evidence.sections.get("instructions", "") + self.evidence.orders
        words = [json.dumps(flat(q.text), ensure_ascii=False)[1:-1] for q in self.quotes[:1]]
        return bool(said) and bool(REPEATING.search(told)) and all(text in said for text in words)

    @cached_property
    def _team(self) -> list[tuple[str, str]]:
        return candidates.described(self.evidence)

    @cached_property
    def _waiting(self) -> list[tuple[str, str]]:
        """Those of a team of several who were not heard yet."""
        team = candidates.team(self.evidence)
        return candidates.unheard(self.evidence, team) if len(team) > 1 else []

    def text(self) -> str:
        """The answer in words that were given, or the plain admission that there are none."""
        if self._said:
            return f"{SILENT} to what was said."
        if self.quotes:
            return compose(self.quotes)
        if not self.evidence.passages:
            told = any(ADMITTED in text for text in self.evidence.sections.values())
            why = "nobody who was asked found anything" if told else "there was no text to quote from"
            return f"{ADMITTED} that answers this: {'no search brought a passage' if self.evidence.results else why}."
        missing = planning.uncovered(self.evidence.question, [p.text for p in self.evidence.passages])
        without = f" Nothing says anything of: {', '.join(missing[:6])}." if missing else ""
        return f"{ADMITTED} that answers this.{without}"

    def of(self, schema: Schema) -> Callable[[str, Schema], Any]:
        """What to propose for the fields of one form."""
        root = schema

        def propose(name: str, at: Schema) -> Any:
            low = name.lower()
            if at.get("type") == "array" or "items" in at:
                return self._list(low, resolved(at.get("items", {}), root), root)
            if "enum" in at:
                return self._choice(low, [v for v in at["enum"] if isinstance(v, str)])
            if at.get("type") == "boolean":
                return self._boolean(low)
            if at.get("type") in ("number", "integer"):
                return self._number(low, at, chooses=any(n.lower() in WHO for n in root.get("properties", {})))
            if at.get("type", "string") == "string" and name:
                return self._string(low)
            return None

        return propose

    def _string(self, name: str) -> str:
        if name in QUESTIONS:
            return flat(self.evidence.question)
        if name in SOURCES:
            return self.quotes[0].reference if self.quotes else ""
        if name == "quote":
            return self.quotes[0].text if self.quotes else ""
        if name in WHO and self.workers:
            able = self._waiting if name in SPEAKS and self._waiting else self.workers
            return planning.match(self.evidence.question, able)
        if name in CHOSEN:
            return self._picked(candidates.options(self.evidence)) or self.text()
        if name == "to":
            return str(argument(name, "string", self.evidence.question) or "")
        if name in WHY:
            return self._verdict().why if self._judges else self._covers()
        return "" if name in WHO else self.text()

    def _boolean(self, name: str) -> bool:
        if name in COUNTS:
            return planning.figures(self.evidence.question)
        if name in SAME and (offered := candidates.numbered(self.evidence)):
            return candidates.alike(offered.values())
        return name in (*YES, *SAME) and self._verdict().supported

    def _covers(self) -> str:
        """How much of the question the best quote speaks of."""
        best = self.quotes[0].coverage if self.quotes else 0.0
        return f"{best:.0%} of the question's weighed words stand around the best quote"

    def _number(self, name: str, at: Schema, *, chooses: bool) -> float | None:
        if any(sign in name for sign in SURETY):
            sure = self._verdict().share if self._judges else self.quotes[0].coverage if self.quotes else 0.0
            if chooses and self.workers and not self._judges:
                sure = planning.surely(self.evidence.question, self.workers)
            low, high = float(at.get("minimum", 0)), float(at.get("maximum", 1))
            value = low + sure * (high - low)
            return round(value) if at.get("type") == "integer" else round(value, 2)
        if name in NUMBERS and (offered := candidates.numbered(self.evidence)):
            return candidates.best(self.evidence, offered)
        return None

    def _choice(self, name: str, options: list[str]) -> str | None:
        if name not in WHO and self._judges and (said := judging.word(self._verdict(), options)):
            return said
        return self._picked(options)

    def _picked(self, options: list[str]) -> str | None:
        """Of some options the one that the quotes speak of, or else the question; None where neither does."""
        known = dict(self.workers)
        offered = [(o, known.get(o, "")) for o in options]
        for text in (" ".join(q.text for q in self.quotes), self.evidence.question):
            if planning.surely(text, offered):
                return planning.match(text, offered)
        return None

    def _list(self, name: str, item: Schema, root: Schema) -> list[Any] | None:
        fields = {n.lower(): resolved(s, root) for n, s in item.get("properties", {}).items()}
        question = self.evidence.question
        if fields:
            return self._objects(name, fields)
        if re.search("citation|source|reference", name):
            return list(dict.fromkeys(q.reference for q in self.quotes))
        if re.search("quer|wording|phras|synonym|keyword", name):
            return planning.wordings(question)
        if re.search("name|identifier|exact|entit", name):
            return planning.names(question)
        if re.search("part|question|task|step|goal", name):
            return planning.parts(question)
        if re.search("missing|gap|unknown|uncovered|open", name):
            return planning.uncovered(question, [q.text for q in self.quotes])
        if re.search("quote|finding|fact|point|claim|sentence|evidence", name):
            return [q.text for q in self.quotes]
        return []

    def _objects(self, name: str, fields: dict[str, Schema]) -> list[dict[str, Any]]:
        own = set(fields)
        if own & set(NEEDS) or (own & set(WHO) and own & set(QUESTIONS)):
            made = planning.steps if own & set(NEEDS) else planning.messages
            return [self._step(step, fields) for step in made(self.evidence.question, self._who(fields))]
        if own & (set(YES) | {"verdict"}):
            return judging.each(self.evidence)
        if own & {"severity", "problem", "issue"}:
            return judging.issues(self._verdict())
        if own & {"file", "path"} and own & {"title", "caption"}:
            return charts(self.evidence)
        if own & {*SOURCES, "quote"}:
            return [_claim(quote) for quote in self.quotes[:6]]
        return []

    def _who(self, fields: dict[str, Schema]) -> list[tuple[str, str]]:
        known = dict(self.workers)
        named = next((fields[w]["enum"] for w in WHO if "enum" in fields.get(w, {})), None)
        return [(o, known.get(o, "")) for o in named] if named else self.workers

    def _step(self, step: dict[str, Any], fields: dict[str, Schema]) -> dict[str, Any]:
        out: dict[str, Any] = {n: step["worker"] for n in WHO if n in fields}
        out |= {n: step["task"] for n in QUESTIONS if n in fields}
        out |= {n: step["needs"] for n in NEEDS if n in fields}
        out |= {n: True for n in ("critical", "required") if n in fields}
        return out | {"id": step["id"]}

    @property
    def _judges(self) -> bool:
        return judging.judges(self.evidence)

    def _verdict(self) -> judging.Verdict:
        return judging.verdict(self.evidence, waiting=bool(self._waiting))


def _claim(quote: Quote) -> dict[str, Any]:
    """A quote under the names that forms give to its parts."""
    sure = round(min(1.0, quote.coverage), 2)
    said = dict.fromkeys(("text", "claim", "sentence", "statement"), quote.text)
    source = dict.fromkeys(SOURCES, quote.reference)
    words = {"quote": "" if quote.sql else quote.text, "heading": quote.heading, "sql": quote.sql}
    return {**said, **source, **words, "confidence": sure, "score": sure}
