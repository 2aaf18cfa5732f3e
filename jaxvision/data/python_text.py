"""Text that is there with every Python: its language reference, the docstrings of its library, and which
functions its functions call.
"""

import ast
import importlib
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxvision.data.text_files import Document

__all__ = ["python_call_baskets", "python_documentation"]

# Tests and tools of the distribution, and what others installed.
_NOT_LIBRARY = frozenset(
    {
        *("__pycache__", "dist-packages", "idle_test", "idlelib", "lib2to3", "pydoc_data", "site-packages"),
        *("test", "tests", "turtledemo"),
    }
)
_NO_LIBRARY = (
    "the standard library's source is not there; install Python with it, or give your own text files"
)

Definition = ast.FunctionDef | ast.AsyncFunctionDef


def python_documentation(*, modules: Sequence[str] | None = None) -> list[Document]:
    """The documentation that comes with Python, in English: one document a topic or docstring.

    It is the text of ``help("topics")`` (79 chapters of the language reference, about 65,000 words) and the
    docstrings of modules, classes and functions of the standard library, read from its source without
    running it: 317,000 words in all with Python 3.11, 308,000 with 3.13. It is the same wherever the release
    of Python is the same.

    Args:
      modules: of the standard library, such as ``("json", "string")``: their docstrings alone. By default all
        of them, and the topics.

    Raises:
      ValueError: if this Python has no such module, or neither topics nor source.
    """
    documents = [] if modules is not None else list(_topics())
    for path, tree in _trees(modules):
        for node in _statements(tree):
            if isinstance(node, ast.Module | ast.ClassDef | Definition):
                text = ast.get_docstring(node)
                if text:
                    documents.append(Document(f"{path}:{getattr(node, 'name', '')}", text))
    if not documents:
        raise ValueError(f"python_documentation: {_NO_LIBRARY}")
    return documents


def python_call_baskets(*, modules: Sequence[str] | None = None) -> list[Document]:
    """The functions and methods that each function of the standard library calls: a basket a function.

    Each document's text is names apart by blanks, each once, in the order of the source; baskets of one name
    are left out.

    Args:
      modules: as in :func:`python_documentation`.

    Raises:
      ValueError: as :func:`python_documentation`.
    """
    documents = []
    for path, tree in _trees(modules):
        for node in _statements(tree):
            if isinstance(node, Definition):
                names = dict.fromkeys(filter(None, map(_called, ast.walk(node))))
                if len(names) > 1:
                    documents.append(Document(f"{path}:{node.name}", " ".join(names)))
    if not documents:
        raise ValueError(f"python_call_baskets: {_NO_LIBRARY}")
    return documents


def library_files(*, modules: Sequence[str] | None = None) -> Iterator[tuple[Path, bytes]]:
    """Path below the library, and source text, of its modules, in the order of their paths.

    Args:
      modules: as in :func:`python_documentation`; tests and tools of the distribution are not among all.

    Raises:
      ValueError: if this Python has no such module.
    """
    root = Path(sysconfig.get_path("stdlib"))
    paths = sorted(root.rglob("*.py")) if modules is None else _files_of(root, modules)
    for path in paths:
        relative = path.relative_to(root)
        if modules is not None or not _NOT_LIBRARY & {*relative.parts}:
            yield relative, path.read_bytes()


def _called(node: ast.AST) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else None


def _topics() -> Iterator[Document]:
    try:
        topics: Any = importlib.import_module("pydoc_data.topics")
    except ModuleNotFoundError:  # left out by some small distributions
        return
    for name, text in sorted(topics.topics.items()):
        yield Document(f"topics:{name}", text)


def _trees(modules: Sequence[str] | None) -> Iterator[tuple[Path, ast.Module]]:
    """Path below the library, and parsed source, of the modules, in the order of their paths."""
    for relative, source in library_files(modules=modules):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes in old modules
                yield relative, ast.parse(source)
        except (SyntaxError, ValueError):  # templates that are no Python
            continue


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """A module and its statements as ``ast.walk`` has them, without the expressions, which are most of it."""
    level: list[ast.AST] = [tree]
    while level:
        yield from level
        level = [
            child
            for node in level
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case)
        ]


def _files_of(root: Path, modules: Sequence[str]) -> list[Path]:
    found = []
    for name in modules:
        path = root / name.replace(".", "/")
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        if not all(file.is_file() for file in files) or not files:
            raise ValueError(f"modules: no source of {name!r} in {root}")
        found += files
    return found
