"""Reads PyTorch's ``.pth`` files without PyTorch and without running any code in them.

A pickle is a program: it may import any name and call it. This reader answers the request for a name from
a short table (tensor rebuilding, ordered dicts, storage types) and refuses every other name before it is
imported, so a file can only describe tensors. What it builds first is an inert description
(:class:`_Tensor`); the numbers are read afterwards, with every offset and stride checked.
"""

import collections
import io
import math
import pickle
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_DTYPES: Mapping[str, np.dtype] = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


class _Storage(NamedTuple):
    """A named run of numbers in the file."""

    type_name: str
    key: str
    size: int


class _Tensor(NamedTuple):
    """A strided view of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _StorageType(NamedTuple):
    """What ``torch.FloatStorage`` unpickles to: its name."""

    name: str


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *unused: Any) -> _Tensor:
    """Stands for ``torch._utils._rebuild_tensor_v2``; gradients and hooks are dropped."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or not all(type(x) is int and x >= 0 for x in numbers):
        raise pickle.UnpicklingError("a tensor is not described by a storage, an offset, a shape and strides")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: Any, *unused: Any) -> Any:
    """Stands for ``torch._utils._rebuild_parameter``: the tensor itself."""
    return tensor


class _RestrictedUnpickler(pickle.Unpickler):
    """Knows the names that a state dict needs, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a global name, or a refusal."""
        if module == "torch" and name in _STORAGE_DTYPES:
            return _StorageType(name)
        allowed: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            # Wrapped anew for each request, so that no file can leave an attribute on our functions.
            ("torch._utils", "_rebuild_tensor"): lambda *args: _rebuild_tensor(*args),
            ("torch._utils", "_rebuild_tensor_v2"): lambda *args: _rebuild_tensor(*args),
            ("torch._utils", "_rebuild_parameter"): lambda *args: _rebuild_parameter(*args),
        }
        if (module, name) not in allowed:
            raise ValueError(
                f"the pickle asks for {module}.{name}, which is not a tensor; it was refused and nothing was "
                "run. Save the state dict alone (torch.save(model.state_dict(), path)), or as safetensors"
            )
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage that the pickle refers to and that lies elsewhere in the file."""
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise pickle.UnpicklingError(f"unknown reference {pid!r}")
        kind, key, size = pid[1], pid[2], pid[4]
        if not isinstance(kind, _StorageType) or type(size) is not int or size < 0:
            raise pickle.UnpicklingError(f"unknown storage {pid!r}")
        if len(pid) > 5 and pid[5] is not None:
            raise pickle.UnpicklingError("views of storages (PyTorch 0.3 and older) are not supported")
        return _Storage(kind.name, str(key), size)


def read_torch_pickle(path: Path) -> Any:
    """Reads a file that ``torch.save`` wrote, in the zip format (since PyTorch 1.6) or the one before it.

    Args:
      path: the file.

    Returns:
      What was saved, built of dicts, lists and plain values, with tensors as numpy arrays of their own
      dtype (``torch.bfloat16`` as ``ml_dtypes.bfloat16``).

    Raises:
      ValueError: for a truncated or foreign file, and for a pickle that asks for anything that is not a
        tensor (the name is in the message; nothing of it is run).
    """
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                return _read_zip(file)
            file.seek(0)
            if file.read(2) == b"PK":  # begins as a zip, but the directory at its end is gone
                raise ValueError("the zip archive has no directory")
            file.seek(0)
            return _read_legacy(file)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (
        pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, IndexError, AttributeError, TypeError,
        OverflowError, MemoryError, RecursionError, NotImplementedError, zlib.error,
    ) as error:  # fmt: skip
        # What the unpickler raises on bytes that are no pickle, or half of one.
        raise ValueError(
            f"{path}: not a whole PyTorch file ({type(error).__name__}: {error}); fetch it again, or save it "
            "as safetensors"
        ) from error


def _read_zip(file: IO[bytes]) -> Any:
    """``<name>/data.pkl`` describes, ``<name>/data/<key>`` holds the numbers."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("a zip archive without data.pkl; TorchScript and .tar files are not supported")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("written on a big-endian machine; save it as safetensors")
        tree = _RestrictedUnpickler(io.BytesIO(archive.read(pickles[0]))).load()
        cache: dict[_Storage, np.ndarray] = {}

        def numbers(storage: _Storage) -> np.ndarray:
            if storage not in cache:
                cache[storage] = _storage_from_bytes(storage, archive.read(f"{root}data/{storage.key}"))
            return cache[storage]

        return _resolve(tree, numbers)


def _read_legacy(file: IO[bytes]) -> Any:
    """Five pickles (magic, version, machine, tree, storage keys), then the storages in that order."""
    if _RestrictedUnpickler(file).load() != _LEGACY_MAGIC:
        raise ValueError("not a file that torch.save wrote; save it with torch.save, or as safetensors")
    version = _RestrictedUnpickler(file).load()
    machine = _RestrictedUnpickler(file).load()
    if version != 1001 or not machine.get("little_endian", True):
        raise ValueError(f"protocol {version}, machine {machine}: not supported; save it as safetensors")
    unpickler = _RestrictedUnpickler(file)
    tree = unpickler.load()
    keys = _RestrictedUnpickler(file).load()
    used: dict[str, _Storage] = {}
    _resolve(tree, lambda storage: used.setdefault(storage.key, storage))  # only to collect the storages
    cache: dict[str, np.ndarray] = {}
    for key in keys:
        size = int.from_bytes(_read_exactly(file, 8), "little")
        storage = used[key]
        if size != storage.size:
            raise ValueError(f"storage {key} has {size} elements, expected {storage.size}; fetch it again")
        dtype = _STORAGE_DTYPES[storage.type_name]
        cache[key] = _storage_from_bytes(storage, _read_exactly(file, size * dtype.itemsize))
    return _resolve(tree, lambda storage: cache[storage.key])


def _read_exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError(f"{size} bytes expected, {len(data)} left")
    return data


def _storage_from_bytes(storage: _Storage, data: bytes) -> np.ndarray:
    dtype = _STORAGE_DTYPES[storage.type_name]
    if len(data) != storage.size * dtype.itemsize:
        raise EOFError(f"storage {storage.key}: {len(data)} bytes, expected {storage.size * dtype.itemsize}")
    return np.frombuffer(data, dtype=dtype.newbyteorder("<") if dtype.kind in "iuf" else dtype)


def _resolve(tree: Any, numbers: Callable[[_Storage], Any]) -> Any:
    """Replaces each description of a tensor by its array."""
    if isinstance(tree, _Tensor):
        return _view(tree, numbers(tree.storage))
    if isinstance(tree, Mapping):
        return {key: _resolve(value, numbers) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_resolve(value, numbers) for value in tree]
    return tree


def _view(tensor: _Tensor, numbers: Any) -> Any:
    """The array of a strided view, after a check that it stays inside its storage."""
    if isinstance(numbers, _Storage):  # the pass that only collects storages
        return numbers
    steps = [(size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)]
    count = math.prod(tensor.shape)
    if count and (tensor.offset + sum(steps) >= numbers.size or count > numbers.size):
        raise ValueError(
            f"a tensor of shape {list(tensor.shape)} reaches past its {numbers.size} numbers; fetch it again"
        )
    if not count:
        return np.zeros(tensor.shape, numbers.dtype)
    strides = tuple(stride * numbers.itemsize for stride in tensor.strides)
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides)
    return np.array(view)  # a copy: writable, contiguous, and not tied to the file's bytes
