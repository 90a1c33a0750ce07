"""The privacy budget report: what a run gave away, at the most, and what a plan would.

    read(path)              a run directory as a RunRecord
    document(record)        privacy.json, as a dict; `privacy.schema.json` is its schema
    write(path)             privacy.json and report.html, into the run directory
    verify(path)            whether they are what ledger, plan and metrics say
    beaten(document)        the error of a run whose account is below a measured lower bound; None else
    prospect(plan, size)    the same questions before a run
    html, markdown          a document as a page

It is made of the files of the run directory and of nothing else, so that a third party can make it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secagg.durable import write_whole
from secagg.errors import RunError
from secagg.report import pages
from secagg.report.attacks import BeatenAccountError, beaten
from secagg.report.document import document
from secagg.report.finding import Finding
from secagg.report.prospect import prospect
from secagg.report.prospect_sections import prospect_page
from secagg.report.record import RunRecord, read
from secagg.report.sections import page_of
from secagg.report.verification import Verdict, verify

__all__ = [
    "BeatenAccountError",
    "Finding",
    "RunRecord",
    "Verdict",
    "as_json",
    "beaten",
    "document",
    "html",
    "markdown",
    "prospect",
    "read",
    "verify",
    "write",
]


def write(path: str | Path) -> dict[str, Any]:
    """Writes privacy.json and report.html into the run directory, each whole or not at all.

    Returns the document. May be called while the run's lock is held. Raises what `read` and `document`
    raise, and RunError `report-unwritable`.
    """
    path = Path(path)
    made = document(read(path))
    try:
        write_whole(path / "privacy.json", as_json(made).encode())
        write_whole(path / "report.html", html(made).encode())
    except OSError as error:
        raise RunError(
            "report-unwritable",
            f"{path} cannot be written: {error.strerror}",
            "see to the disk, or use --out",
        ) from None
    return made


def as_json(made: Mapping[str, Any]) -> str:
    """The document as privacy.json has it."""
    return json.dumps(made, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def html(made: Mapping[str, Any]) -> str:
    """The document as one HTML page that fetches nothing."""
    return pages.html(_page(made))


def markdown(made: Mapping[str, Any]) -> str:
    """The document as Markdown."""
    return pages.markdown(_page(made))


def _page(made: Mapping[str, Any]) -> pages.Page:
    return prospect_page(made) if made["kind"] == "plan" else page_of(made)
