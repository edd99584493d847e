"""Comma- and tab-separated files: their header and their rows, whatever separates them."""

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from state.errors import DocumentError

SEPARATORS = ",;\t|"
NUMBER = re.compile(r"[-+(]?[$€£¥]?[\d.,]+\)?%?")


def rows(lines: Iterable[str], *, tabs: bool) -> Iterator[list[str]]:
    """The header, then each row that is not blank, cells stripped of white space.

    The separator is the one the first line holds most of. A first row of nothing but numbers is data,
    and the header `column_1`, `column_2` … is made up. Raises DocumentError for what no reader can split.
    """
    source = iter(lines)
    first = next(source, "")
    separator = "\t" if tabs else max(SEPARATORS, key=re.sub(r'"[^"]*"', "", first).count)
    reader = csv.reader(chain([first], source), delimiter=separator)
    headed = False
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not headed and all(NUMBER.fullmatch(cell) for cell in cells):
                yield [f"column_{number}" for number in range(1, len(cells) + 1)]
            headed = True
            yield cells
    except csv.Error as error:
        raise DocumentError(f"line {reader.line_num} is not separated values: {error}") from error
