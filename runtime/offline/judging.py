"""How the offline model judges: a claim is supported as far as its words stand in its evidence. Pure."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.offline.evidence import ADMITTED, Evidence
from runtime.offline.planning import parts
from runtime.offline.text import flat, terms

SUPPORTED = 0.75  # share of a claim's words that its evidence must hold
CLAIMS = ("text", "claim", "statement", "sentence", "quote", "draft", "answer")
PROOFS = ("passage", "evidence", "passages", "context", "excerpt")
GOOD = (
    "accept",
    "approve",
    "approved",
    "supported",
    "support",
    "pass",
    "yes",
    "true",
    "valid",
    "agree",
    "correct",
    "ok",
)
MIDDLE = ("revise", "partial", "partly", "unclear", "minor", "neutral", "maybe")
BAD = ("reject", "unsupported", "refuted", "refuse", "fail", "no", "false", "invalid", "disagree", "wrong")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The share of what is claimed that stands in the evidence, and what does not."""

    share: float
    why: str
    missing: tuple[str, ...] = ()

    @property
    def supported(self) -> bool:
        """Whether it is enough."""
        return self.share >= SUPPORTED


def share_of(claim: str, proof: str) -> float:
    """How much of a claim its proof holds: all, when it stands there word for word."""
    if flat(claim).lower() in flat(proof).lower():
        return 1.0
    wanted, have = terms(claim), set(terms(proof))
    return sum(t in have for t in wanted) / len(wanted) if wanted else 0.0


def judges(evidence: Evidence) -> bool:
    """Whether the conversation holds something to be judged."""
    return any(
        name.lower() in (*CLAIMS, "drafts", "claims", "answers", "output", "result") for name in evidence.sections
    )


def verdict(evidence: Evidence, *, waiting: bool = False) -> Verdict:
    """Judge the draft in the prompt: against the other material there, else by whether it speaks of the question.

    That nothing was found is enough, unless somebody is `waiting` who was not asked yet.
    """
    sections = {name.lower(): text for name, text in evidence.sections.items()}
    judged = next(
        (n for n in ("draft", "claim", "answer", "output", "result", "text", "drafts", "answers") if n in sections), ""
    )
    claim = sections.get(judged, "")
    proof = "\n".join(text for name, text in sections.items() if name != judged and name in PROOFS)
    if not claim:
        return Verdict(0.0, "there is nothing to judge")
    if ADMITTED in claim:
        return Verdict(0.0 if waiting else SUPPORTED, "it says openly that nothing was found")
    if proof:
        share = share_of(claim, proof)
        lacking = tuple(t for t in terms(claim) if t not in set(terms(proof)))
        return Verdict(share, f"{share:.0%} of its words stand in the evidence", lacking[:6])
    wanted, have = terms(evidence.question), set(terms(claim))
    lacking = tuple(t for t in wanted if t not in have)
    for part in parts(evidence.question) if len(parts(evidence.question)) > 1 else ():
        if not set(terms(part)) & have:
            return Verdict(0.5, f"it says nothing of: {part}", tuple(terms(part))[:6])
    share = max(SUPPORTED, 1 - len(lacking) / (2 * len(wanted) or 1)) if len(claim) > 20 else 0.5
    return Verdict(share, "no evidence was given to hold it against; it stands as it is", lacking[:6])


def word(found: Verdict, options: Sequence[str]) -> str | None:
    """The option that says it: one of approval, of doubt, or of rejection; None when these are other options."""
    low = {o.lower(): o for o in options}
    ranked = (GOOD, MIDDLE, BAD) if found.supported else (MIDDLE, BAD) if found.share >= 0.3 else (BAD, MIDDLE)
    if not any(o in low for o in (*GOOD, *BAD)):
        return None
    return next((low[w] for group in ranked for w in group if w in low), None)


def each(evidence: Evidence) -> list[dict[str, Any]]:
    """A verdict for every claim in the prompt that stands beside its evidence."""
    out = []
    for n, item in enumerate(_claims(evidence)):
        claim = next(str(item[k]) for k in CLAIMS if k in item)
        proof = next((str(item[k]) for k in PROOFS if k in item), "")
        share = share_of(claim, proof)
        good = share >= SUPPORTED
        name = item.get("id", n)
        out.append(
            {"id": name, "claim": name, "index": n, "number": n, "verdict": "supported" if good else "unsupported"}
            | dict.fromkeys(("supported", "accepted", "accept", "ok", "valid", "passed", "holds", "correct"), good)
            | {"answers": True}
            | dict.fromkeys(("why", "reason"), f"{share:.0%} of its words stand in the passage")
            | {"confidence": round(share, 2), "score": round(share, 2)}
        )
    return out


def _claims(evidence: Evidence) -> Iterator[dict[str, Any]]:
    for text in evidence.sections.values():
        try:
            data = json.loads(text)
        except ValueError:
            continue
        for item in data if isinstance(data, list) else ():
            if isinstance(item, dict) and any(k in item for k in CLAIMS):
                yield item


def issues(found: Verdict) -> list[dict[str, Any]]:
    """What stands against it, as a critique lists it."""
    if found.supported:
        return []
    what = f"{found.why}: {', '.join(found.missing)}" if found.missing else found.why
    return [
        {
            "severity": "blocking",
            "where": "the draft",
            "what": what,
            "problem": what,
            "issue": what,
            "check": "compare it with the evidence",
        }
    ]
