"""How a test session sets up JAX: tests compile thousands of small programs and run each a few times."""

import gc
import os
from importlib.metadata import version
from typing import Any

import pytest

# Most of the time is the compiler's, half of it that of its way through MLIR ("fusion emitters"). JAX 0.10,
# the last for Python 3.11, can do without. Later releases cannot, and end at a flag that they do not know:
# there the tests see the compiler's way as users have it, as 0.10 does with the flag set to true. It is set
# in the environment, before JAX is imported, so that programs that tests start compute the same; so is that
# they leave out what LLVM takes long for, as this process does on every release.
if version("jaxlib").startswith("0.10.") and "fusion_emitters" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import jax

jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


# Where the longest files are: they are handed out first, so that no worker is left with one at the end.
LONGEST = ("train", "backbones", "segmentation", "training")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Live comparisons with PyTorch run only when asked for by ``-m parity``."""
    items.sort(key=lambda item: (*LONGEST, item.path.parent.name).index(item.path.parent.name))
    if "parity" in (config.getoption("-m") or ""):
        return
    wanted = [item for item in items if item.get_closest_marker("parity") is None]
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("parity")])
    items[:] = wanted


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``-n 2`` hands out whole files: what a module makes or compiles for its tests is made once."""
    if config.getoption("dist") != "load":
        return None  # another way was asked for
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # that puts files of many tests first, not those of long ones
    return LoadFileScheduling(config, log)


def pytest_collection_finish() -> None:
    """The garbage collector leaves alone what was imported: it would look through it all time and again."""
    gc.collect()
    gc.freeze()
