"""One module in two frameworks with the same weights: what both sides compute, and its gradients.

A case lists the shapes of its inputs and variables in our layout (channels last, kernels HWIO); both sides
draw them from one seed. Torch reads them through views, so its gradients come back in our layout too.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

REFERENCE = Path(__file__).parents[1] / "reference"
Arrays = dict[str, np.ndarray]


class Case(NamedTuple):
    """Shapes by name, and torch's side: ``torch(inputs, variables)`` to an output, or to a dict of them.

    Names of variables are paths: ``params/conv/kernel``, ``batch_stats/norm/mean``. Torch's side changes the
    running statistics in place.
    """

    torch: Callable[[Any, Any], Any]
    inputs: Mapping[str, tuple[int, ...]]
    variables: Mapping[str, tuple[int, ...]] = {}


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values for a variable or input of this name."""
    rng = np.random.default_rng([len(name), *name.encode()])
    values = rng.normal(size=shape)
    if name.endswith("kernel"):
        values /= np.sqrt(max(1, np.prod(shape[:-1])))
    if name.endswith("scale"):
        values = 1 + 0.2 * values
    if name.endswith("var"):
        values = np.exp(0.2 * values)
    return values.astype(np.float32)


def arrays(case: Case) -> tuple[Arrays, Arrays]:
    """Inputs and variables."""
    return (
        {name: draw(f"input {name}", shape) for name, shape in case.inputs.items()},
        {path: draw(path, shape) for path, shape in case.variables.items()},
    )


