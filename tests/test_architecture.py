"""Imports point down: a module may import its own package and packages of a lower rank."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxvision"

# Packages of one rank do not import each other. training and data meet in tasks and scripts that way too.
RANKS = {
    "core": 0,
    "ops": 1,
    "pictures": 1,  # of arrays alone; data writes masks with its palettes
    "weights": 1,
    "layers": 2,
    "losses": 2,
    "metrics": 2,
    "optimizers": 2,
    "classical": 2,
    "data": 2,
    "training": 2,
    "backbones": 3,
    "sequence": 3,
    "graph": 3,
    "restoration": 3,
    "generation": 3,
    "segmentation": 4,
    "detection": 4,
    "fewshot": 4,
    "tasks": 5,
    "zoo": 6,
    "export": 7,  # the commands of these two take a network of the zoo by name
    "inspect": 7,
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> set[str]:
    """First names below ``jaxvision`` that a source text imports, at any depth of the code."""
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the whole path"
            names = [node.module or ""]
            if node.module == "jaxvision":
                names = [f"jaxvision.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("jaxvision.")}
    return rooms


def points_up(room: str, imported: str) -> bool:
    """Whether a module in ``room`` may not import from ``imported``."""
    return imported != room and RANKS[imported] >= RANKS[room]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = _room(path)
    if room == "__init__":
        assert imported_rooms(path.read_text()) == set(), "the package itself imports nothing"
        return
    assert room in RANKS, f"{room}: a new room needs a rank"
    wrong = {imported for imported in imported_rooms(path.read_text()) if points_up(room, imported)}
    assert not wrong, f"{path.name} (rank {RANKS[room]}) imports {sorted(wrong)}"


def test_an_import_that_points_up_is_found():
    source = "def f():\n    from jaxvision.training.fit import fit\n    import jaxvision.core.trees\n"
    assert imported_rooms(source) == {"training", "core"}
    assert points_up("ops", "training")
    assert points_up("losses", "metrics")
    assert not points_up("training", "core")
    assert not points_up("training", "training")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_has_a_name_that_says_nothing(path):
    assert path.stem not in {"utils", "util", "common", "misc", "helpers", "helper", "base"}


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name == "__init__.py" and path.parent != PACKAGE], ids=str
)
def test_package_files_only_re_export(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path}: says nothing about what is in the room"
    for node in tree.body[1:]:
        assert isinstance(node, ast.ImportFrom), f"{path}: line {node.lineno} is no re-export"
        assert all(alias.asname == alias.name for alias in node.names)


def test_the_library_imports_with_core_dependencies_alone():
    """What only scripts need is imported where it is used: the library itself must do without."""
    import subprocess
    import sys

    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"grain", "tyro", "PIL", "matplotlib", "sklearn", "tensorboardX", "torch"}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
import flax
import jaxvision
from jaxvision import core, ops, layers, losses, metrics, optimizers, weights, backbones, segmentation, zoo
from jaxvision import export, inspect
import jax
assert not jax._src.xla_bridge._backends, "an import started a backend"
print(len(zoo.names()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
