"""Reads weights from disk, and writes our own as safetensors.

``read_weights`` gives the tensors of a file under the file's own names, for
:func:`jaxvision.weights.convert`; ``read_variables`` gives back what ``write_safetensors`` wrote.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from jaxvision.core import flatten_paths, unflatten_paths, write_atomically
from jaxvision.weights.torch_pickle import read_torch_pickle

_SAFETENSORS_DTYPES: Mapping[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_WRAPPERS = ("state_dict", "model")


def read_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a file of weights, by its suffix: ``.safetensors``, ``.npz``, ``.pth`` or ``.pt``.

    ``.pth`` and ``.pt`` are read without PyTorch, by an unpickler that knows tensors and nothing else: a file
    that asks for any other name is refused and none of it is run. A training checkpoint is unwrapped: if the
    file holds a dict with a dict under ``"state_dict"`` or ``"model"``, that inner dict is returned and what
    lies beside it (epoch, optimizer) is left out.

    Args:
      path: the file.

    Returns:
      Arrays by name, in the file's order, of the file's dtypes (bfloat16 as ``ml_dtypes.bfloat16``).

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for an unknown suffix, a truncated file, a pickle that would run code, or a file that holds
        something other than named tensors.
    """
    path = _existing(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)[0]
    if path.suffix == ".npz":
        return _read_npz(path)
    if path.suffix in (".pth", ".pt"):
        return _state_dict(path, read_torch_pickle(path))
    raise ValueError(f"{path}: unknown suffix {path.suffix!r}, expected .safetensors, .npz, .pth or .pt")


def read_variables(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads variables that :func:`write_safetensors` wrote.

    Args:
      path: a ``.safetensors`` file whose names are paths, such as ``params/head/kernel``.

    Returns:
      Nested dicts of numpy arrays: ``{"params": ..., "batch_stats": ...}``.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a truncated file, or one whose names are not our paths.
    """
    path = _existing(path)
    tensors, _ = _read_safetensors(path)
    foreign = [name for name in tensors if not name.startswith(("params/", "batch_stats/"))]
    if foreign:
        raise ValueError(
            f"{path}: expected names such as 'params/head/kernel', got {foreign[:3]}; read other weights "
            "with read_weights and convert them"
        )
    return unflatten_paths(tensors)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Reads the text that was saved beside the tensors of a ``.safetensors`` file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a truncated file.
    """
    return _read_safetensors(_existing(path))[1]


def write_safetensors(
    path: str | os.PathLike[str], variables: Any, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes variables as safetensors: either the whole file appears, or the old one stays.

    The bytes go to a temporary file in the same folder, which then takes the name in one step, so a full
    disk or a killed process never leaves half a file under ``path``.

    Args:
      path: the file to write, with the suffix ``.safetensors``; folders on the way are made.
      variables: tree of arrays, such as ``{"params": ..., "batch_stats": ...}``; leaves are stored under
        their paths, in their dtypes.
      metadata: text by name, such as the configuration as JSON.

    Raises:
      ValueError: for another suffix, or metadata that is not text.
      OSError: if the disk is full.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected the suffix .safetensors, got {path.suffix!r}; rename it")
    wrong = {key: value for key, value in (metadata or {}).items() if not isinstance(value, str)}
    if wrong:
        raise ValueError(f"metadata: expected text, got {wrong}; write it as JSON first")
    arrays = {
        name: np.ascontiguousarray(leaf).reshape(np.shape(leaf))  # ascontiguousarray makes scalars 1-D
        for name, leaf in flatten_paths(jax.device_get(variables)).items()
    }
    data = safetensors.numpy.save(arrays, metadata=dict(metadata) if metadata else None)
    write_atomically(path, lambda file: file.write(data))


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights; check the path")
    return path


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors and the metadata."""
    data = path.read_bytes()
    try:
        entries = safetensors.deserialize(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        tensors = {
            name: np.frombuffer(entry["data"], _SAFETENSORS_DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in entries
        }
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}: not a whole safetensors file ({error}); fetch or write it again"
        ) from error
    except KeyError as error:
        raise ValueError(f"{path}: dtype {error} is not supported; save it as F32") from error
    order = [name for name in header if name in tensors]
    return {name: tensors[name] for name in order}, header.get("__metadata__", {})


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: not a whole npz file of plain arrays ({error}); arrays of objects are refused, because "
            "reading them can run code"
        ) from error


def _state_dict(path: Path, tree: Any) -> dict[str, np.ndarray]:
    """Unwraps a checkpoint and checks that it holds named tensors only."""
    if isinstance(tree, Mapping):
        tree = next((tree[key] for key in _WRAPPERS if isinstance(tree.get(key), Mapping)), tree)
    if not isinstance(tree, Mapping):
        raise ValueError(f"{path}: expected a dict of tensors, got {type(tree).__name__}; save a state dict")
    for key, value in tree.items():
        if not isinstance(key, str) or not isinstance(value, np.ndarray):
            raise ValueError(
                f"{path}: {key!r} holds a {type(value).__name__}, expected a tensor; save the state dict "
                'alone, or under "state_dict" or "model"'
            )
    return dict(tree)
