"""Notebooks are what their sources make, and run from top to bottom; a broken one is reported."""

import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import pytest
from oracles.annotation_files import SQUARE, TRIANGLE, labelme, shape, write_json, write_photo
from PIL import Image

COLAB = Path(__file__).parents[2] / "colab"
SOURCES = sorted(COLAB.glob("[0-9][0-9]_*.py"))
INSTALL = (COLAB / "install.py").read_text()

TINY = f"""# %% [markdown]
# # Tiny

# %% install
{INSTALL}
# %%
1 + 1

# %%
1 + 1
"""
SOUND = f"""# %% [markdown]
# # A figure, an animation, a warning

# %% install
{INSTALL}
# %%
import io, os, pathlib, sys, warnings
import matplotlib.pyplot as plt
from IPython.display import Image, display
import PIL.Image

warnings.warn("heard, not failed")
assert sys.executable == {sys.executable!r}
assert not (pathlib.Path.cwd() / "pair.py").exists()
plt.plot([1, 2])
plt.show()

# %%
frames = [PIL.Image.new("L", (4, 3), shade) for shade in (0, 255)]
file = io.BytesIO()
frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
display(Image(data=file.getvalue(), format="gif"))
"""
BROKEN = f"""# %% install
{INSTALL}
# %%
value = 0

# %%
print(1 / value)
"""


