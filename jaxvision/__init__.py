"""Computer vision in pure functional JAX."""

import importlib
from typing import Any

__version__ = "0.1.0"

_ROOMS = frozenset(
    {
        *("backbones", "core", "data", "export", "graph", "inspect", "layers", "losses", "metrics", "ops"),
        *("optimizers", "pictures", "segmentation", "sequence", "tasks", "training", "weights", "zoo"),
    }
)


def __getattr__(name: str) -> Any:
    """Imports a room when it is first asked for: ``jaxvision.losses`` after ``import jaxvision`` alone."""
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its rooms are {sorted(_ROOMS)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
