"""Variables from Orbax checkpoints: those of a training run here, and plain ones of variables."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxvision.core import flatten_paths, map_paths, unflatten_paths

_AVERAGE = re.compile(r"(opt_state/(?:.+/)?average)/(.+)")


def read_orbax_folder(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads variables from an Orbax checkpoint; Orbax must be installed.

    Args:
      path: the folder of a run (the newest checkpoint is read), its ``checkpoints``, one step in there, or a
        folder that ``orbax.checkpoint.StandardCheckpointer`` or ``PyTreeCheckpointer`` saved
        ``{"params": ..., "batch_stats": ...}`` to.

    Returns:
      Nested dicts of numpy arrays: ``{"params": ..., "batch_stats": ...}``. From a run that averages its
      parameters, the averaged ones, which it evaluates.

    Raises:
      ModuleNotFoundError: without Orbax.
      ValueError: if there is no whole checkpoint, or none of variables.
    """
    item = _find_item(Path(path).absolute())
    try:
        import orbax.checkpoint as ocp
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path}: reading an Orbax checkpoint needs Orbax: pip install 'jaxvision[train]'"
        ) from error
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            tree = checkpointer.metadata(item).item_metadata.tree
            saved = flatten_paths(tree)
            chosen = _choose(saved)
            if not any(ours.startswith("params/") for ours in chosen.values()):
                raise ValueError(f"it holds {sorted(saved)[:3]} and the like, but no 'params'")
            template = map_paths(lambda path, leaf: leaf if path in chosen else ocp.PLACEHOLDER, tree)
            types = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), template)
            args = ocp.args.PyTreeRestore(item=template, restore_args=types)
            restored = flatten_paths(checkpointer.restore(item, args=args))
    except Exception as error:  # Orbax raises many kinds for a checkpoint that is damaged
        raise ValueError(
            f"{path}: no Orbax checkpoint of variables ({type(error).__name__}: {str(error)[:300]}); "
            "give the folder of a run, or one that holds {'params': ..., 'batch_stats': ...}"
        ) from error
    return unflatten_paths({ours: restored[theirs] for theirs, ours in chosen.items()})


def _find_item(folder: Path) -> Path:
    """The folder of arrays below the one that was named."""
    if (folder / "checkpoints").is_dir():
        folder = folder / "checkpoints"
    steps = [int(child.name) for child in folder.iterdir() if child.is_dir() and child.name.isdigit()]
    if steps:
        folder = folder / str(max(steps))
    for item in (folder / "state", folder / "default", folder):  # a run's, CheckpointManager's, a plain one
        if (item / "_METADATA").is_file():
            return item
    raise ValueError(
        f"{folder}: no whole Orbax checkpoint is in this folder; give the folder of a run, one of its steps, "
        "or that of a checkpoint of variables"
    )


def _choose(saved: Iterable[str]) -> Mapping[str, str]:
    """Which of the saved paths are variables, and their paths as variables."""
    own = {path: path for path in saved if path.startswith(("params/", "batch_stats/"))}
    state = {path: path.removeprefix("model_state/") for path in saved if path.startswith("model_state/")}
    averages: dict[str, dict[str, str]] = {}
    for path in saved:
        if match := _AVERAGE.fullmatch(path):
            averages.setdefault(match[1], {})[path] = f"params/{match[2]}"
    params = {path for path in own if path.startswith("params/")}
    whole = [average for average in averages.values() if set(average.values()) == params]
    if len(whole) == 1:
        own = {path: name for path, name in own.items() if path not in params} | whole[0]
    return own | state
