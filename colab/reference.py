"""Writes the reference of every public name of jaxvision as HTML, from the docstrings.

    python colab/reference.py                     # build/reference/index.html
    python colab/reference.py --out site
    python colab/reference.py --check             # writes nothing, only looks for what is undocumented

A room's public names are those that its ``__init__`` re-exports. The command ends with 1 and names each of
them that says nothing about itself: a room, function, class, method or constant without a docstring, a field
of a record or of a network that no ``Attributes`` entry explains, an ``Args`` entry of no argument.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # what is checked needs no pdoc, only what is written
    import pdoc.doc

PACKAGE = Path(__file__).parents[1] / "jaxvision"

# What has a docstring is shown. A Linen module is called, so its __call__ belongs on its page; the fields of
# a record are in its own docstring, and Python's words on them say nothing.
TEMPLATE = """
{% extends "default/module.html.jinja2" %}
{% macro is_public(doc) %}
    {% if doc.kind == "module" %}
        {% if doc.fullname in all_modules %}true{% endif %}
    {% elif doc.name == "__init__" %}
        {% if doc.kind == "function" and doc.signature_without_self.parameters %}true{% endif %}
    {% elif doc.docstring and not doc.docstring.startswith("Alias for field number") %}
        {% if doc.name == "__call__" or not doc.name.startswith("_") %}true{% endif %}
    {% endif %}
{% endmacro %}
"""

_SECTION = re.compile(r"^ *(Args|Attributes):$", re.MULTILINE)


class Export(NamedTuple):
    """A public name and what defines it.

    Attributes:
      name: dotted, of the room that exports it.
      node: the definition.
      docstring: of it; of a constant the string below it.
    """

    name: str
    node: ast.stmt
    docstring: str | None


class Room(NamedTuple):
    """A package that re-exports names.

    Attributes:
      name: dotted.
      docstring: of the package.
      exports: in the order of its file.
    """

    name: str
    docstring: str | None
    exports: tuple[Export, ...]


def read_rooms(folder: Path) -> list[Room]:
    """The rooms of a package, from its source: nothing is imported.

    Args:
      folder: of the package; a folder inside of it whose name begins with an underscore is private.
    """
    rooms = []
    for path in sorted(folder.rglob("__init__.py")):
        parts = path.parent.relative_to(folder.parent).parts
        if any(part.startswith("_") for part in parts):
            continue
        name, tree = ".".join(parts), ast.parse(path.read_text())
        public = [word for word in _names(tree) if not word.startswith("_")]
        exports = tuple(_find(folder, name, word)._replace(name=f"{name}.{word}") for word in public)
        rooms.append(Room(name, ast.get_docstring(tree), exports))
    return rooms


def undocumented(rooms: list[Room]) -> list[str]:
    """A line for each public name that says nothing about itself."""
    lines = []
    for room in rooms:
        if not room.docstring:
            lines.append(f"{room.name}: the room has no docstring")
        for export in room.exports:
            lines += _problems(export)
    return lines


def _names(tree: ast.Module) -> Iterator[str]:
    """What a package's file re-exports by ``import x as x``, and what it defines."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.asname == alias.name)
        else:
            yield from _defined(node)


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _find(folder: Path, module: str, name: str) -> Export:
    """The definition of a name, followed from module to module.

    Raises:
      ValueError: if the module neither defines nor imports it from the package.
    """
    path = folder.parent.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = ast.parse(path.read_text()).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if name in _defined(node):
            return Export(f"{module}.{name}", node, _docstring(node, after))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == folder.name:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(folder, str(node.module), alias.name)
    raise ValueError(f"{module}: no definition of {name}")


def _docstring(node: ast.stmt, after: ast.stmt | None) -> str | None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return ast.get_docstring(node)
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
        return str(after.value.value)
    return None


def _problems(export: Export) -> Iterator[str]:
    name, node, docstring = export
    if not docstring:
        kind = {"FunctionDef": "function", "AsyncFunctionDef": "function", "ClassDef": "class"}
        yield f"{name}: the {kind.get(type(node).__name__, 'constant')} has no docstring"
    if isinstance(node, ast.FunctionDef):
        yield from _unknown_arguments(name, node)
    if isinstance(node, ast.ClassDef):
        yield from _class_problems(name, node)


def _class_problems(name: str, node: ast.ClassDef) -> Iterator[str]:
    docstring = ast.get_docstring(node) or ""
    known = _entries(docstring)
    for item, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(item, ast.FunctionDef) and (not item.name.startswith("_") or item.name == "__call__"):
            if not ast.get_docstring(item):
                yield f"{name}.{item.name}: the method has no docstring"
            yield from _unknown_arguments(f"{name}.{item.name}", item)
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            field = item.target.id
            if field.startswith("_") or "ClassVar" in ast.unparse(item.annotation):
                continue
            if field not in known and not _docstring(item, after):
                yield f"{name}.{field}: the field has no entry under Attributes"


