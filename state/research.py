"""What a research job remembers, and its pure decisions: who searches what, which claims stand, what is said."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from state.reducers import merge_keys
from state.turn import Turn

Role = Literal["technical", "context", "data"]

SUMMARY = 400  # characters of an executive summary, citations included
MOST_PARTS = 4
SAME = 0.6  # share of the shorter quote's words
MARKS = str.maketrans({"*": None, "`": None, "’": "'", "‘": "'", "“": '"', "”": '"'})
NOTHING = "The documents do not say: I found nothing in them that answers this."


class Plan(BaseModel):
    """How a question is looked up. One that cannot be split is its own only part."""

    model_config = ConfigDict(extra="forbid")

    parts: list[str] = Field(
        min_length=1, max_length=MOST_PARTS, description="The questions in it, each complete in itself; often just one"
    )
    names: list[str] = Field(
        default_factory=list, max_length=6, description="Exact names, options, codes or error texts to search for"
    )
    wordings: list[str] = Field(
        default_factory=list, max_length=6, description="Other wordings that a document may use for the same thing"
    )
    figures: bool = Field(False, description="Whether it asks for a count, sum, average, extreme or chart over tables")


class Claim(BaseModel):
    """One statement and the very words of the document it rests on."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, description="What is claimed, in one sentence")
    quote: str = Field("", description="The words of the passage that say so, copied exactly; empty where sql gave it")
    citation: str = Field(min_length=1, description="The passage's reference, as file#section; a table's file for sql")
    confidence: float = Field(ge=0, le=1, description="How directly this answers the question, 0 to 1")
    sql: str = Field("", description="The SELECT whose rows say so, where a table was queried")


class Chart(BaseModel):
    """A picture that was drawn, by the file the chart tool named."""

    model_config = ConfigDict(extra="forbid")

    file: str
    title: str


class Findings(BaseModel):
    """What one researcher found; no claims when the documents do not say."""

    model_config = ConfigDict(extra="forbid")

    claims: list[Claim] = Field(default_factory=list, max_length=12)
    charts: list[Chart] = Field(default_factory=list)
    missing: list[str] = Field(default_factory=list, description="What was looked for and not found")


class Verdict(BaseModel):
    """The fact checker's word on one claim."""

    model_config = ConfigDict(extra="forbid")

    claim: int = Field(description="The claim's id")
    supported: bool = Field(description="Whether the passage alone says what the text claims")
    answers: bool = Field(True, description="Whether it helps to answer the question")
    why: str = ""


class Verdicts(BaseModel):
    """One verdict for each claim."""

    model_config = ConfigDict(extra="forbid")

    verdicts: list[Verdict]


class Summary(BaseModel):
    """The executive summary; what does not fit in it stands in the findings below it."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(
        min_length=1,
        max_length=SUMMARY,
        description="The direct answer first; after each sentence its source as [file#section]",
    )


class State(Turn, total=False):
    """`findings` and `lost` are written by all researchers at once, each under its own "<role>/<part>"."""

    plan: dict[str, Any] | None
    findings: Annotated[dict[str, Any], merge_keys]
    lost: Annotated[dict[str, str], merge_keys]
    spent_out: Annotated[dict[str, bool], merge_keys]
    claims: list[dict[str, Any]]
    rejected: list[dict[str, Any]]
    summary: str


def assignments(plan: Plan) -> list[tuple[Role, int, str, list[str]]]:
    """Who looks up what: role, number of the part, its question, and what else to search for."""
    out: list[tuple[Role, int, str, list[str]]] = []
    for n, part in enumerate(plan.parts):
        out += [("technical", n, part, plan.names), ("context", n, part, plan.wordings)]
        if plan.figures:
            out.append(("data", n, part, []))
    return out


def gathered(findings: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All claims, each once: the surest of every part in turn, so that no part is crowded out."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for who in sorted(findings):
        role, _, part = who.partition("/")
        parts.setdefault(part, []).extend({**c, "by": role, "part": int(part)} for c in findings[who]["claims"])
    queues = [_distinct(parts[part]) for part in sorted(parts)]
    longest = max(map(len, queues), default=0)
    turns = _distinct([queue[n] for n in range(longest) for queue in queues if n < len(queue)], resort=False)
    return [{**claim, "id": n} for n, claim in enumerate(turns)]


def _distinct(claims: Sequence[dict[str, Any]], *, resort: bool = True) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for claim in sorted(claims, key=lambda c: (-c["confidence"], not c["sql"])) if resort else claims:
        if not any(_same(claim, other) for other in out):
            out.append(claim)
    return out


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two claims rest on the same words of the same passage, most of them."""
    if one["citation"] != other["citation"]:
        return False
    mine, others = (set(even(c["quote"] or c["text"]).split()) for c in (one, other))
    return len(mine & others) >= SAME * min(len(mine), len(others))


