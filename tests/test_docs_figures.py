"""The figures of homomorphic summation in the documents are those of the committed measurement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.documented_figures import tables, written

ROOT = Path(__file__).parents[1]
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "homomorphic.json").read_text())

KEYS = {
    "bytes a parameter": "bytes_per_parameter",
    "encrypt": "encrypt_s",
    "over NVFlare": "over_nvflare",
    "add": "add_s",
    "open": "open_s",
    "largest error of the sum": "largest_error",
    "MB a client sends": "client_up_mb",
    "MB a client is sent": "client_down_mb",
    "requests a client answers": "client_requests",
    "seconds of a client": "client_s",
    "seconds of a decryptor": "decryptor_s",
    "MB a decryptor is sent": "decryptor_down_mb",
    "seconds of the server": "server_s",
    "MiB of the server's memory": "server_mib",
}
"""What a document calls a figure -> what the benchmark does."""


def _cells() -> list[tuple[str, str, str]]:
    """(row of the results, its key, what a document says)."""
    found = []
    for header, *rows in tables("choosing-a-protection.md", "## What each one costs"):
        for name, *cells in rows:
            kinds = [kind.strip("`") for kind in header[1:]]
            found += [(f"{kind}-20-100", KEYS[name], cell) for kind, cell in zip(kinds, cells, strict=True)]
    for header, *rows in tables("performance.md", "## Homomorphic summation"):
        for name, *cells in rows:
            found += [
                (name.strip("`"), KEYS[what], cell) for what, cell in zip(header[1:], cells, strict=True)
            ]
    return [one for one in found if one[2] != "-"]


@pytest.mark.parametrize(("row", "key", "said"), _cells())
def test_a_figure_of_a_table_is_the_measured_one(row, key, said):
    assert written(RESULTS[row][key], said) == said


def test_every_table_is_read():
    rows = {row for row, _, _ in _cells()}
    assert rows == {name for name, figures in RESULTS.items() if isinstance(figures, dict)}
