"""report.html, results.json and scores.npz, each whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from secagg.durable import write_whole
from secagg_attacks.matrix.cells import write_arrays
from secagg_attacks.matrix.errors import written_to
from secagg_attacks.matrix.outcome import Outcome
from secagg_attacks.report.document import document
from secagg_attacks.report.page import html
from secagg_attacks.results import as_json

__all__ = ["REPORT", "RESULTS", "SCORES", "write"]

REPORT: Final = "report.html"
RESULTS: Final = "results.json"
SCORES: Final = "scores.npz"


def write(outcome: Outcome, folder: Path) -> Path:
    """Writes all three into `folder`, made if need be; gives the path of the page.

    scores.npz: "DEFENCE/ATTACK/NAME" to each array of a cell, and "config", the digest of what it is of.
    Raises MatrixError `matrix-out`: the folder is a file or not to be written to, or its disk is full.
    """
    arrays = {
        f"{defence}/{attack}/{name}": array
        for (defence, attack), named in outcome.arrays.items()
        for name, array in named.items()
    }
    digest = list(bytes.fromhex(outcome.config.digest))
    scores = write_arrays({**arrays, "config": digest})  # type: ignore[dict-item]
    results, page = as_json(document(outcome)).encode(), html(outcome).encode()
    with written_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in ((SCORES, scores), (RESULTS, results), (REPORT, page)):
            write_whole(folder / name, data)
    return folder / REPORT