@pytest.fixture(scope="module")
def pair():
    specification = importlib.util.spec_from_file_location("colab_pair", COLAB / "pair.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def folder(pair, tmp_path):
    """A folder with one notebook and its source."""
    (tmp_path / "install.py").write_text(INSTALL)
    (tmp_path / "01_tiny.py").write_text(TINY)
    assert pair.main([], folder=tmp_path) == 0
    return tmp_path


def test_notebooks_are_what_their_sources_make(pair):
    assert SOURCES
    assert pair.find_problems(COLAB) == []


def run_small(source, folder, **environment):
    """Runs a notebook in its small size; its figures are in the folder, and none is blank."""
    # Most of the time of a small notebook is the compiler's, as in the other tests (conftest.py).
    small = {"SMALL": "1", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    done = subprocess.run(
        [sys.executable, str(COLAB / "pair.py"), "--figures", str(folder), str(source)],
        env=os.environ | small | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for figure in folder.glob("*.png"):
        with Image.open(figure) as picture:
            low, high = picture.convert("L").getextrema()
        assert low < high, f"{figure.name} is blank"


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebook_runs_from_top_to_bottom(source, tmp_path):
    run_small(source, tmp_path)


@pytest.mark.slow
def test_06_runs_on_one_device_as_well(tmp_path):
    run_small(COLAB / "06_many_devices.py", tmp_path, JAX_NUM_CPU_DEVICES="1")  # as a TPU of one chip


@pytest.mark.slow
def test_03_segments_ones_own_images_of_any_size(tmp_path):
    photos = tmp_path / "photos"
    for number in range(16):
        name, size = f"{number:02d}", ((80, 100), (64, 64), (150, 90))[number % 3]
        write_photo(photos / f"{name}.png", size)
        shapes = [shape("car", SQUARE), shape("road", TRIANGLE)]
        write_json(photos / f"{name}.json", labelme(f"{name}.png", shapes, size))
    (photos / "labels.txt").write_text("car\nroad\nboat\n")  # no picture shows a boat
    text = (COLAB / "03_segment.py").read_text()
    # Steps enough that no boat is found either: its IoU is then none.
    for old, new in (('ROOT = ""', f"ROOT = {str(photos)!r}"), ("(24, 8, (8, 16))", "(24, 24, (8, 16))")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    text += '\n# %%\nassert [bool(np.isnan(value)) for value in iou] == [name == "boat" for name in names]\n'
    (tmp_path / "03_own.py").write_text(text)
    # On several devices, for the notebooks above run on one (06 on eight).
    run_small(tmp_path / "03_own.py", tmp_path / "figures", JAX_NUM_CPU_DEVICES="8")


def test_a_broken_notebook_is_reported_and_a_sound_one_draws(tmp_path):
    (tmp_path / "01_sound.py").write_text(SOUND)
    (tmp_path / "02_broken.py").write_text(BROKEN)
    command = [sys.executable, str(COLAB / "pair.py"), "--figures", str(tmp_path / "figures")]
    files = [str(tmp_path / "02_broken.py"), str(tmp_path / "01_sound.py")]
    done = subprocess.run([*command, *files], capture_output=True, text=True)
    assert done.returncode == 1
    assert "02_broken.py failed" in done.stderr
    assert "print(1 / value)" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "01_sound.py failed" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        *("01_sound-1.png", "01_sound-2.gif", "01_sound-2.png")
    ]
    with Image.open(tmp_path / "figures" / "01_sound-2.png") as sheet:
        assert sheet.size == (4, 6)  # both frames
        assert [sheet.convert("L").getpixel((0, row)) for row in (0, 3)] == [0, 255]


def test_making_a_notebook_again_changes_nothing(pair, folder):
    path = folder / "01_tiny.ipynb"
    before = path.read_bytes()
    assert pair.write_pairs(folder, pair.find_sources(folder)) == []
    assert path.read_bytes() == before
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "code", "code"]
    assert notebook.metadata.kernelspec.name == "python3"
    assert "outputs" not in notebook.cells[0]
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells[1:])


def test_ids_are_unique_and_stay_when_a_cell_is_put_in(pair):
    def ids(text):
        return [cell.id for cell in pair.make_notebook(text).cells]

    before, after = ids(TINY), ids(TINY.replace("# # Tiny\n", "# # Tiny\n\n# %%\n2\n"))
    assert len(set(before)) == len(before) == 4
    assert [name for name in after if name in before] == before
    assert len(after) == 5


def _edit_notebook(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


BREAKS = {
    "01_tiny.ipynb: is stale": lambda f: (f / "01_tiny.py").write_text(TINY.replace("1 + 1", "1 + 2", 1)),
    "01_tiny.ipynb: has outputs": lambda f: _edit_notebook(
        f / "01_tiny.ipynb",
        lambda content: content["cells"][2].update(
            outputs=[{"output_type": "stream", "name": "stdout", "text": "2"}]
        ),
    ),
    "01_tiny.ipynb: has outputs (count)": lambda f: _edit_notebook(
        f / "01_tiny.ipynb", lambda content: content["cells"][3].update(execution_count=4)
    ),
    "01_tiny.ipynb: is missing": lambda f: (f / "01_tiny.ipynb").unlink(),
    "01_tiny.ipynb: is no notebook": lambda f: (f / "01_tiny.ipynb").write_text("<html>"),
    "01_tiny.ipynb: is no notebook (list)": lambda f: (f / "01_tiny.ipynb").write_text("[]"),
    "01_tiny.ipynb: there is no 01_tiny.py": lambda f: (f / "01_tiny.py").unlink(),
    "01_tiny.py: its install cell is not that": lambda f: (f / "01_tiny.py").write_text(
        TINY.replace("import pathlib\n", "import os\n")
    ),
    "01_tiny.py: expected one cell '# %% install'": lambda f: (f / "01_tiny.py").write_text("# %%\n1\n"),
}


@pytest.mark.parametrize("problem", BREAKS)
def test_the_check_names_a_pair_that_is_not_fresh(pair, folder, capsys, problem):
    assert pair.main(["--check"], folder=folder) == 0
    assert capsys.readouterr().err == ""
    BREAKS[problem](folder)
    assert pair.main(["--check"], folder=folder) == 1
    assert problem.partition(" (")[0] in capsys.readouterr().err


def test_the_check_of_some_files_looks_at_these_pairs_alone(pair, folder, capsys):
    (folder / "02_stale.py").write_text(TINY)
    assert pair.main(["--check", str(folder / "01_tiny.py")], folder=folder) == 0
    assert pair.main(["--check", str(folder / "02_stale.ipynb")], folder=folder) == 1
    assert capsys.readouterr().err == "02_stale.ipynb: is missing\n"


def test_without_jupytext_it_says_what_to_install(tmp_path):
    (tmp_path / "jupytext.py").write_text("raise ModuleNotFoundError(\"No module named 'jupytext'\")")
    command = [sys.executable, str(COLAB / "pair.py"), "--check"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "No module named 'jupytext': to make and run notebooks, install the extra dev: pip" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_install_cell_is_written_into_every_source(pair, folder):
    (folder / "01_tiny.py").write_text(TINY.replace("import pathlib\n", "import os\n"))
    assert [path.name for path in pair.write_pairs(folder, [folder / "01_tiny.py"])] == ["01_tiny.py"]
    assert (folder / "01_tiny.py").read_text() == TINY
    (folder / "01_tiny.py").write_text("# %%\n1\n")
    with pytest.raises(ValueError, match=r"01_tiny\.py: expected one cell '# %% install'"):
        pair.write_pairs(folder, [folder / "01_tiny.py"])


# The install cell ------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine whose installed packages a test chooses; what would be run is written down."""
    state = types.SimpleNamespace(missing=set(), dists={}, commands=[], returncode=0, folders=set())

    def find_spec(name):
        origin = None if name in state.folders else f"{name}/__init__.py"
        return None if name in state.missing else types.SimpleNamespace(origin=origin)

    def run_command(command, **options):
        state.commands.append(command)
        return types.SimpleNamespace(returncode=state.returncode)

    dists = lambda: [types.SimpleNamespace(name=name) for name in [*state.dists, *state.dists, None]]  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    monkeypatch.setattr("importlib.metadata.distributions", dists)
    monkeypatch.setattr("importlib.metadata.version", lambda name: state.dists[name])
    monkeypatch.setattr("subprocess.run", run_command)
    monkeypatch.chdir(tmp_path)
    return state


def _install(repository=""):
    exec(INSTALL.replace('REPOSITORY = ""', f"REPOSITORY = {repository!r}"), {})


COLAB_DISTS = {"jax": "0.10.1", "jaxlib": "0.10.1", "libtpu": "0.0.40", "numpy": "2.3.0", "jaxvision": "9"}
KEPT = ["jax==0.10.1", "jaxlib==0.10.1", "libtpu==0.0.40"]


def test_nothing_is_installed_where_jaxvision_is(machine):
    machine.dists = COLAB_DISTS
    _install()
    _install("git+https://host/owner/jaxvision")
    assert machine.commands == []


def test_an_address_is_installed_and_the_jax_that_is_there_stays(machine):
    machine.missing, machine.dists = {"jaxvision", "grain"}, COLAB_DISTS
    _install("git+https://host/owner/jaxvision")
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    assert machine.commands == [[*pip, "jaxvision[colab] @ git+https://host/owner/jaxvision", *KEPT]]


@pytest.mark.parametrize("there", ["colab", "."])
def test_a_clone_is_installed_from_where_it_lies(machine, monkeypatch, tmp_path, there):
    # In the clone's own folder jaxvision can be imported, but what it needs may not be there.
    machine.missing = {"jaxvision"} if there == "colab" else {"grain"}
    (tmp_path / "jaxvision").mkdir()
    (tmp_path / "jaxvision" / "__init__.py").touch()
    (tmp_path / "colab").mkdir()
    monkeypatch.chdir(tmp_path / there)
    _install()
    (command,) = machine.commands
    assert command[5:] == [f"{tmp_path}[colab]"]  # no JAX was there, so none is kept


def test_a_folder_of_the_name_is_no_package(machine, tmp_path):
    # A clone called jaxvision in the working folder is found as a namespace, which holds nothing.
    machine.folders = {"jaxvision"}
    (tmp_path / "jaxvision" / "jaxvision").mkdir(parents=True)
    with pytest.raises(RuntimeError, match="no clone of jaxvision here: set REPOSITORY above"):
        _install()
    assert machine.commands == []
    (tmp_path / "jaxvision" / "jaxvision" / "__init__.py").touch()
    _install()
    assert machine.commands[0][5:] == [f"{tmp_path}/jaxvision[colab]"]


def test_a_jax_that_is_too_old_is_named(machine):
    machine.missing, machine.dists = {"flatbuffers"}, COLAB_DISTS | {"jax": "0.7.2"}
    with pytest.raises(RuntimeError, match=r"jax==0\.7\.2 is too old, 0\.10 is needed"):
        _install("x")
    assert machine.commands == []


def test_a_failed_installation_says_beside_what(machine):
    machine.missing, machine.dists, machine.returncode = {"jaxvision"}, COLAB_DISTS, 1
    with pytest.raises(RuntimeError, match=r"pip could not install jaxvision\[colab\] @ x beside \['jax==0"):
        _install("x")
