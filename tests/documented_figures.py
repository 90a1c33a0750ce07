"""Tables of a document, and figures in the digits that a document gives them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

DOCUMENTS = Path(__file__).parents[1] / "docs"


def written(figure: float, as_in: str) -> str:
    """The figure with as many digits as the document gives."""
    if "e" in as_in:
        mantissa, _, exponent = f"{figure:.{len(as_in.split('e')[0]) - 2 if '.' in as_in else 0}e}".partition(
            "e"
        )
        return f"{mantissa}e{int(exponent)}"
    return f"{figure:.{len(as_in.partition('.')[2])}f}"


def tables(document: str, heading: str) -> Iterator[list[list[str]]]:
    """The cells of each table in a section, whose heading has its signs: its header, then its rows."""
    text = (DOCUMENTS / document).read_text()
    level = heading.split(" ")[0]
    section = re.split(rf"\n#{{2,{len(level)}}} ", text.split(f"\n{heading}\n")[1])[0]
    for table in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
        header, _, *rows = [
            [cell.strip() for cell in row.strip("|\n").split("|")] for row in table.splitlines()
        ]
        yield [header, *rows]
