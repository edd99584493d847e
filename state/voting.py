"""Voting rules: pure functions of votes. The order in which votes come never matters, nor what options are called.

Abstentions are not cast: they count toward no share, no quorum and no total, except where a threshold is
`of="eligible"`. Thresholds are exact, in integers and fractions. Two options with equally many points tie, and
a tie decides nothing, unless an order to break it by is given.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from state.ballot import Reads, Vote
from state.errors import ContractError
from state.runoff import MOST_RANKED, winners

Of = Literal["cast", "eligible"]

UNSURE = 500  # the weight, in thousandths, of a vote that does not say how sure it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What the leading option needs: a share of the points (more than it, if `strict`), and so many points at least."""

    share: Fraction = Fraction(0)
    strict: bool = False
    least: int = 1
    of: Of = "cast"

    def holds(self, points: int, of: int) -> bool:
        """Whether it is reached. Exact."""
        share = self.share * of
        return points >= self.least and (points > share if self.strict else points >= share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Points of every option, and of how many. `leading` where it is not simply who has most; `stages` of a runoff."""

    points: Mapping[str, int]
    of: int
    leading: tuple[str, ...] | None = None
    stages: tuple[dict[str, Any], ...] = ()


Scoring = Callable[[Sequence[Vote], Sequence[str]], Scores]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How votes decide: which part of a ballot is read, how it scores, and what the leading option needs.

    `needs` says the threshold in words. `voters` is the least electorate, `most` the most options; `complete`
    asks for rankings of all options; `expertise` names the agents that are weighed.
    """

    name: str
    needs: str
    score: Scoring
    threshold: Threshold = Threshold()
    reads: Reads = "choice"
    voters: int = 1
    complete: bool = False
    most: int | None = None
    expertise: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What a count came to: `decision`, or `why` there is none. `votes` of `of` are the leading option's points."""

    decision: str | None
    why: str
    leading: tuple[str, ...]
    votes: int
    of: int
    tally: Mapping[str, int]
    cast: int
    abstained: int
    eligible: int
    stages: tuple[dict[str, Any], ...] = ()


def plurality() -> Rule:
    """Most votes win, however few. A tie decides nothing; abstentions do not count."""
    return Rule(name="plurality", needs="the most votes", score=_choices)


def majority(of: Of = "cast") -> Rule:
    """More than half, of the votes cast or of all eligible voters; of these, an abstention counts against."""
    return Rule(
        name="majority",
        needs=f"more than half of {_whole(of)}",
        score=_choices,
        threshold=Threshold(share=Fraction(1, 2), strict=True, of=of),
    )


def supermajority(share: Fraction | str = Fraction(2, 3), of: Of = "cast") -> Rule:
    """At least `share` ("2/3"), of the votes cast or of all eligible. Raises ContractError outside (1/2, 1]."""
    try:
        exact = Fraction(share)
    except (ValueError, ZeroDivisionError, TypeError) as error:
        raise ContractError(f"supermajority: `share` is {share!r}; give a fraction, as '2/3'") from error
    if not Fraction(1, 2) < exact <= 1:
        raise ContractError(f"supermajority: `share` must be above 1/2 and at most 1, not {exact}; see majority()")
    return Rule(
        name="supermajority",
        needs=f"at least {exact} of {_whole(of)}",
        score=_choices,
        threshold=Threshold(share=exact, of=of),
    )


def unanimous(of: Of = "cast") -> Rule:
    """All votes cast, or all eligible voters."""
    return Rule(
        name="unanimous", needs=f"all of {_whole(of)}", score=_choices, threshold=Threshold(share=Fraction(1), of=of)
    )


def weighted(expertise: Mapping[str, int] | None = None) -> Rule:
    """More than half of the weight cast: by `expertise` (whole numbers by agent; 1 where none is given), or by
    how sure each vote is, in thousandths (500 where it does not say). Raises ContractError for weights below 0.
    """
    known = dict(expertise or {})
    if wrong := [name for name, weight in known.items() if type(weight) is not int or weight < 0]:
        raise ContractError(f"weighted: the expertise of {wrong[0]!r} must be a whole number of 0 or more")

    def weight(vote: Vote) -> int:
        if expertise is not None:
            return known.get(str(vote.get("agent") or vote["voter"]), 1)
        sure = vote.get("confidence")
        return UNSURE if sure is None else round(1000 * sure)

    def score(votes: Sequence[Vote], options: Sequence[str]) -> Scores:
        points = dict.fromkeys(options, 0)
        for vote in votes:
            points[vote["choice"]] += weight(vote)
        return Scores(points=points, of=sum(points.values()))

    return Rule(
        name="weighted",
        needs="more than half of the weight cast",
        score=score,
        threshold=Threshold(share=Fraction(1, 2), strict=True),
        expertise=tuple(known),
    )


def borda() -> Rule:
    """Every voter ranks all m options: m - 1 points for the first, none for the last. Most points win; a tie
    decides nothing. An incomplete ranking is spoiled, and counts as an abstention.
    """

    def score(votes: Sequence[Vote], options: Sequence[str]) -> Scores:
        points = dict.fromkeys(options, 0)
        for vote in votes:
            for place, option in enumerate(vote["ranking"], start=1):
                points[option] += len(options) - place
        return Scores(points=points, of=len(votes) * max(1, len(options) - 1))

    return Rule(name="borda", needs="the most points", score=score, reads="ranking", complete=True)


def approval() -> Rule:
    """Every voter approves as many options as are good enough. Most approvals win; a tie decides nothing."""

    def score(votes: Sequence[Vote], options: Sequence[str]) -> Scores:
        points = {o: sum(o in vote["approved"] for vote in votes) for o in options}
        return Scores(points=points, of=len(votes))

    return Rule(name="approval", needs="the most approvals", score=score, reads="approved")


def instant_runoff() -> Rule:
    """The option that the fewest voters have first drops out, and its ballots go to their next option, until one
    has more than half of the ballots that still name an option; the others are exhausted.

    Where options tie for last, every order of dropping them is followed; if they lead to different
    winners, these tie.
    """
    return Rule(
        name="instant_runoff",
        needs="more than half of the ballots that are not exhausted",
        score=_runoff,
        threshold=Threshold(share=Fraction(1, 2), strict=True),
        reads="ranking",
        most=MOST_RANKED,
    )


def byzantine(f: int) -> Rule:
    """2f + 1 matching ballots of at least 3f + 1 voters: more honest ones stand behind it than the f that may lie.

    An abstention, or a ballot that was lost, matches nothing. Source: Lamport, Shostak, Pease (1982). Raises
    ContractError for an `f` below 0.
    """
    if f < 0:
        raise ContractError(f"byzantine: `f` must be 0 or more, not {f}")
    return Rule(
        name="byzantine",
        needs=f"{2 * f + 1} matching ballots",
        score=_choices,
        threshold=Threshold(least=2 * f + 1),
        voters=3 * f + 1,
    )


def count(
    rule: Rule,
    votes: Sequence[Vote],
    options: Sequence[str] = (),
    *,
    eligible: int,
    quorum: int = 1,
    order: Sequence[str] | None = None,
) -> Count:
    """Count sound votes. Without `options`, what was chosen are the options.

    Fewer votes cast than `quorum` decide nothing. A tie is broken by `order`, all options in it, and
    decides nothing without one.
    """
    counted = [v for v in votes if not v.get("abstain")]
    names = list(options) or sorted({str(v["choice"]) for v in counted})
    scores = rule.score(counted, names)
    of = eligible if rule.threshold.of == "eligible" else scores.of
    top = max(scores.points.values(), default=0)
    leading = scores.leading
    if leading is None:
        leading = tuple(o for o in names if scores.points[o] == top) if top > 0 else ()
    first = min(leading, key=order.index) if leading and order else next(iter(leading), None)
    points = scores.points[first] if first is not None else 0
    runoff_tie = scores.leading is not None and len(leading) > 1  # each won on a way of its own
    why = ""
    if not counted:
        why = "nobody voted"
    elif len(counted) < quorum:
        why = f"no quorum: {len(counted)} of {eligible} voted, {quorum} needed"
    elif not leading:
        why = "no vote has any weight"
    elif len(leading) > 1 and not order:
        why = f"a tie of {len(leading)} options"
    elif not (runoff_tie or rule.threshold.holds(points, of)):
        why = f"{points} of {of} for the leading option, {rule.needs} needed"
    return Count(
        decision=None if why else first,
        why=why,
        leading=leading,
        votes=points,
        of=of,
        tally=dict(scores.points),
        cast=len(counted),
        abstained=len(votes) - len(counted),
        eligible=eligible,
        stages=scores.stages,
    )


def _whole(of: Of) -> str:
    return "the votes cast" if of == "cast" else "all eligible voters"


def _choices(votes: Sequence[Vote], options: Sequence[str]) -> Scores:
    points = dict.fromkeys(options, 0)
    for vote in votes:
        points[vote["choice"]] += 1
    return Scores(points=points, of=len(votes))


def _runoff(votes: Sequence[Vote], options: Sequence[str]) -> Scores:
    found = winners(votes, options)
    leading = tuple(o for o in options if o in found)
    stages = found[leading[0]] if leading else ()
    last = stages[-1]["tally"] if stages else {}
    own = {winner: found[winner][-1]["tally"][winner] for winner in leading}
    points = {**dict.fromkeys(options, 0), **last, **own}
    return Scores(points=points, of=sum(last.values()), leading=leading, stages=stages)
