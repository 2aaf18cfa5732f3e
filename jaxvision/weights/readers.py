"""Reads weights from disk, and writes our own as safetensors.

``read_weights`` gives the tensors of a file under the file's own names, for
:func:`jaxvision.weights.convert`; ``read_variables`` reads what holds our own variables: what
``write_safetensors`` wrote, the same names in an npz file, Flax's msgpack and Orbax's folders.
"""

import contextlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from jaxvision.core import flatten_paths, unflatten_paths, write_atomically
from jaxvision.weights.orbax_folders import read_orbax_folder
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
_WRAPPERS = ("state_dict", "model", "model_state_dict")
_COLLECTIONS = ("params", "batch_stats")


def read_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a file of weights, by its suffix: ``.safetensors``, ``.npz``, ``.pth``, ``.pt`` or ``.bin``.

    The last three are read without PyTorch, by an unpickler that knows tensors and nothing else: a file
    that asks for any other name is refused and none of it is run. A training checkpoint is unwrapped: if the
    file holds a dict with a dict under ``"state_dict"``, ``"model"`` or ``"model_state_dict"``, that inner
    dict is returned and what lies beside it (epoch, optimizer) is left out. Prefixes that wrappers put before
    each name (``module.``, ``_orig_mod.``) stay; :func:`without_prefix` takes them off.

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
    if path.suffix in (".pth", ".pt", ".bin"):
        return _state_dict(path, read_torch_pickle(path))
    raise ValueError(
        f"{path}: unknown suffix {path.suffix!r}, expected .safetensors, .npz, .pth, .pt or .bin"
    )


def without_prefix(tensors: Mapping[str, Any]) -> dict[str, Any] | None:
    """Takes off the first part of the names, if it is the same in all of them.

    ``DataParallel`` puts ``module.`` before each name, ``torch.compile`` puts ``_orig_mod.``, Lightning
    often ``model.``.

    Returns:
      The same tensors under the shorter names; None if the names have no part in common.

    >>> without_prefix({"module.conv1.weight": 0, "module.fc.bias": 1})
    {'conv1.weight': 0, 'fc.bias': 1}
    """
    parts = [name.partition(".") for name in tensors]
    if len({first for first, _, _ in parts}) != 1 or not all(rest for _, _, rest in parts):
        return None
    return {rest: value for (_, _, rest), value in zip(parts, tensors.values(), strict=True)}


def holds_variables(path: str | os.PathLike[str]) -> bool:
    """Whether :func:`read_variables` is the one to read a file or folder, and not :func:`read_weights`.

    Raises:
      FileNotFoundError: if there is nothing at that path.
      ValueError: for a truncated safetensors or npz file.
    """
    path = Path(path)
    if path.is_dir() or _existing(path).suffix == ".msgpack":
        return True
    if path.suffix == ".npz":
        with _open_npz(path) as archive:
            return bool(archive.files) and not _foreign_names(archive.files)
    return path.suffix == ".safetensors" and not _foreign_names(_read_header(path)[0])


def read_variables(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads variables: what :func:`write_safetensors` wrote, Flax's msgpack, or an Orbax checkpoint.

    Args:
      path: a ``.safetensors`` or ``.npz`` file whose names are paths, such as ``params/head/kernel``; a
        ``.msgpack`` file that ``flax.serialization`` made of variables or of a train state; or a folder that
        :func:`jaxvision.weights.read_orbax_folder` takes.

    Returns:
      Nested dicts of numpy arrays: ``{"params": ..., "batch_stats": ...}``.

    Raises:
      FileNotFoundError: if there is no such file.
      ModuleNotFoundError: for a folder, without Orbax.
      ValueError: for a truncated file, or one whose names are not our paths.
    """
    path = Path(path)
    if path.is_dir():
        return read_orbax_folder(path)
    if _existing(path).suffix == ".msgpack":
        return _read_msgpack(path)
    tensors = _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)[0]
    if foreign := _foreign_names(tensors):
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
    return _read_header(_existing(path))[1]


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


def _foreign_names(names: Iterable[str]) -> list[str]:
    """Those that are no paths of variables."""
    ours = tuple(f"{collection}/" for collection in _COLLECTIONS)
    return [name for name in names if not name.startswith(ours)]


def _read_msgpack(path: Path) -> dict[str, Any]:
    try:
        tree = flax.serialization.msgpack_restore(path.read_bytes())
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        # What msgpack and Flax's decoding of arrays raise on other bytes, or half of them.
        raise ValueError(
            f"{path}: not a whole file of flax.serialization ({type(error).__name__}: {error}); "
            "write it again"
        ) from error
    if not isinstance(tree, dict) or "params" not in tree:
        found = sorted(tree) if isinstance(tree, dict) else type(tree).__name__
        raise ValueError(
            f"{path}: expected a dict with 'params', got {found}; serialise the variables, "
            '{"params": ..., "batch_stats": ...}'
        )
    return {name: tree[name] for name in _COLLECTIONS if name in tree}


def _read_header(path: Path) -> tuple[list[str], dict[str, str]]:
    """The names of the tensors and the metadata, without the numbers, of a file of the right length."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length) if length <= size else b"")
        metadata = entries.pop("__metadata__", {})
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path}: not a whole safetensors file (its header is damaged)") from error
    if end != size:
        raise ValueError(
            f"{path}: not a whole safetensors file ({size} bytes, expected {end}); fetch or write it again"
        )
    return list(entries), metadata


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
    with _open_npz(path) as archive:
        return {name: archive[name] for name in archive.files}


@contextlib.contextmanager
def _open_npz(path: Path) -> Iterator[Any]:
    """The archive, whose arrays are read when they are asked for."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            yield archive
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
