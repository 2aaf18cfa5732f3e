"""The reference finds every public name that says nothing about itself, and shows what docstrings say."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load_script(path: Path):
    spec = importlib.util.spec_from_file_location(f"colab_{path.stem}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load_script(ROOT / "colab" / "reference.py")

GOOD = '''"""Sums."""

from typing import NamedTuple

import flax.linen as nn

LIMIT = 3
"""The largest number of terms."""


class Total(NamedTuple):
    """A sum.

    Attributes:
      value: the sum itself.
      count, weight: of what was added.
    """

    value: float
    count: int
    weight: float


class Adder(nn.Module):
    r"""Adds, see :func:`add`.

    .. math::
        y = \\sum_k x_k \\quad
        k < 3

    Attributes:
      bias: what is added, :math:`b_k`.
      init: makes it.
    """

    bias: float = 0.0
    init: nn.initializers.Initializer = nn.initializers.zeros_init()

    def __call__(self, x: "jax.Array") -> float:
        """Adds to ``[N]``."""
        return x + self.bias


def add(x: float, *rest: float, scale: float = 1.0) -> float:
    """Adds numbers, such as::

        add(1.0, 2.0)

    Args:
      x: the first one.
      *rest: the others.
      scale: of the
        result: a factor.

    >>> add(1.0, 2.0)
    3.0
    """
    return x + sum(rest)


def _private(x):
    return x
'''

EXPORTS = '''"""Arithmetic."""

from fake_arithmetic.sums.adding import LIMIT as LIMIT
from fake_arithmetic.sums.adding import Adder as Adder
from fake_arithmetic.sums.adding import Total as Total
from fake_arithmetic.sums.adding import add as add
'''


@pytest.fixture
def package(tmp_path):
    """A package whose names are all documented."""
    room = tmp_path / "fake_arithmetic" / "sums"
    room.mkdir(parents=True)
    (room.parent / "__init__.py").write_text('"""A package."""\n')
    (room / "__init__.py").write_text(EXPORTS)
    (room / "adding.py").write_text(GOOD)
    return room.parent


def check(package: Path) -> list[str]:
    return reference.undocumented(reference.read_rooms(package))


def test_every_public_name_of_the_library_is_documented():
    rooms = reference.read_rooms(ROOT / "jaxvision")
    assert {room.name for room in rooms} >= {"jaxvision", "jaxvision.losses", "jaxvision.zoo"}
    assert sum(len(room.exports) for room in rooms) > 900
    assert reference.undocumented(rooms) == []


def test_a_documented_package_passes(package):
    (room,) = reference.read_rooms(package)[1:]
    assert [export.name for export in room.exports] == [
        f"fake_arithmetic.sums.{name}" for name in ("LIMIT", "Adder", "Total", "add")
    ]
    assert check(package) == []
    assert reference.main(["--package", str(package), "--check"]) == 0


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('    """A sum.\n', '    """', "sums.Total: the class has no docstring"),
        ('        """Adds to ``[N]``."""\n', "", "sums.Adder.__call__: the method has no docstring"),
        ('"""The largest number of terms."""\n', "", "sums.LIMIT: the constant has no docstring"),
        ("      value: the sum itself.\n", "", "sums.Total.value: the field has no entry under Attributes"),
        ("count, weight:", "count:", "sums.Total.weight: the field has no entry under Attributes"),
        ("      bias: what", "      biass: what", "sums.Adder.bias: the field has no entry under Attributes"),
        ("      x: the first", "      y: the first", "sums.add: Args explains 'y', which is no argument"),
    ],
    ids=lambda text: text.strip()[:30],
)
def test_what_is_not_documented_is_named(package, capsys, old, new, problem):
    path = package / "sums" / "adding.py"
    text = path.read_text()
    assert text.count(old) == 1
    changed = text.replace(old, new)
    if "Total: the class" in problem:  # the whole docstring goes
        start = text.index(old)
        changed = text[:start] + text[text.index('    """\n', start) + len('    """\n') :]
    path.write_text(changed)
    assert f"fake_arithmetic.{problem}" in check(package)
    assert reference.main(["--package", str(package), "--check"]) == 1
    assert f"fake_arithmetic.{problem}" in capsys.readouterr().err


def test_an_undocumented_function_and_room_are_named(package):
    (package / "sums" / "__init__.py").write_text(EXPORTS.split("\n", 1)[1] + "\n\ndef bare(): ...\n")
    assert check(package) == [
        "fake_arithmetic.sums: the room has no docstring",
        "fake_arithmetic.sums.bare: the function has no docstring",
    ]


def test_a_name_that_nothing_defines_is_an_error(package):
    (package / "sums" / "adding.py").write_text('"""Empty."""\n')
    with pytest.raises(ValueError, match=r"fake_arithmetic\.sums\.adding: no definition of LIMIT"):
        check(package)


def test_pages_show_signatures_sections_and_formulas(package, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(package.parent))
    out = tmp_path / "site"
    for _ in range(2):  # a second call replaces the first one's files
        assert reference.main(["--package", str(package), "--out", str(out)]) == 0
    page = (out / "fake_arithmetic" / "sums.html").read_text()
    assert r"<div>$$y = \sum_k x_k \quad k &lt; 3$$</div>" in page
    assert r"<strong>bias:</strong>  what is added, \(b_k\)." in page
    assert '<code><a href="#add">add</a></code>' in page  # :func:`add` is a link
    assert "<strong>*rest:</strong>  the others." in page
    assert ":func:" not in page.split("view-source")[0] and ".. math" not in page.split("</style>")[0]
    assert '<div id="Adder.__call__" class="classattr">' in page
    for hidden in ('id="Adder.init"', 'id="Adder.parent"', 'id="_private"', 'id="Total.value"'):
        assert hidden not in page, hidden
    assert "The largest number of terms." in page  # a constant's words, from another module
    assert "A package." in (out / "fake_arithmetic.html").read_text()
    assert "fake_arithmetic.sums.add" in (out / "search.js").read_text()


def test_a_folder_with_other_files_is_left_alone(package, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all I have")
    with pytest.raises(ValueError, match="holds something else"):
        reference.main(["--package", str(package), "--out", str(tmp_path / "mine")])
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all I have"
