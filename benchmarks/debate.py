"""Debate and critic with scripted agents: accuracy and tokens against one answer, beside what the options predict.

The prediction goes through every course that the pattern can take and adds up its chances. A measurement
further from it than sampling explains would mean that the pattern does not do what it says: who speaks, who
hears whom, when it stops. Tokens are words here.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod, sqrt
from statistics import fmean, stdev
from typing import Any

from benchmarks.actors import RIGHT, TASK, Chances, Skill, Words, accepted, first, play, revised
from graphs import critic, debate
from runtime.sync import Graph
from state.agent import Agent
from state.critic import Critique
from state.debate import Verdict

SEED, TRIALS, ERRORS = 7, 400, 4
PUBLISHED = (
    "commonly given for debates: 4 to 6 x the tokens, 15 to 30 % more right on hard questions. In Du et al. (2023) a\n"
    "round is one call of each debater; here criticism and revision are two, and a judge follows, so that a whole\n"
    "round costs more, and agreement at once less."
)
Expected = tuple[float, dict[str, float]]


# What is predicted: the chance of a right answer, and the calls of each role


def debated(debaters: int, rounds: int, skill: Skill) -> Expected:
    """Of a debate: all ways in which the debaters' answers can go, until they agree or the judge decides."""
    now, right = together([first(skill)] * debaters), 0.0
    calls = {"answer": float(debaters), "criticise": 0.0, "revise": 0.0, "judge": 0.0}
    for n in range(rounds + 1):
        right += sum(chance for held, chance in now.items() if set(held) == {RIGHT})
        now = {held: chance for held, chance in now.items() if len(set(held)) > 1}
        if n == rounds:
            break
        calls |= {role: calls[role] + debaters * sum(now.values()) for role in ("criticise", "revise")}
        later: Chances = {}
        for held, chance in now.items():
            moves = [revised(own, held[:at] + held[at + 1 :], skill) for at, own in enumerate(held)]
            for then, p in together(moves).items():
                later[then] = later.get(then, 0.0) + chance * p
        now = later
    calls["judge"] = sum(now.values())
    return right + skill.sees * sum(chance for held, chance in now.items() if RIGHT in held), calls


def together(each: list[Chances]) -> Chances:
    """Independent choices at once."""
    return {held: prod(c[a] for a, c in zip(held, each, strict=True)) for held in product(*each)}


def criticised(rounds: int, skill: Skill) -> Expected:
    """Of a draft that is reviewed and mended."""
    good, bad, right = skill.right, 1 - skill.right, 0.0
    calls = {"answer": 1.0, "review": 0.0, "mend": 0.0}
    for n in range(1, rounds + 1):
        calls["review"] += good + bad
        right += good * accepted(True, skill)
        good, bad = good * (1 - accepted(True, skill)), bad * (1 - accepted(False, skill))
        if n < rounds:
            calls["mend"] += good + bad
            lost, won = good * skill.misled, bad * skill.corrects
            good, bad = good - lost + won, bad - won + lost
    return right + good, calls


# What is measured


@dataclass(frozen=True)
class Row:
    """Measured and predicted, with standard errors: the share that is right, and tokens over those of one answer."""

    name: str
    skill: Skill
    right: tuple[float, float]
    cost: tuple[float, float]
    errors: tuple[float, float]

    @property
    def within(self) -> bool:
        """Whether both are as near as sampling explains."""
        pairs = zip((self.right, self.cost), self.errors, strict=True)
        return all(abs(found - expected) <= ERRORS * error + 1e-9 for (found, expected), error in pairs)


def measured(name: str, graph: Graph, words: Words, expected: Expected, skill: Skill, trials: int) -> Row:
    """Ask a graph all questions."""

    async def ask() -> list[dict[str, Any]]:
        return [await graph.ainvoke({"task": f"question-{n} " + "word " * TASK}) for n in range(trials)]

    found = asyncio.run(ask())
    size = _sizes(words)
    chance, calls = expected
    right = fmean(f"it is {RIGHT}" in f["answer"]["text"] for f in found)
    costs = [(u["tokens_in"] + u["tokens_out"]) / size["answer"] for u in (f["usage"]["total"] for f in found)]
    predicted = sum(often * size.get(role, 0) for role, often in calls.items()) / size["answer"]
    errors = sqrt(chance * (1 - chance) / trials), stdev(costs) / sqrt(trials)
    return Row(name, skill, (right, chance), (fmean(costs), predicted), errors)


def _sizes(words: Words) -> Mapping[str, int]:
    """Words of a call of each role; that they are always the same is what the prediction rests on."""
    for role, sizes in words.items():
        assert len(sizes) == 1, f"calls of {role} differ in length: {sorted(sizes)}"
    return {role: next(iter(sizes)) for role, sizes in words.items()}


def debate_row(debaters: int, rounds: int, skill: Skill, seed: int, trials: int) -> Row:
    words: Words = {}
    names = [f"debater_{n}" for n in range(debaters)]
    team = [play(Agent(name=name, responsibility="Debates."), skill, seed, words) for name in names]
    chief = play(Agent(name="judge", responsibility="Judges.", output=Verdict), skill, seed, words)
    name = f"debate: {debaters} debaters, {rounds} round(s)"
    expected = debated(debaters, rounds, skill)
    return measured(name, debate.build(team, chief, rounds=rounds), words, expected, skill, trials)


def critic_row(rounds: int, skill: Skill, seed: int, trials: int) -> Row:
    words: Words = {}
    author = play(Agent(name="author", responsibility="Writes."), skill, seed, words)
    reviewer = play(Agent(name="critic", responsibility="Reviews.", output=Critique), skill, seed, words)
    graph = critic.build(author, [reviewer], max_rounds=rounds)
    return measured(f"critic: {rounds} round(s)", graph, words, criticised(rounds, skill), skill, trials)


def rows(seed: int = SEED, trials: int = TRIALS) -> list[Row]:
    """Debates and critics of several options and skills."""
    hard, weak = Skill(right=0.3), Skill(corrects=0.2, misled=0.3, sees=0.5)
    debates = [(2, 1, Skill()), (2, 2, Skill()), (3, 1, Skill()), (2, 1, hard), (2, 1, weak)]
    critics = [(1, Skill()), (3, Skill()), (3, hard), (3, weak)]
    return [
        *(debate_row(debaters, rounds, skill, seed, trials) for debaters, rounds, skill in debates),
        *(critic_row(rounds, skill, seed, trials) for rounds, skill in critics),
    ]


def main() -> None:
    print(f"{TRIALS} questions a row; ± is a standard error, and `within` means at most {ERRORS} of them\n")
    print(f"{'':<30} chances of         right               against   tokens")
    print(f"{'':<30} one  cor  mis  see  found   predicted   one       found    predicted       within")
    for r in rows():
        s, (right, chance), (cost, predicted), (e, f) = r.skill, r.right, r.cost, r.errors
        skill = f"{s.right:<4g} {s.corrects:<4g} {s.misled:<4g} {s.sees:<4g}"
        shares = f"{right:.3f}   {chance:.3f}±{e:.3f} {right / s.right - 1:>+5.0%}"
        tokens = f"{cost:>6.2f} x {predicted:>6.2f}±{f:.2f} x"
        print(f"{r.name:<30} {skill} {shares}    {tokens}    {'yes' if r.within else 'NO'}")
    print(f"\n{PUBLISHED}")


if __name__ == "__main__":
    main()