def _unknown_arguments(name: str, node: ast.FunctionDef) -> Iterator[str]:
    """Entries under ``Args`` of what is no argument: of an older version, or misspelt."""
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    docstring = ast.get_docstring(node) or ""
    for entry in sorted(_entries(docstring, section="Args") - {argument.arg for argument in every}):
        yield f"{name}: Args explains {entry!r}, which is no argument"


def _entries(docstring: str, *, section: str | None = None) -> set[str]:
    """Names with an entry under ``Args`` or ``Attributes`` of a docstring in Google's style."""
    found: set[str] = set()
    for heading in _SECTION.finditer(docstring):
        if section is not None and heading.group(1) != section:
            continue
        inside = docstring[heading.end() :].lstrip("\n")
        indent = len(inside) - len(inside.lstrip(" "))
        for line in inside.splitlines():
            if line and len(line) - len(line.lstrip(" ")) < indent:
                break
            if entry := re.match(rf" {{{indent}}}(\*{{0,2}}\w+(?:, \*{{0,2}}\w+)*)(?: \(.*?\))?:", line):
                found |= {word.strip("* ") for word in entry.group(1).split(",")}
    return found


def to_markdown(docstring: str) -> str:
    r"""Turns what our docstrings have of Sphinx into Markdown with MathJax.

    ``:func:`jaxvision.ops.resize``` becomes a code span (which pdoc links), ``:math:`` and ``.. math::``
    become formulas, a literal block after ``::`` a fenced one.
    """
    lines, done = docstring.splitlines(), []
    while lines:
        line = lines.pop(0)
        indent = len(line) - len(line.lstrip(" "))
        if match := re.match(r" *\.\. math::(.*)", line):
            block = [match.group(1).strip(), *_deeper(lines, indent)]
            formula = " ".join(text.strip() for text in block if text.strip())
            done += ["", " " * indent + f"<div>$${formula.replace('<', r'&lt;')}$$</div>", ""]
        elif line.rstrip().endswith("::") and (block := _deeper(lines, indent)):
            margin = min(len(text) - len(text.lstrip(" ")) for text in block if text.strip())
            code = [" " * indent + text[margin:] for text in block]
            done += [line.rstrip()[:-1], "", " " * indent + "```python", *code, " " * indent + "```", ""]
        else:
            done.append(line)
    text = "\n".join(done)
    # "**options: of the call" is an entry, no emphasis.
    text = re.sub(
        r"^( +)(\*{1,2})(?=\w+:)", lambda m: m[1] + m[2].replace("*", r"\*"), text, flags=re.MULTILINE
    )
    text = re.sub(r":math:`([^`]+)`", lambda match: _inline_formula(match.group(1)), text)
    return re.sub(r":(?:py:)?[a-z]+:`~?([^`]+)`", r"`\1`", text)


def _deeper(lines: list[str], indent: int) -> list[str]:
    """Takes the lines that are indented more, with blank ones between them."""
    block: list[str] = []
    while lines and (not lines[0].strip() or len(lines[0]) - len(lines[0].lstrip(" ")) > indent):
        block.append(lines.pop(0))
    while block and not block[-1].strip():
        lines.insert(0, block.pop())
    return block


def _inline_formula(formula: str) -> str:
    """A formula between MathJax's brackets, whose characters mean nothing to Markdown."""
    one_line = " ".join(formula.split())
    return re.sub(r"([\\`*_{}\[\]()#+\-.!<>|])", r"\\\1", rf"\({one_line}\)")


def write_reference(rooms: list[Room], out: Path) -> None:
    """Writes a page for the package, one for each room, and the index of the search.

    Args:
      rooms: of a package that can be imported, the package itself first.
      out: a folder, which is made; what is in it is replaced.

    Raises:
      ValueError: if the folder holds something that is no reference.
    """

    import jinja2
    from pdoc import render
    from pdoc.render_helpers import to_markdown_with_context

    @jinja2.pass_context
    def markdown(context: jinja2.runtime.Context, docstring: str) -> str:
        return to_markdown_with_context(context, to_markdown(docstring))

    _make_empty(out)
    # pdoc looks for the types behind annotations; what it then shows is the source's text.
    warnings.filterwarnings("ignore", "Error parsing type annotation", UserWarning)
    pages = {room.name: _page(room) for room in rooms}
    pages[rooms[0].name].docstring = _contents(rooms)
    with tempfile.TemporaryDirectory() as templates:
        (Path(templates) / "module.html.jinja2").write_text(TEMPLATE)
        render.configure(docformat="google", math=True, template_directory=Path(templates))
        render.env.filters["to_markdown"] = markdown
        for name, page in pages.items():
            path = out.joinpath(*name.split(".")).with_suffix(".html")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render.html_module(page, pages), encoding="utf-8")
        (out / "index.html").write_text(render.html_index(pages), encoding="utf-8")
        (out / "search.js").write_text(render.search_index(pages), encoding="utf-8")


