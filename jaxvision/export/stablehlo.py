"""Networks as StableHLO: one file for CPU, CUDA and TPU, that runs without the code that made it.

The file is a zip archive. ``program`` is what ``jax.export`` serialises, the weights inside; so three lines
of JAX alone run it::

    with zipfile.ZipFile("net.stablehlo.zip") as archive:
        program = jax.export.deserialize(bytearray(archive.read("program")))
    logits = program.call(images)

``metadata.json`` says what to feed it.
"""

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import export as jax_export

from jaxvision.core import write_atomically

PLATFORMS = ("cpu", "cuda", "tpu")
"""What an exported program is compiled for, on the machine that it then runs on."""

_PROGRAM, _METADATA = "program", "metadata.json"


class Exported(NamedTuple):
    """A network that was read from a file.

    Attributes:
      call: images ``[N, ...]``, float32, with any number N, to logits; goes through ``jax.jit``.
      input_shape: of one input, without the batch.
      platforms: where it runs.
      metadata: what was saved with it.
    """

    call: Callable[[jax.Array], jax.Array]
    input_shape: tuple[int, ...]
    platforms: tuple[str, ...]
    metadata: dict[str, Any]


def export_stablehlo(
    path: str | os.PathLike[str],
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    input_shape: Sequence[int],
    platforms: Sequence[str] = PLATFORMS,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes a network in evaluation mode, with its weights and a batch of any size.

    On each platform the program holds the formulations that are fast there. It needs the extra ``export``.

    Args:
      path: the file, such as ``net.stablehlo.zip``; either all of it appears, or what was there stays.
      model: called as ``model.apply(variables, images, train=False)``.
      variables: its parameters and statistics.
      input_shape: of one input, without the batch, such as ``(224, 224, 3)``.
      platforms: of :data:`PLATFORMS`, and ``"rocm"``.
      metadata: anything that JSON holds, such as class names and preprocessing.

    Raises:
      ValueError: for an unknown platform, or metadata that JSON does not hold.
      ModuleNotFoundError: if the extra is not installed.
    """
    unknown = set(platforms) - {*PLATFORMS, "rocm"}
    if unknown or not platforms:
        raise ValueError(f"platforms: expected some of {[*PLATFORMS, 'rocm']}, got {list(platforms)}")
    try:
        text = json.dumps(dict(metadata or {}), indent=2)
    except TypeError as error:
        raise ValueError(f"metadata: {error}; give text, numbers, lists and dicts") from error
    (batch,) = jax_export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *input_shape), jnp.float32)
    variables = jax.device_get(variables)

    @jax.jit
    def network(images: jax.Array) -> jax.Array:
        logits: Any = model.apply(variables, images, train=False)
        return logits

    program = jax_export.export(network, platforms=list(platforms))(images)
    try:
        serialized = program.serialize()
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; pip install 'jaxvision[export]'") from error
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(_METADATA, text)
        archive.writestr(_PROGRAM, serialized)
    write_atomically(Path(path), lambda file: file.write(buffer.getvalue()))


def load_stablehlo(path: str | os.PathLike[str]) -> Exported:
    """Reads what :func:`export_stablehlo` wrote; needs no module of the network.

    Args:
      path: the file.

    Returns:
      The network.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a damaged file, another kind of file, or one that this release of JAX is too old for.
      ModuleNotFoundError: if the extra ``export`` is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; export a network to it first")
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read(_METADATA))
            serialized = archive.read(_PROGRAM)
    except (zipfile.BadZipFile, KeyError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: not a whole exported network ({error}); export it again") from error
    try:
        program = jax_export.deserialize(bytearray(serialized))
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; pip install 'jaxvision[export]'") from error
    except Exception as error:  # JAX says in many ways that it does not know the format
        raise ValueError(
            f"{path}: JAX {jax.__version__} cannot read the program ({error}); export it again, or take the "
            "release of JAX that wrote it"
        ) from error
    shape = tuple(int(size) for size in program.in_avals[0].shape[1:])
    return Exported(program.call, shape, tuple(program.platforms), metadata)