def even(text: str) -> str:
    """A text as quotes are compared: white space evened out; case, emphasis and the shape of quotation marks aside."""
    return " ".join(text.translate(MARKS).split()).casefold()


def fault(claim: Mapping[str, Any], passage: str | None) -> str:
    """Why a quoted claim cannot stand, mechanically: no such passage, no quote, or words that are not there."""
    if passage is None:
        return f"there is no passage {claim['citation']}"
    if not even(claim["quote"]):
        return "it quotes nothing"
    return "" if even(claim["quote"]) in even(passage) else f"the quoted words do not stand in {claim['citation']}"


def fault_of_figures(claim: Mapping[str, Any], rows: Sequence[Sequence[Any]] | None) -> str:
    """Why a computed claim cannot stand: its SELECT fails, or a number it states is in none of its rows."""
    if rows is None:
        return "its SELECT does not run"
    shown = {_number(cell) for row in rows for cell in row} - {None}
    stated = {_number(found) for found in re.findall(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?", claim["text"])} - {None}
    if not rows:
        return "its SELECT finds no row"
    missing = sorted(n for n in stated - shown if n is not None)
    asked = {_number(found) for found in re.findall(r"-?\d[\d,]*(?:\.\d+)?", claim["sql"])}
    missing = [n for n in missing if n not in asked]
    return f"{missing[0]:g} is not in the rows of its SELECT" if stated and missing else ""


def sourced(claim: Mapping[str, Any], file: str, passages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A computed claim with its source: the passage that holds it word for word, as its quote; else just the file."""
    said = even(claim["text"])
    row = next((p for p in passages if said in even(p["text"])), None)
    if row is None:
        return {**claim, "citation": file, "quote": ""}
    return {**claim, "citation": row["reference"], "quote": claim["text"]}


def _number(cell: Any) -> float | None:
    if isinstance(cell, bool) or cell is None:
        return None
    try:
        return round(float(str(cell).replace(",", "")), 6)
    except ValueError:
        return None


def standing(
    claims: Sequence[Mapping[str, Any]], verdicts: Iterable[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The claims that the fact checker lets stand, and those it does not, with why. No verdict is no support."""
    said = {v["claim"]: v for v in verdicts}
    good, bad = [], []
    for claim in claims:
        verdict = said.get(claim["id"])
        if verdict is not None and verdict["supported"] and verdict["answers"]:
            good.append(dict(claim))
        else:
            why = (verdict["why"] or "the passage does not say so") if verdict else "it was not checked"
            bad.append({**claim, "why": why})
    return good, bad


def abstract(claims: Sequence[Mapping[str, Any]], most: int = SUMMARY) -> str:
    """A summary without a writer: the claims word for word, each with its source, as many as there is room for.

    Computed claims have room first and come last: a citation after them would seem to hold them.
    """
    computed = [f"{c['text']} (from {c['citation']})" for c in claims if "#" not in c["citation"]]
    figures = _within(computed, most)
    quoted = [f"{c['quote'] or c['text']} [{c['citation']}]" for c in claims if "#" in c["citation"]]
    out = f"{_within(quoted, most - len(figures) - bool(figures))} {figures}".strip()
    return out or (str(claims[0]["text"])[: most - 1] + "…" if claims else "")


def _within(pieces: Sequence[str], most: int) -> str:
    out = ""
    for piece in pieces:
        if len(out) + len(piece) + bool(out) <= most:
            out = f"{out} {piece}".strip()
    return out


def missing_of(state: State) -> list[str]:
    """What the answer lacks: researchers that failed, and for a part without claims, what was not found."""
    answered = {str(claim["part"]) for claim in state.get("claims") or []}
    lost = [f"{who}: {why}" for who, why in sorted((state.get("lost") or {}).items())]
    findings = state.get("findings") or {}
    open_ = [who for who in sorted(findings) if who.partition("/")[2] not in answered]
    sought = [what for who in open_ for what in findings[who]["missing"]]
    return list(dict.fromkeys([*lost, *sought]))


def answer_of(state: State, text: str, cited: Sequence[str]) -> dict[str, Any]:
    """The answer in its full form: the summary, its sources, every claim that stands, charts, and what is missing."""
    claims = state.get("claims") or []
    findings = state.get("findings") or {}
    known = {c["citation"] for c in claims}
    sure = [c["confidence"] for c in claims if c["citation"] in cited or not cited]
    return {
        "text": text,
        "citations": [c for c in dict.fromkeys(cited) if c in known],
        "confidence": max(sure, default=0.0),
        "claims": [{k: c[k] for k in ("text", "quote", "citation", "confidence", "by", "sql")} for c in claims],
        "charts": [chart for who in sorted(findings) for chart in findings[who]["charts"]],
        "missing": missing_of(state),
    }