def _make_empty(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        if not (out / "search.js").exists():
            raise ValueError(f"{out}: holds something else; give an empty folder, or a new one")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)


def _page(room: Room) -> pdoc.doc.Module:
    """What pdoc knows of a room, and what it cannot know: docstrings of constants from other modules."""
    import pdoc.doc

    module: Any = importlib.import_module(room.name)
    words = [export.name.rpartition(".")[2] for export in room.exports]
    module.__all__ = words  # pdoc shows what is in it; our rooms say the same by "import x as x"
    page = pdoc.doc.Module(module)
    for word, export in zip(words, room.exports, strict=True):
        member = page.members[word]
        member.docstring = export.docstring or ""
        if isinstance(export.node, ast.FunctionDef) and isinstance(member, pdoc.doc.Function):
            _write_signature(member, export.node)
        elif isinstance(export.node, ast.ClassDef) and isinstance(member, pdoc.doc.Class):
            _write_class(member, export.node)
    return page


def _write_class(cls: pdoc.doc.Class, node: ast.ClassDef) -> None:
    """Shows fields in the constructor's signature alone, unless they have words of their own below them."""
    import pdoc.doc

    fields = {}
    for item, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(item, ast.FunctionDef) and isinstance(
            method := cls.members.get(item.name), pdoc.doc.Function
        ):
            _write_signature(method, item)
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            fields[item.target.id] = _texts(item.annotation, item.value)
            if item.target.id in cls.members:  # a default that is a function is no method
                cls.members[item.target.id].docstring = _docstring(item, after) or ""
    init = cls.members.get("__init__")
    if isinstance(init, pdoc.doc.Function):
        init.docstring = ""
        added = ("parent", "name") if {"scope", "variables"} <= cls.members.keys() else ()  # of Linen
        for name in added:
            cls.members[name].docstring = ""
        kept = [p for name, p in init.signature.parameters.items() if name not in added]
        init.signature = init.signature.replace(parameters=[_as_written(p, fields) for p in kept])


def _write_signature(function: pdoc.doc.Function, node: ast.FunctionDef) -> None:
    """Puts annotations and defaults as the source has them: ``jax.Array``, not the class behind it."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [*zip(positional, defaults, strict=True)]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    pairs += [(argument, None) for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    texts = {argument.arg: _texts(argument.annotation, default) for argument, default in pairs}
    signature = function.signature
    parameters = [_as_written(parameter, texts) for parameter in signature.parameters.values()]
    returns = signature.return_annotation if node.returns is None else _Text(ast.unparse(node.returns))
    function.signature = signature.replace(parameters=parameters, return_annotation=returns)


class _Text:
    """Shows as the text it was made of."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _texts(annotation: ast.expr | None, default: ast.expr | None) -> tuple[str | None, str | None]:
    return tuple(None if part is None else ast.unparse(part) for part in (annotation, default))


def _as_written(
    parameter: inspect.Parameter, texts: Mapping[str, tuple[str | None, str | None]]
) -> inspect.Parameter:
    annotation, default = texts.get(parameter.name, (None, None))
    if annotation is not None:
        parameter = parameter.replace(annotation=_Text(annotation))
    if default is not None and parameter.default is not inspect.Parameter.empty:
        parameter = parameter.replace(default=_Text(default))
    return parameter


def _contents(rooms: list[Room]) -> str:
    lines = [f"- `{room.name}`: {(room.docstring or '').splitlines()[0]}" for room in rooms[1:]]
    return "\n".join([rooms[0].docstring or "", "", *lines])


def main(arguments: Sequence[str]) -> int:
    """Checks, writes, and returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--package", type=Path, default=PACKAGE, help="folder of the package")
    parser.add_argument("--out", type=Path, default=Path("build/reference"))
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    rooms = read_rooms(options.package)
    names = sum(len(room.exports) for room in rooms)
    problems = undocumented(rooms)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(f"{len(problems)} of {names} names are not documented", file=sys.stderr)
        return 1
    if not options.check:
        sys.path.insert(0, str(options.package.resolve().parent))
        try:
            write_reference(rooms, options.out)
        except ModuleNotFoundError as error:
            print(f"{error}; pip install -e '.[dev]'", file=sys.stderr)
            return 1
        print(f"{options.out / 'index.html'}: {names} names in {len(rooms)} rooms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
