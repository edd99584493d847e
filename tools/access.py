"""Who may see which file of a folder.

The folder's owner writes `.motet-access.toml` at its root, one glob and its groups on each line:

    "hr/**" = ["hr", "board"]
    "salaries.csv" = ["hr"]

A file that no glob matches is everybody's. A file that several match is for those who are in a group
of *each*: a rule can only narrow, whatever the order, so that a careless one never opens what another
closed. A glob without a slash holds at any depth, one that names a folder holds for all that is in it,
and case does not count: where in doubt, a rule covers more. An empty list means nobody. A file of
rules that cannot be read closes the folder: an error, never an open door.
"""

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from state.context import User
from state.errors import DocumentError

RULES = ".motet-access.toml"


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one folder: pairs of a compiled glob and the groups it lets in."""

    rules: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = ()

    def groups(self, file: str) -> list[list[str]]:
        """For each rule that holds for the file, sorted, the groups it lets in; empty: everybody may see it."""
        name = _plain(file)
        return sorted(sorted(groups) for glob, groups in self.rules if glob.fullmatch(name))

    def allows(self, file: str, user: User) -> bool:
        """Whether the user may see the file."""
        return all(set(groups) & set(user.groups) for groups in self.groups(file))


def rules_of(folder: Path) -> Access:
    """The rules of a folder; none where it has no file of rules. Raises DocumentError where that file is no use."""
    path = folder / RULES
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Access()
    except (OSError, ValueError) as error:
        raise DocumentError(f"cannot read the access rules {path}: {error}; mend the file, or remove it") from error
    for glob, groups in table.items():
        if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
            raise DocumentError(f'{path}: {glob!r} needs a list of groups, such as "hr/**" = ["hr"]')
    return Access(tuple((_compiled(glob), tuple(groups)) for glob, groups in table.items()))


def _compiled(glob: str) -> re.Pattern[str]:
    plain = _plain(glob).removeprefix("./").rstrip("/")
    prefix = "" if "/" in plain else "(?:.*/)?"
    tokens = re.findall(r"\*\*/|\*\*|.", plain.lstrip("/"), re.DOTALL)
    pattern = "".join(_WILD.get(token) or re.escape(token) for token in tokens)
    return re.compile(f"{prefix}{pattern}(?:/.*)?", re.DOTALL)


_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
