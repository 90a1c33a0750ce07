"""The house stands as docs/architecture.md draws it: its tables are read there, the imports in the code.

Every import counts, also those inside a function or for the type checker only.
"""

from __future__ import annotations

import ast
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = (ROOT / "secagg", ROOT / "attacks" / "secagg_attacks")

_ROOM_ROW = re.compile(r"^\| (\d+) \| (`[^|]*`) \| .* \|$", re.MULTILINE)
_LIBRARY_ROW = re.compile(r"^\| (`[^|]*`) \| (everywhere|`[^|]*`) \| .* \|$", re.MULTILINE)


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _name(path: Path) -> str:
    """`secagg/masking/client.py` -> `secagg.masking.client`; a package is its `__init__`'s name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "attacks":
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def _place(room: str) -> str:
    """`masking/` -> `secagg.masking`, `attacks/secagg_attacks/` -> `secagg_attacks`."""
    dotted = room.rstrip("/").removesuffix(".py").replace("/", ".")
    return dotted.removeprefix("attacks.") if dotted.startswith("attacks.") else f"secagg.{dotted}"


MODULES = {_name(path): path for package in PACKAGES for path in sorted(package.rglob("*.py"))}
ROOMS = [
    (int(layer), [_place(room) for room in _quoted(cell)]) for layer, cell in _ROOM_ROW.findall(ARCHITECTURE)
]
LIBRARIES = {
    library: None if cell == "everywhere" else [_place(room) for room in _quoted(cell)]
    for libraries, cell in _LIBRARY_ROW.findall(ARCHITECTURE)
    for library in _quoted(libraries)
}


def _belongs(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def _room_of(module: str) -> tuple[int, int]:
    """(layer, row) of a module."""
    found = [
        (layer, row)
        for row, (layer, places) in enumerate(ROOMS)
        if any(_belongs(module, place) for place in places)
    ]
    assert len(found) == 1, f"{module} is in {len(found)} rooms of docs/architecture.md"
    return found[0]


def _imports(module: str) -> set[str]:
    """What a module imports: modules of ours by their whole name, others by the name of their library."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else str(node.module))
    return {f"{name}.__init__" if name in ("secagg", "secagg_attacks") else name for name in found}


IMPORTS = {module: _imports(module) for module in MODULES}
OF_SECAGG = [module for module in MODULES if _belongs(module, "secagg")]


def test_every_module_is_in_one_room_and_every_room_is_there():
    for module in MODULES:
        _room_of(module)
    for _, places in ROOMS:
        for place in places:
            assert any(_belongs(module, place) for module in MODULES), f"there is no {place}"


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_from_itself_and_from_layers_below(module):
    layer, row = _room_of(module)
    for imported in IMPORTS[module]:
        if _belongs(imported, "secagg") or _belongs(imported, "secagg_attacks"):
            its_layer, its_row = _room_of(imported)
            assert its_layer < layer or its_row == row, f"{module} imports {imported}"


def test_there_are_no_circles():
    ours = {module: {name for name in names if name in MODULES} for module, names in IMPORTS.items()}
    TopologicalSorter(ours).prepare()


@pytest.mark.parametrize("module", OF_SECAGG)
def test_secagg_never_imports_the_attack_harness(module):
    assert not [name for name in IMPORTS[module] if _belongs(name, "secagg_attacks")]
    assert 'import_module("secagg_attacks' not in MODULES[module].read_text()


@pytest.mark.parametrize("module", OF_SECAGG)
def test_a_library_is_imported_only_where_the_table_says(module):
    outside = {name.split(".")[0] for name in IMPORTS[module]} - sys.stdlib_module_names - {"secagg"}
    for library in outside:
        assert library in LIBRARIES, f"{module} imports {library}, which the table does not know"
        places = LIBRARIES[library]
        assert places is None or any(_belongs(module, place) for place in places), (
            f"{module} imports {library}"
        )


def test_the_table_of_libraries_names_none_that_nobody_imports():
    imported = {name.split(".")[0] for module in OF_SECAGG for name in IMPORTS[module]}
    assert set(LIBRARIES) <= imported
