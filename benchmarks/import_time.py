"""How long `import secagg` takes: the best of five fresh interpreters, which must be under 0.4 s.

    python benchmarks/import_time.py --json

Without the interpreter's own start, as `-X importtime` counts it. `public_s` is the time to load every public
name, gRPC included. Exits with 1 when the limit is passed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from typing import Final

LIMIT: Final = 0.4
_LINE: Final = re.compile(r"import time:\s+\d+ \|\s+(\d+) \| (\s*)(\S+)")

EVERYTHING: Final = "import secagg\nfor name in secagg.__all__: getattr(secagg, name)"


def import_seconds() -> float:
    """One fresh interpreter: the cumulative time that `-X importtime` reports for secagg."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import secagg"],
        capture_output=True,
        text=True,
        check=True,
    )
    for micro, indent, name in _LINE.findall(done.stderr):
        if name == "secagg" and not indent:
            return int(micro) / 1e6
    raise RuntimeError("the interpreter did not report the import of secagg")


def public_seconds() -> float:
    """One fresh interpreter: every public name, by its own clock."""
    program = f"import time\nbegin = time.perf_counter()\n{EVERYTHING}\nprint(time.perf_counter() - begin)"
    return float(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    figures = {
        "import_s": round(min(import_seconds() for _ in range(5)), 4),
        "public_s": round(min(public_seconds() for _ in range(5)), 4),
        "limit_s": LIMIT,
    }
    print(
        json.dumps(figures)
        if given.json
        else "\n".join(f"{key:10} {value}" for key, value in figures.items())
    )
    if figures["import_s"] > LIMIT:
        sys.exit(1)


if __name__ == "__main__":
    main()
