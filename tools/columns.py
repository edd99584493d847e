"""What the columns of a text table hold: numbers, where the whole column agrees on how they are written.

    1250 · -3.5 · 2e6          plain
    1,250 · 1,250.75           grouped
    1.250,75 · 12,5            comma: the decimal mark is a comma
    12% · $1,250 · (1,250) EUR with a unit; a number in parentheses is negative

A number keeps its size: 12% is 12, and its unit is told with the column. `007` and numbers of more than
18 digits are names, not numbers: they stay text, as does a column of mixed units or marks.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

Type = Literal["INTEGER", "REAL", "TEXT"]
Value = int | float | str | None

MISSING = {"", "-", "--", "\u2013", "\u2014", "na", "n/a", "nan", "null", "none"}
CURRENCY = r"[$€£¥₹]|USD|EUR|GBP|CHF|JPY"
CELL = re.compile(
    rf"(?P<open>\()?(?P<sign>[-+]?)(?P<before>{CURRENCY})? ?(?P<inner>-?)(?P<digits>[\d.,]+(?:[eE][-+]?\d+)?)"
    rf" ?(?P<after>%|{CURRENCY})?(?P<close>\))?(?P<behind> ?(?:{CURRENCY}))?"
)
STYLES = {
    "plain": re.compile(r"(?:0|[1-9]\d*)?(?:\.\d+)?(?:[eE][-+]?\d+)?|(?:0|[1-9]\d*)\."),
    "grouped": re.compile(r"(?:0|[1-9]\d*|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?"),
    "comma": re.compile(r"(?:0|[1-9]\d*|[1-9]\d{0,2}(?:\.\d{3})+)(?:,\d+)?"),
}
FRACTION = {"plain": ".eE", "grouped": ".", "comma": ","}
LONGEST = 40  # characters of a number


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name, what it holds, its unit (`%`, `$`, `EUR` …, or empty), and how its numbers are written."""

    name: str
    type: Type = "TEXT"
    unit: str = ""
    style: str = ""

    def value(self, cell: str) -> Value:
        """The cell as it is stored: a number, text, or None where there is nothing."""
        if self.type == "TEXT":
            return cell or None
        if cell.lower() in MISSING:
            return None
        parts = _parts(cell)
        if parts is None:
            return cell  # the file changed since its columns were judged
        negative, _, digits = parts
        if self.style == "comma":
            digits = digits.replace(".", "").replace(",", ".")
        try:
            number = int(digits.replace(",", "")) if self.type == "INTEGER" else float(digits.replace(",", ""))
        except ValueError:
            return cell
        return -number if negative else number


@dataclass(slots=True)
class Judge:
    """Sees the cells of one column, one by one, and says in the end what the column holds."""

    styles: set[str] = field(default_factory=lambda: set(STYLES))
    fractional: set[str] = field(default_factory=set)  # the styles in which some cell would be a fraction
    units: set[str] = field(default_factory=set)

    def see(self, cell: str) -> None:
        """Takes one more cell into account; white space around it must be gone."""
        if not self.styles or cell.lower() in MISSING:
            return
        parts = _parts(cell)
        if parts is None:
            self.styles.clear()
            return
        _, unit, digits = parts
        self.units.add(unit)
        agreeing = {style for style in self.styles if STYLES[style].fullmatch(digits)}
        self.styles = agreeing if len(self.units) == 1 else set()
        self.fractional |= {style for style in self.styles if any(mark in digits for mark in FRACTION[style])}

    def column(self, name: str) -> Column:
        """The verdict; a column without a single value is text."""
        style = next((style for style in STYLES if style in self.styles), "")
        if not self.units or not style:
            return Column(name)
        return Column(name, "REAL" if style in self.fractional else "INTEGER", next(iter(self.units)), style)


def _parts(cell: str) -> tuple[bool, str, str] | None:
    """Whether the number is negative, its unit, its digits and marks; None for what is no number."""
    match = CELL.fullmatch(cell) if len(cell) <= LONGEST else None
    if not match or bool(match["open"]) != bool(match["close"]):
        return None
    units = [unit.strip() for unit in (match["before"], match["after"], match["behind"]) if unit]
    signs = [sign for sign in (match["open"], match["sign"], match["inner"]) if sign]
    if len(units) > 1 or len(signs) > 1 or sum(character.isdigit() for character in match["digits"]) > 18:
        return None
    return bool(signs) and signs != ["+"], "".join(units), match["digits"]
