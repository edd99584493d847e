"""Several answers as one."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from state.agent import Text

Answer = Mapping[str, Any]


def joined(answers: Mapping[str, Answer]) -> dict[str, Any]:
    """Answers under their names, in order, as one Text with all their sources; its parts say how sure each is."""
    text = "\n\n".join(f"{name}: {in_words(answer)}" for name, answer in answers.items())
    return Text(text=text, citations=cited(answers.values())).model_dump(mode="json")


def in_words(answer: Answer) -> str:
    """An answer's text; one of another form as JSON."""
    text = answer.get("text")
    return text if isinstance(text, str) else json.dumps(answer, ensure_ascii=False)


def cited(answers: Iterable[Answer]) -> list[str]:
    """All their sources, each once."""
    return list(dict.fromkeys(c for a in answers for c in a.get("citations") or () if isinstance(c, str)))
