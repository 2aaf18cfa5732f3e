"""Makes each notebook ``NN_title.ipynb`` from its source ``NN_title.py``, checks the pairs, and runs them.

::

    python colab/pair.py                        # write the install cell into the sources, and the notebooks
    python colab/pair.py --check [FILES]        # fail and name each pair that is not fresh
    python colab/pair.py --figures DIR [FILES]  # run notebooks; their figures become DIR/NN_title-K.png

A source is Python with cells marked by ``# %%`` (jupytext's percent format): it runs as a script, and its
changes can be read. A notebook is made from it alone, without outputs, so that making it again changes
nothing. The cell ``# %% install`` is the same everywhere and is kept in ``install.py``. ``SMALL=1`` in the
environment makes the notebooks small.
"""

import argparse
import base64
import collections
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

try:
    import jupytext
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from nbformat import NotebookNode
except ModuleNotFoundError as error:
    sys.exit(f'{error}: to make and run notebooks, install the extra dev: pip install -e ".[dev]"')

FOLDER = Path(__file__).parent

# Colab opens the notebook on a v5e TPU where the account has one, on a CPU else.
METADATA = {
    "accelerator": "TPU",
    "colab": {"gpuType": "V5E1", "provenance": []},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_SECONDS = 600
FRAMES = 6  # shown of an animation
_INSTALL = re.compile(r"^# %% install\n.*?(?=^# %%)", re.MULTILINE | re.DOTALL)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Run(NamedTuple):
    """A notebook after its execution.

    Attributes:
      notebook: with its outputs.
      seconds: from the start of the kernel to its end.
      error: the cell that failed and its traceback; None if all went through.
    """

    notebook: NotebookNode
    seconds: float
    error: str | None


def find_sources(folder: Path) -> list[Path]:
    """The sources of the notebooks in a folder, ``NN_title.py``, in order."""
    return sorted(folder.glob("[0-9][0-9]_*.py"))


def with_install_cell(text: str, cell: str) -> str:
    """A source with ``cell`` in the place of its install cell.

    Raises:
      ValueError: if it has not one cell ``# %% install``, with another one behind it.
    """
    found = len(_INSTALL.findall(text))
    if found != 1:
        raise ValueError(f"expected one cell '# %% install' and a cell behind it, found {found}")
    whole = f"# %% install\n{cell.strip()}\n\n"
    return _INSTALL.sub(lambda _: whole, text)


def make_notebook(text: str) -> NotebookNode:
    """The notebook of a source: no outputs, and ids that depend on the cells' text alone.

    Args:
      text: in the percent format.
    """
    notebook = jupytext.reads(text, fmt="py:percent")
    seen: collections.Counter[str] = collections.Counter()
    for cell in notebook.cells:
        name = hashlib.sha256(cell.source.encode()).hexdigest()[:12]
        seen[name] += 1
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
        cell.metadata = NotebookNode()
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5  # the first with ids
    return notebook


def notebook_text(notebook: NotebookNode) -> str:
    """The text of a notebook's file."""
    return str(nbformat.writes(notebook)).rstrip("\n") + "\n"


def write_pairs(folder: Path, sources: Sequence[Path]) -> list[Path]:
    """Writes the install cell into sources and makes their notebooks.

    Args:
      folder: with ``install.py``.
      sources: to write.

    Returns:
      The files that changed.

    Raises:
      ValueError: if a source has no install cell.
    """
    cell = (folder / "install.py").read_text()
    changed = []
    for source in sources:
        try:
            text = with_install_cell(source.read_text(), cell)
        except ValueError as error:
            raise ValueError(f"{source.name}: {error}") from None
        for path, new in ((source, text), (source.with_suffix(".ipynb"), notebook_text(make_notebook(text)))):
            if not path.exists() or path.read_text() != new:
                path.write_text(new)
                changed.append(path)
    return changed


def find_problems(folder: Path, *, files: Sequence[Path] = ()) -> list[str]:
    """What is wrong with pairs, one line each; empty if nothing is.

    A notebook without source or a source without notebook, an install cell that is not that of
    ``install.py``, outputs, and a notebook that is not what its source makes.

    Args:
      folder: with ``install.py``.
      files: a source or a notebook of each pair to check; by default all in the folder.
    """
    cell = (folder / "install.py").read_text()
    problems = []
    for source in _sources_of(files or [*find_sources(folder), *folder.glob("*.ipynb")]):
        if not source.exists():
            problems.append(f"{source.stem}.ipynb: there is no {source.name} to make it from")
            continue
        text = source.read_text()
        try:
            if with_install_cell(text, cell) != text:
                problems.append(f"{source.name}: its install cell is not that of install.py")
        except ValueError as error:
            problems.append(f"{source.name}: {error}")
        problem = _notebook_problem(source.with_suffix(".ipynb"), notebook_text(make_notebook(text)))
        problems += [f"{source.stem}.ipynb: {problem}"] if problem else []
    return problems


def run(source: Path) -> Run:
    """Makes the notebook of a source and executes it in a folder of its own, with this Python.

    Args:
      source: in the percent format.

    Returns:
      The notebook with the outputs of its cells, up to the one that failed.
    """
    notebook = make_notebook(source.read_text())
    # The notebook draws inline, as on Colab, whatever this process would draw with.
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    started, error = time.perf_counter(), None
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            startup_timeout=CELL_SECONDS,
            kernel_name="python3",
            extra_arguments=[
                "--log-level=ERROR"
            ],  # no warning that the kernel listens, on this machine alone
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute(env=environment)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as raised:
            error = _COLOURS.sub("", str(raised))
    return Run(notebook, time.perf_counter() - started, error)


def find_figures(notebook: NotebookNode) -> Iterator[tuple[str, bytes]]:
    """The pictures among a notebook's outputs: ``"png"`` or ``"gif"``, and the file's content."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind in ("png", "gif"):
                if content := output.get("data", {}).get(f"image/{kind}"):
                    yield kind, base64.b64decode(content)


def write_figures(notebook: NotebookNode, folder: Path, stem: str) -> list[Path]:
    """Writes the pictures of a notebook's outputs, an animation also as some of its frames.

    Args:
      notebook: with outputs.
      folder: to write to; it is made.
      stem: of the files: picture K becomes ``stem-K.png``.

    Returns:
      The PNG files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (kind, content) in enumerate(find_figures(notebook), start=1):
        if kind == "gif":
            (folder / f"{stem}-{number}.gif").write_bytes(content)
            content = _frames_sheet(content)
        paths.append(folder / f"{stem}-{number}.png")
        paths[-1].write_bytes(content)
    return paths


def main(arguments: Sequence[str], *, folder: Path = FOLDER) -> int:
    """Makes, checks or runs notebooks; returns the exit code.

    Args:
      arguments: of the command line.
      folder: of the notebooks, where no files are named.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if a pair is not fresh")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="run, and write figures there")
    parser.add_argument("files", nargs="*", type=Path, help="some notebooks (.py or .ipynb); default all")
    options = parser.parse_args(arguments)
    sources = _sources_of(options.files) or find_sources(folder)
    if options.check:
        problems = find_problems(folder, files=options.files)
        for problem in problems:
            print(problem, file=sys.stderr)
        return 1 if problems else 0
    if options.figures is None:
        for path in write_pairs(folder, sources):
            print(f"wrote {path}")
        return 0
    return max((_run_and_report(source, options.figures) for source in sources), default=0)


def _sources_of(files: Sequence[Path]) -> list[Path]:
    """The source of each pair of which a file is given, once and in order."""
    return sorted({path.with_suffix(".py") for path in files})


def _run_and_report(source: Path, figures: Path) -> int:
    done = run(source)
    paths = write_figures(done.notebook, figures, source.stem)
    print(f"{source.stem}: {done.seconds:.1f} s, {len(paths)} figures", flush=True)
    if done.error:
        print(f"{source.name} failed\n{done.error}", file=sys.stderr, flush=True)
    return 1 if done.error else 0


def _notebook_problem(path: Path, expected: str) -> str:
    """What is wrong with a notebook's file, or nothing."""
    if not path.exists():
        return "is missing"
    text = path.read_text()
    try:
        cells: list[dict[str, Any]] = json.loads(text)["cells"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return "is no notebook"
    if any(cell.get("outputs") or cell.get("execution_count") for cell in cells):
        return "has outputs"
    return "" if text == expected else "is stale: its source makes another"


def _frames_sheet(content: bytes) -> bytes:
    """Some frames of an animation, one below the other, as a PNG."""
    with Image.open(io.BytesIO(content)) as animation:
        count = getattr(animation, "n_frames", 1)
        shown = min(FRAMES, count)
        sheet = Image.new("RGB", (animation.width, animation.height * shown))
        for row in range(shown):
            animation.seek(row * (count - 1) // max(shown - 1, 1))
            sheet.paste(animation.convert("RGB"), (0, animation.height * row))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
