"""The arguments of a tool that does something, taken word for word from the task. Pure.

A field named for a person gets whom the task names, one named for a text what stands in quotation marks or after
`saying`, any other what follows its own name, as in `amount 30`. Where the task has none of these, all of it.
"""

import re

from runtime.offline.text import flat

PEOPLE = ("to", "recipient", "recipients", "addressee", "receiver", "person", "name", "who", "whom", "email", "address")
TEXTS = ("text", "body", "message", "content", "letter", "note", "reply", "comment")
TITLES = ("subject", "title", "topic", "about", "reason")
QUOTED = re.compile(r"[\"“]([^\"“”]{2,})[\"”]|(?<!\w)['‘]([^'‘’]{2,})['’](?!\w)")
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
PERSON = re.compile(r"\b(?:to|for|with)\s+((?:(?:Dr|Mr|Mrs|Ms|Prof)\.\s+)?[A-Z][\w'’-]*(?:\s+[A-Z][\w'’-]*)*)")
SOMEBODY = re.compile(r"\bto\s+((?:the|our|my|your|his|her|their|all|every)\s+[\w'’-]+)", re.I)
SAYING = re.compile(
    r"\b(?:saying|says?|telling (?:\w+ )?|with the text)(?:\s+that)?\s*[:,]?\s+(\S.*)$|:\s+(\S.*)$", re.S
)
ABOUT = re.compile(r"\b(?:about|regarding|concerning|on the subject of)\s+(\S[^.;:!?]*)", re.I)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")


def argument(name: str, kind: str, task: str) -> str | float | None:
    """What a task says for a field of that name and JSON type; None where it says nothing of that type."""
    low, task = name.lower(), flat(task)
    if kind in ("integer", "number"):
        found = re.search(rf"\b{_spoken(low)}\W+(?:\w+\W+)?({NUMBER.pattern})", task, re.I)
        number = found[1] if found else next(iter(NUMBER.findall(task)), None)
        return None if number is None else float(number)
    if kind != "string" or not task:
        return None
    patterns = [re.compile(rf"\b{_spoken(low)}\s*(?:is|=|:)?\s+[\"“]?([\w.@/+-]*\w)", re.I)]
    if low in PEOPLE:
        patterns = [ADDRESS, PERSON, SOMEBODY] if "mail" not in low else [ADDRESS]
    elif low in TEXTS:
        patterns = [QUOTED, SAYING]
    elif low in TITLES:
        patterns = [ABOUT, QUOTED]
    return next((said for pattern in patterns if (said := _first(pattern, task))), task)


def _first(pattern: re.Pattern[str], text: str) -> str:
    """The group that was found, or what was."""
    found = pattern.search(text)
    return next((group for group in found.groups() if group), found.group()).strip() if found else ""


def _spoken(name: str) -> str:
    """A field's name as a task may write it."""
    return r"[\s_-]".join(re.escape(word) for word in re.split(r"[\W_]+", name) if word) or re.escape(name)
