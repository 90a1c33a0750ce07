"""What the documents say is so: links lead somewhere, codes and labels are the code's, the README runs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from secagg.frames import WIRE_VERSION
from secagg.transport import tls

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
SOURCES = {
    path: ast.parse(path.read_text())
    for package in (ROOT / "secagg", ROOT / "attacks" / "secagg_attacks")
    for path in sorted(package.rglob("*.py"))
    if not path.name.startswith("secagg_pb2")
}

_CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_RAISED = re.compile(r"\w*(Error|Fault|Rejected)|NotEnoughClients|refuse")


# Links and paths


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _links() -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith(("https://", "mailto:")):
                yield document, target


@pytest.mark.parametrize(
    ("document", "target"), list(_links()), ids=lambda value: value.name if isinstance(value, Path) else value
)
def test_every_link_between_documents_leads_somewhere(document, target):
    name, _, anchor = target.partition("#")
    path = (document.parent / name).resolve() if name else document
    assert path.exists()
    if anchor:
        headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
        assert anchor in map(_anchor, headings)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_that_a_document_names_is_there(document):
    folders = "secagg|attacks|tests|benchmarks|examples|docs|protos"
    named = re.findall(rf"`((?:{folders})/[\w./-]*(?:\.\w+|/))`", document.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_decision_is_in_their_list():
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\((\d{4}-[^)]+)\)", (folder / "README.md").read_text()))
    assert listed == {path.name for path in folder.glob("[0-9]*.md")}


# Tables


def _cells(row: str) -> int:
    return len(re.findall(r"(?<!\\)\|", row)) - 1


def _broken_tables(text: str) -> list[str]:
    """First lines of what is meant for a table and is none: no header and rule, or rows of other widths."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    broken = []
    for table in re.findall(r"(?:^\|.*\n?)+", prose, re.MULTILINE):
        header, *rest = table.splitlines()
        ruled = bool(rest) and re.fullmatch(r"\|(:?-+:?\|)+", rest[0])
        if not ruled or {_cells(row) for row in rest} != {_cells(header)}:
            broken.append(header)
    return broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_row_of_a_table_has_a_header_above_it(document):
    assert _broken_tables(document.read_text()) == []


def test_a_row_behind_a_blank_line_is_in_no_table():
    whole = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert _broken_tables(whole) == []
    assert _broken_tables(whole + "\n| 3 | 4 |\n") == ["| 3 | 4 |"]
    assert _broken_tables(whole + "| 3 |\n") == ["| a | b |"]


# Error codes


def _constants(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.fullmatch(node.value):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)


def _codes_in(node: ast.AST) -> Iterator[str]:
    """Codes that one expression or statement raises, sends or writes down as a literal."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=[first, *rest]):
            if name == "MissingExtraError":  # its arguments are a package and an extra
                return
            if _RAISED.fullmatch(name) or name == "__init__":
                yield from _constants(first)
            elif name == "Refusal" and len(rest) == 3:
                yield from _constants(rest[2])
            elif name in ("_rebuilt", "_refuse_present", "_note"):
                for argument in rest:
                    yield from (code for code in _constants(argument) if "-" in code)
        case ast.AnnAssign(target=ast.Name(id="_REFUSED"), value=ast.Constant(value=str(code))):
            yield code
        case ast.Yield(value=ast.Tuple(elts=[first, *_])):
            yield from (code for code in _constants(first) if "-" in code)
        case ast.Assign(targets=[ast.Subscript() | ast.Tuple() as target], value=value):
            values = value.elts if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) else [value]
            for one in values:
                yield from (code for code in _constants(one) if "-" in code)
        case ast.BoolOp(values=values):
            for one in values:
                yield from (code for code in _constants(one) if "-" in code)


def _raised() -> set[str]:
    ends = {end for end, _, _ in (*tls._VERIFICATION.values(), *tls._ALERTS.values())} | {
        "missing",
        "refused",
    }
    handshakes = {f"tls-{whose}-{end}" for whose in ("certificate", "server") for end in ends}
    found = {code for tree in SOURCES.values() for node in ast.walk(tree) for code in _codes_in(node)}
    return found | handshakes


def _documented() -> list[str]:
    rows = re.findall(r"^\| (`[^|]*`) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    return [code for row in rows for code in re.findall(r"`([^`]+)`", row)]


def test_every_code_that_the_source_raises_is_documented():
    assert sorted(_raised() - set(_documented())) == []


def test_every_documented_code_is_raised_somewhere():
    assert sorted(set(_documented()) - _raised()) == []


def test_no_code_is_documented_twice():
    documented = _documented()
    assert sorted(code for code in set(documented) if documented.count(code) > 1) == []


# The wire


def _labels_in(node: ast.AST) -> Iterator[str]:
    """The labels of digests, signatures and derived keys."""
    match node:
        case ast.Call(
            func=ast.Attribute(attr="digest" | "_sign") | ast.Name(id="signed" | "_sign"),
            args=[ast.Constant(value=str(label)), *_],
        ):
            yield label
        case ast.Call(func=ast.Name(id="derive"), args=[_, ast.Constant(value=str(label)), *_]):
            yield label
        case ast.Call(
            func=ast.Attribute(attr="encode"),
            args=[ast.Attribute(attr="VERSION_LABEL"), ast.Constant(value=str(label)), *_],
        ):
            yield label


def test_the_labels_in_the_wire_document_are_those_of_the_code():
    used = {label for tree in SOURCES.values() for node in ast.walk(tree) for label in _labels_in(node)}
    text = (ROOT / "docs" / "wire.md").read_text()
    section = text.split("## What is hashed, signed and derived")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)) == used


# The README, the Makefile, the changelog


def test_the_readme_fits_a_screen():
    assert len(README.splitlines()) <= 65


def test_the_readme_says_which_wire_version_this_release_speaks():
    rows = re.findall(r"^\| ([\d.]+) \| (\d+) \|$", README, re.MULTILINE)
    assert (version("secagg"), str(WIRE_VERSION)) in rows


def test_the_changelog_begins_with_this_release():
    changes = (ROOT / "CHANGELOG.md").read_text()
    releases = re.findall(r"^## (\d+\.\d+\.\d+)", changes, re.MULTILINE)
    assert releases[0] == version("secagg")


def test_the_quick_start_of_the_readme_runs_and_prints_what_it_says(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (expected,) = re.findall(r"^print\(.*#\s*(\[.*?\])", example, re.MULTILINE)
    assert len(example.splitlines()) <= 14
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.strip() == expected


def test_the_readme_names_how_to_run_the_demo_and_the_tests():
    assert "make demo" in README
    assert "make test" in README


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_that_a_document_names_is_in_the_makefile(document):
    targets = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(), re.MULTILINE)) <= targets


def test_every_target_explains_itself():
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)) == set(phony.split())


@pytest.mark.parametrize(
    "command",
    sorted(set(re.findall(r"`secagg ([a-z]+(?: [a-z]+)?)[ `]", "".join(p.read_text() for p in DOCUMENTS)))),
)
def test_every_command_that_a_document_names_is_there(command):
    done = subprocess.run(
        [sys.executable, "-m", "secagg", *command.split(), "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
