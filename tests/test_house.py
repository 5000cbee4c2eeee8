"""The architecture: who imports whom, which files and names there may be."""

import ast
import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import weightatlas

SOURCE = Path(weightatlas.__file__).parent
TESTS = Path(__file__).parent
ROOMS = {
    "weights": 1,
    "symmetry": 2,
    "tasks": 3,
    "networks": 3,
    "population": 4,
    "zoo": 5,
    "encoders": 6,
    "objectives": 7,
    "fit": 8,
    "predict": 9,
    "latent": 10,
    "evaluate": 11,
    "relate": 12,
    "report": 13,
    "cli": 14,
}
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(path.relative_to(SOURCE)) for path in FILES]
FORBIDDEN = {"torchvision", "torchmetrics", "timm"}


def room_of(path: Path) -> str:
    """Name of the room a file lives in; empty for root modules."""
    parts = path.relative_to(SOURCE).parts
    return parts[0] if len(parts) > 1 else ""


def imports_of(path: Path, top_level: bool = False) -> list[str]:
    """Dotted names a file imports, with the imported names appended."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level else ast.walk(tree)
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def rooms_imported(path: Path, top_level: bool = False) -> set[str]:
    inner = [name.split(".") for name in imports_of(path, top_level) if name.startswith("weightatlas.")]
    return {parts[1] for parts in inner if parts[1] in ROOMS}


def test_every_folder_is_a_known_room():
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir()} - {"__pycache__", "presets"}
    assert folders <= set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_imports_only_from_lower_rooms(path):
    room = room_of(path)
    if room:
        higher = {other for other in rooms_imported(path) if ROOMS[other] >= ROOMS[room]} - {room}
        assert not higher, f"{room} ({ROOMS[room]}) imports {higher}"
    elif path.name in ("__init__.py", "__main__.py"):
        assert rooms_imported(path, top_level=True) <= {"cli"}
    else:
        assert not rooms_imported(path), "a root module imports a room"


def test_imports_between_files_have_no_cycle():
    edges: dict[str, set[str]] = {}
    names = {".".join(("weightatlas", *path.relative_to(SOURCE).with_suffix("").parts)) for path in FILES}
    for path in FILES:
        own = ".".join(("weightatlas", *path.relative_to(SOURCE).with_suffix("").parts))
        if path.name == "__init__.py":
            continue  # Re-exports; a file never imports from its own room's __init__ (next test).
        targets = set()
        for name in imports_of(path, top_level=True):
            targets |= {name, name.rsplit(".", 1)[0]} & names
        edges[own] = targets - {own}
    done: set[str] = set()
    while True:
        free = {name for name in edges.keys() - done if not (edges[name] & edges.keys()) - done}
        if not free:
            break
        done |= free
    assert not edges.keys() - done


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_does_not_import_its_own_room_as_a_whole(path):
    room = room_of(path)
    if room and path.name != "__init__.py":
        tree = ast.parse(path.read_text(encoding="utf-8"))
        froms = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        whole = [node for node in froms if node.module == f"weightatlas.{room}"]
        files = {other.stem for other in (SOURCE / room).iterdir()}
        assert all(alias.name in files for node in whole for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_forbidden_packages(path):
    packages = {name.split(".")[0] for name in imports_of(path)}
    assert not packages & FORBIDDEN
    if path.relative_to(SOURCE) != Path("zoo/table.py"):
        assert "polars" not in packages
    assert not re.search(r"pickle\.loads?\(|weights_only *= *False", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_is_short_and_well_named(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert path.stem not in ("utils", "util", "helpers", "common", "misc")
    assert not re.search(r"(TODO|FIXME|XXX|raise NotImplementedError)", text)
    assert ast.get_docstring(ast.parse(text)) or not text.strip(), "a file starts by saying what it holds"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_network_is_never_called_a_model(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = [node.name for node in ast.walk(tree) if isinstance(node, kinds)]
    assert not [name for name in names if "model" in name.lower()]


def test_every_file_has_its_test():
    """A file is tested under its own name, or through a tested file of its room that imports it."""
    tested = {path for path in FILES if mirrored(path) or path.stem.startswith("_") or is_empty(path)}
    while True:
        used = {name for path in tested for name in imports_of(path)}
        more = {path for path in FILES if path not in tested and module_of(path) in parents(used)}
        more = {path for path in more if any(room_of(path) == room_of(other) for other in tested)}
        if not more:
            break
        tested |= more
    assert not [str(path.relative_to(SOURCE)) for path in FILES if path not in tested]


def mirrored(path: Path) -> bool:
    inside = path.relative_to(SOURCE)
    folder = TESTS / inside.parent
    return (folder / f"test_{path.name}").exists() or (folder / f"test_{inside.parent.name}.py").exists()


def is_empty(path: Path) -> bool:
    return not path.read_text(encoding="utf-8").strip()


def module_of(path: Path) -> str:
    return ".".join(("weightatlas", *path.relative_to(SOURCE).with_suffix("").parts))


def parents(names: set[str]) -> set[str]:
    """The names themselves and, for imported objects, the files that hold them."""
    return names | {name.rsplit(".", 1)[0] for name in names}


def test_every_test_has_its_file():
    own = {"test_house", "test_readme", "test_wheel", "test_makefile", "test_examples"}
    own |= {"test_light", "test_populate_killed"}
    for path in TESTS.rglob("test_*.py"):
        inside = path.relative_to(TESTS)
        if path.stem in own or inside.parts[0] == "contracts":
            continue
        room = SOURCE / inside.parent
        sources = {path.stem for path in room.rglob("*") if path.suffix != ".pyc"} | {inside.parent.name}
        assert path.stem.removeprefix("test_") in sources, f"{inside} tests no file"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_examples_in_docstrings_hold(path):
    if ">>>" not in path.read_text(encoding="utf-8"):
        return
    parts = [part for part in path.relative_to(SOURCE).with_suffix("").parts if part != "__init__"]
    module = importlib.import_module(".".join(("weightatlas", *parts)))
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for example in finder.find(module, globs=vars(module).copy()):
        runner.run(example)
    assert runner.failures == 0


@pytest.mark.parametrize("name", [name for name in weightatlas.__all__ if not name.startswith("_")])
def test_public_names_resolve(name):
    assert name not in ROOMS, "the room would hide it"
    assert callable(getattr(weightatlas, name))


def test_public_names_are_few_and_unknown_ones_are_refused():
    assert len(weightatlas.__all__) <= 16
    assert set(weightatlas.__all__) == set(dir(weightatlas))
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        weightatlas.nonesuch  # noqa: B018


def test_importing_the_package_imports_no_room():
    code = "import sys, weightatlas; print([m for m in sys.modules if 'weightatlas.' in m or m == 'torch'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
