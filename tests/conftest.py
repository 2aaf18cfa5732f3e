import os

import jax
import pytest

# Tests compile many small programs and run each once: most of the time is the compiler's.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
os.environ.setdefault("MPLBACKEND", "agg")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Live comparisons with PyTorch run only when asked for by ``-m parity``."""
    if "parity" in (config.getoption("-m") or ""):
        return
    wanted = [item for item in items if item.get_closest_marker("parity") is None]
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("parity")])
    items[:] = wanted
