"""Networks as ONNX, for runtimes without JAX. Needs the extra ``export``."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

from jaxvision.core import write_atomically
from jaxvision.export.native import native_formulation


def export_onnx(
    path: str | os.PathLike[str],
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    input_shape: Sequence[int],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes a network in evaluation mode as an ONNX graph, with its weights and a batch of any size.

    The conversion is jax2onnx's. It reads XLA's own ops, so the graph has one node a convolution and leaves
    the choice of a fast kernel to the runtime.

    Args:
      path: the file, with the suffix ``.onnx``; either all of it appears, or what was there stays.
      model: called as ``model.apply(variables, images, train=False)``.
      variables: its parameters and statistics.
      input_shape: of one input, without the batch, channels last, such as ``(224, 224, 3)``.
      metadata: anything that JSON holds; goes into the file's properties, a JSON text a name.

    Raises:
      ValueError: for another suffix, metadata that JSON does not hold, or an op without a counterpart.
      ModuleNotFoundError: if the extra is not installed.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"{path}: expected the suffix .onnx, got {path.suffix!r}; rename it")
    try:
        properties = {name: json.dumps(value) for name, value in (metadata or {}).items()}
    except TypeError as error:
        raise ValueError(f"metadata: {error}; give text, numbers, lists and dicts") from error
    try:
        import jax2onnx
        import onnx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; pip install 'jaxvision[export]'") from error
    variables = jax.device_get(variables)

    def network(images: jax.Array) -> jax.Array:
        logits: Any = model.apply(variables, images, train=False)
        return logits

    try:
        graph = jax2onnx.to_onnx(native_formulation(network), [("batch", *input_shape)])
    except Exception as error:  # the converter raises what its handler of an op happens to
        raise ValueError(f"{type(model).__name__}: {error}; export it as StableHLO instead") from error
    onnx.helper.set_model_props(graph, properties)
    write_atomically(path, lambda file: file.write(graph.SerializeToString()))
