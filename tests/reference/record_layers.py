"""Records what PyTorch computes for activations, normalisations, kernels standardised, and embeddings.

Run from the repository's root, where torch is installed: ``python tests/reference/record_layers.py``. Writes
``tests/reference/layers.npz``; its header states the versions. The same functions are the live comparison of
``-m parity``. Channels are last here; torch's layouts stay inside this file.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

REFERENCE = Path(__file__).parent
KINKS = [0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 6.0, 0.5, 2.0, 5.0, -6.0, -0.5, -2.0]
FAR = [20.0, -20.0, 20.5, 88.0, -88.0, 200.0, -200.0, 1e4, -1e4, 1e-20, -1e-20]


class Case(NamedTuple):
    """One call of an op; the options have the names of :mod:`jaxvision.ops`."""

    op: str
    shapes: tuple[tuple[int, ...], ...]
    options: dict[str, Any]


def activation_cases() -> dict[str, Case]:
    """Every activation and option on a grid of kinks, large values and random ones."""
    grid = ((4, 12),)
    calls: list[tuple[Any, Any, dict[str, Any]]] = [
        ("sigmoid", grid, {}),
        ("log_sigmoid", grid, {}),
        ("tanh", grid, {}),
        ("soft_sign", grid, {}),
        ("relu", grid, {}),
        ("relu6", grid, {}),
        ("leaky_relu", grid, {}),
        ("leaky_relu", grid, {"negative_slope": 0.3}),
        ("elu", grid, {}),
        ("elu", grid, {"alpha": 2.0}),
        ("selu", grid, {}),
        ("celu", grid, {}),
        ("celu", grid, {"alpha": 0.5}),
        ("gelu", grid, {}),
        ("gelu", grid, {"approximate": True}),
        ("silu", grid, {}),
        ("hard_sigmoid", grid, {}),
        ("hard_tanh", grid, {}),
        ("hard_tanh", grid, {"lower": -2.0, "upper": 3.0}),
        ("hard_swish", grid, {}),
        ("softplus", grid, {}),
        ("softplus", grid, {"beta": 3.0}),
        ("mish", grid, {}),
        ("glu", grid, {}),
        ("glu", grid, {"axis": 0}),
        ("maxout", grid, {"pieces": 3}),
        ("maxout", grid, {"pieces": 1}),
        ("prelu", (grid[0], ()), {}),
        ("prelu", (grid[0], (1,)), {}),
        ("prelu", (grid[0], (12,)), {}),
        ("softmax", grid, {}),
        ("softmax", grid, {"axis": 0}),
        ("log_softmax", grid, {}),
        ("log_softmax", grid, {"axis": 0}),
    ]
    return {label(case): case for case in (Case(*call) for call in calls)}


def norm_cases() -> dict[str, Case]:
    """Ranks, odd sizes, groups, one image, one pixel, with and without parameters."""
    c6, c4 = ((6,), (6,)), ((4,), (4,))
    calls: list[tuple[Any, Any, dict[str, Any]]] = [
        ("layer_norm", ((2, 3, 5, 6), *c6), {}),
        ("layer_norm", ((2, 7, 6), *c6), {"epsilon": 1e-2}),
        ("layer_norm", ((3, 6), (6,)), {}),
        ("layer_norm", ((1, 1, 1, 6),), {}),
        ("rms_norm", ((2, 3, 5, 6), (6,)), {}),
        ("rms_norm", ((2, 7, 6),), {"epsilon": 1e-2}),
        ("group_norm", ((2, 3, 5, 6), *c6), {"num_groups": 3}),
        ("group_norm", ((2, 3, 5, 6), *c6), {"num_groups": 1}),
        ("group_norm", ((2, 3, 5, 6), *c6), {"num_groups": 6, "epsilon": 1e-2}),
        ("group_norm", ((1, 1, 1, 6), *c6), {"num_groups": 2}),
        ("group_norm", ((3, 7, 6), (6,)), {"num_groups": 2}),
        ("group_norm", ((2, 2, 3, 4, 4), *c4), {"num_groups": 2}),
        ("group_norm", ((5, 6),), {"num_groups": 2}),
        ("instance_norm", ((2, 3, 5, 6),), {}),
        ("instance_norm", ((2, 3, 5, 6), *c6), {}),
        ("instance_norm", ((1, 7, 4), *c4), {"epsilon": 1e-2}),
        ("instance_norm", ((2, 2, 3, 4, 4), *c4), {}),
        ("weight_standardize", ((3, 3, 4, 5),), {}),
        ("weight_standardize", ((3, 3, 1, 6),), {"epsilon": 1e-6}),
        ("weight_standardize", ((7, 5),), {"epsilon": 1e-2}),
        ("scaled_weight_standardize", ((3, 3, 4, 5),), {}),
        ("scaled_weight_standardize", ((3, 3, 4, 5), (5,)), {}),
        ("scaled_weight_standardize", ((7, 2, 5), (5,)), {"epsilon": 40.0}),  # some kernels at the bound
    ]
    return {label(case): case for case in (Case(*call) for call in calls)}


def embedding_cases() -> dict[str, Case]:
    """Repeated indices, a padding row, a bound of the norm and both."""
    options: list[dict[str, Any]] = [
        {},
        {"padding_index": 2},
        {"max_norm": 1.5},
        {"padding_index": 0, "max_norm": 1.0},
    ]
    return {label(case): case for case in (Case("embedding_lookup", ((7, 3),), each) for each in options)}


def cases() -> dict[str, Case]:
    """All of them."""
    return activation_cases() | norm_cases() | embedding_cases()


IDS = np.array([[2, 0, 6], [2, 2, 5]], np.int32)
"""What the embedding cases look up: a row three times, two rows never."""


def label(case: Case) -> str:
    """A name for a case, such as ``layer_norm 3x6 6 epsilon=0.01``."""
    shapes = ["x".join(map(str, shape)) or "scalar" for shape in case.shapes]
    return " ".join([case.op, *shapes, *(f"{key}={value}" for key, value in case.options.items())])


def inputs(case: Case) -> list[np.ndarray]:
    """Arrays from one seed; activations get the kinks and far values, norms a mean far from zero."""
    rng = np.random.default_rng(11)
    first, *rest = case.shapes
    x = rng.normal(1.0, 2.0, first)
    if case in activation_cases().values():
        special = np.array(KINKS + FAR)
        x.flat[: special.size] = special
    return [array.astype(np.float32) for array in (x, *(rng.normal(size=shape) for shape in rest))]


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """What the output is weighted with before it is summed and differentiated."""
    return np.random.default_rng(12).normal(size=shape).astype(np.float32)


def torch_outputs(case: Case) -> list[np.ndarray]:
    """Output, then the gradient of each input."""
    import torch

    tensors = [torch.from_numpy(array).requires_grad_() for array in inputs(case)]
    leaves = tensors
    if case.options.get("max_norm"):  # written in place, which a leaf under differentiation must not be
        leaves = [tensors[0].detach().clone().requires_grad_()]
    y = _torch_function(case.op)(*leaves, **case.options)
    gradients = torch.autograd.grad(y, leaves, torch.from_numpy(cotangent(tuple(y.shape))))
    return [array.detach().numpy() for array in (y, *gradients)]


def _torch_function(op: str) -> Any:
    import torch
    import torch.nn.functional as F

    def first(function: Any) -> Any:
        """Calls with the channels second, for they are last outside."""
        return lambda x, *rest, **options: function(x.movedim(-1, 1), *rest, **options).movedim(1, -1)

    def standardize(kernel: Any, *, epsilon: float = 1e-10) -> Any:
        flat = kernel.movedim(-1, 0).reshape(1, kernel.shape[-1], -1)  # as timm's StdConv2d
        return F.batch_norm(flat, None, None, training=True, eps=epsilon)[0].T.reshape(kernel.shape)

    def scaled(kernel: Any, gain: Any = None, *, epsilon: float = 1e-4) -> Any:
        dims = tuple(range(kernel.ndim - 1))
        var, mean = torch.var_mean(kernel, dims, unbiased=False, keepdim=True)
        fan_in = kernel[..., 0].numel()
        scale = torch.rsqrt(torch.maximum(var * fan_in, torch.tensor(epsilon)))
        return (kernel - mean) * scale * (1 if gain is None else gain)

    return {
        "log_sigmoid": F.logsigmoid,
        "soft_sign": F.softsign,
        "gelu": lambda x, *, approximate=False: F.gelu(x, approximate="tanh" if approximate else "none"),
        "hard_sigmoid": F.hardsigmoid,
        "hard_tanh": lambda x, *, lower=-1.0, upper=1.0: F.hardtanh(x, lower, upper),
        "hard_swish": F.hardswish,
        "glu": lambda x, *, axis=-1: F.glu(x, axis),
        "maxout": lambda x, *, pieces: x.unflatten(-1, (-1, pieces)).max(-1).values,
        "prelu": lambda x, slope: F.prelu(x, slope.reshape(-1)),
        "softmax": lambda x, *, axis=-1: F.softmax(x, axis),
        "log_softmax": lambda x, *, axis=-1: F.log_softmax(x, axis),
        "layer_norm": lambda x, *rest, epsilon=1e-5: F.layer_norm(x, x.shape[-1:], *rest, eps=epsilon),
        "rms_norm": lambda x, *rest, epsilon=1e-6: F.rms_norm(x, x.shape[-1:], *rest, eps=epsilon),
        "group_norm": first(
            lambda x, *rest, num_groups, epsilon=1e-5: F.group_norm(x, num_groups, *rest, eps=epsilon)
        ),
        "instance_norm": first(
            lambda x, *rest, epsilon=1e-5: F.instance_norm(x, None, None, *rest, eps=epsilon)
        ),
        "weight_standardize": standardize,
        "scaled_weight_standardize": scaled,
        "embedding_lookup": lambda table, *, padding_index=None, max_norm=None: F.embedding(
            torch.from_numpy(IDS), table, padding_index, max_norm
        ),
    }.get(op) or getattr(F, op)


def torch_initial_kernels() -> dict[str, np.ndarray]:
    """What torch's initialisers without chance fill, in our layouts."""
    import torch

    init = torch.nn.init
    orders = {1: (2, 1, 0), 2: (2, 3, 1, 0), 3: (2, 3, 4, 1, 0)}
    kernels = {"identity 3x5": init.eye_(torch.empty(5, 3)).T.numpy()}
    for window, groups, ins, outs in (
        ((3,), 1, 2, 4),
        ((3, 2), 1, 4, 3),
        ((3, 3), 2, 2, 6),
        ((1, 3, 3), 3, 1, 3),
    ):
        weight = init.dirac_(torch.empty(outs, ins, *window), groups)
        shape = "x".join(map(str, (*window, ins, outs)))
        kernels[f"dirac {shape} {groups}"] = weight.permute(orders[len(window)]).numpy()
    names = ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu")
    gains = [*(init.calculate_gain(name) for name in names), init.calculate_gain("leaky_relu", 0.3)]
    return kernels | {"gains": np.array(gains)}


def main() -> None:
    """Writes the file."""
    import torch

    arrays = {
        f"{name}/{index}": array
        for name, case in cases().items()
        for index, array in enumerate(torch_outputs(case))
    }
    arrays |= {f"initial/{name}": array for name, array in torch_initial_kernels().items()}
    header = json.dumps({"versions": {"torch": torch.__version__, "numpy": np.__version__}})
    path = REFERENCE / "layers.npz"
    np.savez_compressed(path, header=header, **arrays)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
