"""Every example in a docstring is one that ``pytest --doctest-modules jaxvision`` finds and runs."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxvision"
PROMPT = ">" * 3


def written_examples(text: str) -> set[str]:
    """Dotted names, within a module, of what has an example: ``"Class.method"``, ``""`` for the module.

    A string that is no docstring, such as one below a constant, goes by the number of its line.
    """
    found = set()

    def visit(node: ast.AST, name: str) -> None:
        docstring = None
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring and PROMPT in docstring:
                found.add(name)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                visit(child, f"{name}.{child.name}".lstrip("."))
            elif isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                value = child.value.value
                if isinstance(value, str) and PROMPT in value and value != docstring:
                    found.add(f"line {child.lineno}")

    visit(ast.parse(text), "")
    return found


@pytest.mark.slow
def test_doctest_finds_every_example_of_the_library():
    missed, count = [], 0
    for path in sorted(PACKAGE.rglob("*.py")):
        written = written_examples(path.read_text())
        if not written:
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        tests = doctest.DocTestFinder().find(importlib.import_module(name), name)
        found = {test.name.removeprefix(name).lstrip(".") for test in tests if test.examples}
        count += len(found)
        missed += [f"{name}: {place or 'the module'}" for place in sorted(written - found)]
    assert count > 300
    assert not missed


def test_no_example_is_written_where_nobody_runs_it():
    files = [*(ROOT / "train").glob("*.py"), *(ROOT / "colab").glob("*.py")]
    assert {path.name for path in files} >= {"segmentation.py", "reference.py"}
    assert [path.name for path in files if written_examples(path.read_text())] == []


def test_an_example_outside_of_a_docstring_is_seen():
    text = f'LIMIT = 3\n"""{PROMPT} LIMIT"""\n\nclass A:\n    def f(self):\n        """{PROMPT} 1"""\n'
    assert written_examples(text) == {"line 2", "A.f"}
