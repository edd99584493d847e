"""Agents that play their roles in a debate, or before a critic, by stated chances: no model, but its words counted.

An agent is right at first with some chance. A wrong one corrects itself when it hears what is right, a right one
is misled when it hears what is wrong, by chances of their own. All texts of a role have the same length.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from graphs.bind import bind
from nodes.agent import Bound
from nodes.critic import REVIEW
from nodes.critic import REVISE as MEND
from nodes.debate import CRITICISE, JUDGE, REVISE
from state.agent import Agent

RIGHT, WRONG = 0, (1, 2, 3)  # the right answer to every question, and the wrong ones
TASK, ANSWER, CRITICISM = 120, 100, 80  # words
SIGNS = {CRITICISE: "criticise", REVISE: "revise", JUDGE: "judge", REVIEW: "review", MEND: "mend"}

Chances = dict[Any, float]
Words = dict[str, set[int]]


@dataclass(frozen=True)
class Skill:
    """Chances: to be right at first, to correct oneself, to be misled; and for a judge or critic to see it right."""

    right: float = 0.6
    corrects: float = 0.6
    misled: float = 0.1
    sees: float = 0.8


@dataclass
class Actor:
    """Who plays: what it holds of each question now, how often it was asked; `words` is what a role's calls used."""

    skill: Skill
    name: str
    seed: int
    words: Words
    now: dict[str, int] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)


def play(agent: Agent, skill: Skill, seed: int, words: Words) -> Bound:
    """The agent, played."""
    return bind(agent, Model(actor=Actor(skill, agent.name, seed, words)))


class Model(BaseChatModel):
    """A chat model that an actor speaks through. Its dice depend on who is asked what for the how manieth time."""

    actor: Any

    @property
    def _llm_type(self) -> str:
        return "actor"

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:  # noqa: D102  # as its parent
        return self.bind(tools=tools)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        actor, prompt = self.actor, messages[1].text
        role = next((r for sign, r in SIGNS.items() if prompt.startswith(sign)), "answer")
        question = re.findall(r"question-\d+", prompt)[0]
        actor.asked[question] += 1
        dice = random.Random(f"{actor.seed}/{actor.name}/{question}/{actor.asked[question]}")
        said = ROLES[role](actor, question, prompt, dice)
        used, spoken = sum(len(m.text.split()) for m in messages), len(said.split())
        actor.words.setdefault(role, set()).add(used + spoken)
        usage = {"input_tokens": used, "output_tokens": spoken, "total_tokens": used + spoken}
        return ChatResult(generations=[ChatGeneration(message=AIMessage(said, usage_metadata=usage))])


# The chances of each choice


def first(skill: Skill) -> Chances:
    """A first answer."""
    return {RIGHT: skill.right} | dict.fromkeys(WRONG, (1 - skill.right) / len(WRONG))


def revised(own: int, heard: Iterable[int], skill: Skill) -> Chances:
    """A debater's answer after what the others hold."""
    others = [a for a in heard if a != own]
    if not others:
        return {own: 1.0}
    other, chance = (RIGHT, skill.corrects) if RIGHT in others else (others[0], skill.misled)
    return {other: chance, own: 1 - chance}


def accepted(good: bool, skill: Skill) -> float:
    """That a critic accepts a draft."""
    return skill.sees if good else 1 - skill.sees


def mended(own: int, skill: Skill) -> Chances:
    """An author's draft after a criticism, whether that was right or not."""
    if own == RIGHT:
        return {WRONG[0]: skill.misled, RIGHT: 1 - skill.misled}
    return {RIGHT: skill.corrects, own: 1 - skill.corrects}


# The roles


def answer(actor: Actor, question: str, prompt: str, dice: random.Random) -> str:
    return _held(actor, question, first(actor.skill), dice)


def criticise(actor: Actor, question: str, prompt: str, dice: random.Random) -> str:
    return f"I hold {actor.now[question]}. " + "word " * CRITICISM


def revise(actor: Actor, question: str, prompt: str, dice: random.Random) -> str:
    heard = [int(n) for n in re.findall(r"I hold (\d)", prompt)]
    return _held(actor, question, revised(actor.now[question], heard, actor.skill), dice)


def judge(actor: Actor, question: str, prompt: str, dice: random.Random) -> str:
    seen = [int(n) for n in re.findall(r"it is (\d)", prompt)]
    wanted = dice.random() < actor.skill.sees
    number = next((n for n, a in enumerate(seen, 1) if (a == RIGHT) is wanted), 1)
    return json.dumps({"number": number, "reason": "so"})


def review(actor: Actor, question: str, prompt: str, dice: random.Random) -> str:
    accepts = dice.random() < accepted(f"it is {RIGHT}" in prompt, actor.skill)
    issue = {"severity": "minor", "where": "there", "what": "word " * CRITICISM}
    return json.dumps({"verdict": "accept" if accepts else "revise", "issues": [issue]})


def mend(actor: Actor, question: str, prompt: str, dice: random.Random) -> str:
    return _held(actor, question, mended(actor.now[question], actor.skill), dice)


ROLES: dict[str, Callable[[Actor, str, str, random.Random], str]] = {
    **{"answer": answer, "criticise": criticise, "revise": revise},
    **{"judge": judge, "review": review, "mend": mend},
}


def _held(actor: Actor, question: str, chances: Chances, dice: random.Random) -> str:
    actor.now[question] = dice.choices(list(chances), weights=list(chances.values()))[0]
    return f"it is {actor.now[question]}. version-{actor.asked[question]} says " + "word " * ANSWER