def cotangent(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """What an output is weighted with before it is summed and differentiated."""
    return draw(f"cotangent {name}", shape)


def by_name(outputs: Any) -> dict[str, Any]:
    return outputs if isinstance(outputs, dict) else {"": outputs}


def torch_results(case: Case) -> Arrays:
    """Outputs, gradients of inputs and parameters, and running statistics afterwards."""
    import torch

    inputs, variables = (
        {name: torch.from_numpy(array) for name, array in part.items()} for part in arrays(case)
    )
    leaves = {**inputs, **{path: value for path, value in variables.items() if path.startswith("params/")}}
    for leaf in leaves.values():
        leaf.requires_grad_()
    outputs = by_name(case.torch(inputs, variables))
    loss = sum((y * torch.from_numpy(cotangent(name, tuple(y.shape)))).sum() for name, y in outputs.items())
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    results = {f"output {name}": y for name, y in outputs.items()}
    results |= {f"gradient {name}": g for name, g in zip(leaves, gradients, strict=True)}
    results |= {f"state {path}": value for path, value in variables.items() if path not in leaves}
    return {name: value.detach().numpy().copy() for name, value in results.items()}


def jax_results(
    case: Case, apply: Callable[[Any, Any], tuple[Any, Any]], dtype: Any = np.float32
) -> dict[str, Any]:
    """The same of our side: ``apply(variables, inputs)`` to outputs and changed collections."""
    import jax
    import jax.numpy as jnp

    from jaxvision.core import flatten_paths, unflatten_paths

    inputs, flat = arrays(case)
    inputs = {name: jnp.asarray(array, dtype) for name, array in inputs.items()}
    variables = unflatten_paths(flat)

    @jax.jit
    def run(inputs, variables):
        def forward(inputs, params):
            outputs, state = apply({**variables, "params": params}, inputs)
            return by_name(outputs), state

        outputs, pull, state = jax.vjp(forward, inputs, variables.get("params", {}), has_aux=True)
        weights = {name: jnp.asarray(cotangent(name, y.shape), y.dtype) for name, y in outputs.items()}
        return outputs, pull(weights), {**variables, **state}

    outputs, (of_inputs, of_params), state = run(inputs, variables)
    results = {f"output {name}": y for name, y in outputs.items()}
    results |= {f"gradient {name}": g for name, g in of_inputs.items()}
    results |= {f"gradient params/{path}": g for path, g in flatten_paths(of_params).items()}
    state.pop("params", None)
    return results | {f"state {path}": value for path, value in flatten_paths(state).items()}


def assert_equal(ours: Mapping[str, Any], theirs: Arrays, tolerance: float = 1e-5) -> None:
    """Equal names, shapes and values, relative to the largest value of each array."""
    assert ours.keys() == theirs.keys()
    for name, yours in theirs.items():
        mine = np.asarray(ours[name], np.float32)
        assert mine.shape == yours.shape, name
        # Gradients of what a normalisation cancels are rounding errors on both sides.
        bound = tolerance * max(np.abs(yours).max(initial=0), 0.5)
        np.testing.assert_allclose(mine, yours, rtol=0, atol=bound, err_msg=name)


def initialized(init: Callable[..., Any], *arguments: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what ``init(key, *arguments)`` makes."""
    import jax

    from jaxvision.core import flatten_paths

    shapes = jax.eval_shape(init, jax.random.key(0), *arguments)
    return {path: leaf.shape for path, leaf in flatten_paths(shapes).items()}


def recorded(file: str) -> dict[str, Arrays]:
    """The results of each case in ``tests/reference/<file>.npz``."""
    results: dict[str, Arrays] = {}
    with np.load(REFERENCE / f"{file}.npz") as archive:
        for key in archive.files:
            if key != "header":
                case, name = key.split("|")
                results.setdefault(case, {})[name] = archive[key]
    return results


def record(file: str, cases: Mapping[str, Case]) -> None:
    """Writes what torch computes for every case to ``tests/reference/<file>.npz``."""
    import torch
    import torchvision

    values = {f"{case}|{name}": array for case in cases for name, array in torch_results(cases[case]).items()}
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__}
    path = REFERENCE / f"{file}.npz"
    np.savez_compressed(path, header=json.dumps({"versions": versions}), **values)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


def torch_layout(value: Any) -> Any:
    """A kernel as torch's weight, a view: HWIO to OIHW, dense [in, out] to [out, in]; vectors as they are."""
    if value.ndim == 1:
        return value
    return value.permute(value.ndim - 1, value.ndim - 2, *range(value.ndim - 2))


def torch_images(function: Callable[..., Any], x: Any, *arguments: Any, **options: Any) -> Any:
    """Calls a function of channels-first arrays on ``x`` and moves the channels of the result back."""
    return function(x.movedim(-1, 1), *arguments, **options).movedim(1, -1)


def torch_names(prefixes: Mapping[str, str], variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables under the names of a torch module, for ``torch.func.functional_call``.

    Args:
      prefixes: path of each of our layers, to the name of torch's.
      variables: by path.
    """
    leaves = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    named = {}
    for path, value in variables.items():
        layer, leaf = path.split("/", 1)[1].rsplit("/", 1)
        named[f"{prefixes[layer]}.{leaves.get(leaf, leaf)}"] = torch_layout(value)
    return named


def conv_norm(
    path: str, kernel: tuple[int, ...], *, norm: bool = True, bias: bool | None = None
) -> dict[str, Any]:
    """Shapes of the variables of a ``ConvNormAct`` at ``path``."""
    shapes: dict[str, Any] = {f"params/{path}/conv/kernel": kernel}
    if (not norm) if bias is None else bias:
        shapes[f"params/{path}/conv/bias"] = kernel[-1:]
    if norm:
        shapes |= {f"params/{path}/norm/{name}": kernel[-1:] for name in ("scale", "bias")}
        shapes |= {f"batch_stats/{path}/norm/{name}": kernel[-1:] for name in ("mean", "var")}
    return shapes


def torch_conv_norm(
    variables: Mapping[str, Any], path: str, x: Any, *, train: bool, activation: bool = True, **options: Any
) -> Any:
    """Convolution, normalisation if there are parameters for it, and ReLU, of NHWC images."""
    import torch.nn.functional as F

    get = variables.get
    p, s = f"params/{path}", f"batch_stats/{path}/norm"
    x = torch_images(F.conv2d, x, torch_layout(get(f"{p}/conv/kernel")), get(f"{p}/conv/bias"), **options)
    if f"{p}/norm/scale" in variables:
        statistics = get(f"{s}/mean"), get(f"{s}/var"), get(f"{p}/norm/scale"), get(f"{p}/norm/bias")
        x = torch_images(F.batch_norm, x, *statistics, training=train)
    return F.relu(x) if activation else x
