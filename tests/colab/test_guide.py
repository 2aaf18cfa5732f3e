"""The code of the guide and of the README runs, and the names that they mention are there."""

import contextlib
import importlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "colab" / "GUIDE.md"
README = ROOT / "README.md"
PAGES = [GUIDE, README]

# The only blocks that are not run: what they need is not in the repository. A block is named by its first
# lines; one that is no longer there fails the test.
NEEDS_WEIGHTS = 'weights="efficientnet-lite0.pth"'


def python_blocks(page: Path) -> list[str]:
    """The fenced blocks of Python code, in order."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def mentioned_names(page: Path) -> set[str]:
    """Dotted names of the library in code spans and blocks."""
    text = page.read_text()
    return set(re.findall(r"\bjaxvision(?:\.[A-Za-z_]\w*)+", text))


def resolve(name: str):
    """The object of a dotted name: the longest module in it, and attributes of that."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            found = importlib.import_module(".".join(parts[:end]))
            for part in parts[end:]:
                found = getattr(found, part)
            return found
    raise AssertionError(name)


@pytest.mark.slow
def test_the_guides_code_runs_from_the_first_block_to_the_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks, names = python_blocks(GUIDE), {"__name__": "guide"}
    assert len(blocks) >= 8
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in blocks:
            exec(compile(block, str(GUIDE), "exec"), names)
    assert "batch/images was float32[4, 8, 8, 3] and is float32[3, 8, 8, 3]" in printed.getvalue()
    assert "memory of a step, each device" in printed.getvalue()
    # What comments in the code say.
    assert names["model"].apply and names["values"].shape == (2, 4, 4)
    weights = names["losses"].inverse_frequency_weights(names["pixels"]).round(2).tolist()
    assert weights == [0.34, 13.33, 66.67]
    assert names["losses"].log_frequency_weights(names["pixels"]).round(2).tolist() == [1.45, 22.72, 40.5]


@pytest.mark.slow
def test_the_readmes_code_runs_but_for_what_needs_weights():
    blocks = python_blocks(README)
    waiting = [block for block in blocks if NEEDS_WEIGHTS in block]
    assert len(waiting) == 1, "the block that needs published weights is another one now"
    for block in blocks:
        compile(block, str(README), "exec")
        if block in waiting:
            continue
        names = {"__name__": "readme"}
        exec(compile(block, str(README), "exec"), names)
        assert names["logits"].shape == (1, 224, 224, 21)
        assert names["loss"].shape == (1, 224, 224)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_of_the_library_is_there(page):
    names = mentioned_names(page)
    assert len(names) > 10
    missing = []
    for name in sorted(names):
        try:
            resolve(name)
        except (AssertionError, AttributeError):
            missing.append(name)
    assert not missing


def test_a_name_that_is_not_there_is_found():
    with pytest.raises(AttributeError):
        resolve("jaxvision.losses.dise_loss")
    with pytest.raises(AttributeError):
        resolve("jaxvision.loses")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_of_the_repository_lead_somewhere(page):
    text = page.read_text()
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    headings = [
        re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)
    ]
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_commands_of_the_guide_name_scripts_and_options_that_exist():
    for line in re.findall(r"^python (train/\S+\.py)(.*)$", GUIDE.read_text(), re.MULTILINE):
        script, options = line
        assert (ROOT / script).is_file()
        known = (ROOT / "jaxvision" / "tasks" / "segmentation_losses.py").read_text()
        for option in re.findall(r"--loss\.([a-z-]+)", options):
            assert re.search(rf"^    {option.replace('-', '_')}:", known, re.MULTILINE), option
