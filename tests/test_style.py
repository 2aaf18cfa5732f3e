"""Every public name is documented and annotated, defaults are keyword-only, nothing is over-long."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    [*(ROOT / "jaxvision").rglob("*.py"), *(ROOT / "train").rglob("*.py"), ROOT / "colab" / "pair.py"]
)
LONGEST_FILE = 400
LONGEST_FUNCTION = 40  # lines of code; the docstring and the signature are not counted

Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(tree: ast.Module) -> list[tuple[str, Function]]:
    """Functions and methods that a user sees, with their dotted names."""
    found: list[tuple[str, Function]] = []
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            found.append((node.name, node))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += [
                (f"{node.name}.{item.name}", item)
                for item in node.body
                if isinstance(item, Function) and (not item.name.startswith("_") or item.name == "__call__")
            ]
    return found


def unannotated(function: Function) -> list[str]:
    """Arguments without an annotation, and "return" if the result has none."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    missing = [a.arg for a in every if a.annotation is None and a.arg not in ("self", "cls")]
    return missing + (["return"] if function.returns is None else [])


def code_lines(function: Function) -> int:
    """Lines of the body, its docstring left out."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_are_documented_and_annotated(path):
    tree = ast.parse(path.read_text())
    problems = []
    if path.name != "__init__.py" and not ast.get_docstring(tree):
        problems.append("the module has no docstring")
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node):
            problems.append(f"{node.name} has no docstring")
    for name, function in public_functions(tree):
        if not ast.get_docstring(function):
            problems.append(f"{name} has no docstring")
        # An initializer has the signature that Linen calls: (key, shape, dtype=...).
        names = [argument.arg for argument in function.args.args]
        if function.args.defaults and names != ["key", "shape", "dtype"]:
            problems.append(f"{name} has a default that is not keyword-only")
        if missing := unannotated(function):
            problems.append(f"{name} is not annotated: {', '.join(missing)}")
        for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
            if argument.arg == "train" and default is not None:
                problems.append(f"{name} has a default for train")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_and_no_function_is_over_long(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    long = {
        node.name: code_lines(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, Function) and code_lines(node) > LONGEST_FUNCTION
    }
    assert not long


def test_the_checks_find_what_they_look_for():
    tree = ast.parse("def f(a, b=1, *, c: int = 2):\n    return a\nclass A:\n    def _g(self): ...\n")
    ((name, function),) = public_functions(tree)
    assert name == "f"
    assert unannotated(function) == ["a", "b", "return"]
    assert len(function.args.defaults) == 1
    assert code_lines(function) == 1
