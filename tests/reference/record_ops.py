"""Records what PyTorch computes for convolutions, pooling and batch normalisation: outputs and gradients.

Run from the repository's root, where torch is installed: ``python tests/reference/record_ops.py``. Writes
``tests/reference/ops.npz``; its header states the versions. The same functions are the live comparison of
``-m parity``. Images are NHWC and kernels HWIO here; torch's layouts stay inside this file.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

REFERENCE = Path(__file__).parent


class Case(NamedTuple):
    """One call of an op; the options have the names of :mod:`jaxvision.ops`."""

    op: str
    x: tuple[int, ...]
    kernel: tuple[int, ...]
    options: dict[str, Any]


def cases() -> dict[str, Case]:
    """The grid: strides, paddings, dilations, groups, odd sizes, one image, one pixel."""
    odd = (2, 7, 6, 4)
    convs: list[tuple[Any, Any, dict[str, Any]]] = [
        (odd, (3, 3, 4, 5), {}),
        (odd, (3, 3, 4, 5), {"padding": 1}),
        (odd, (3, 3, 4, 5), {"strides": 2, "padding": 1}),
        (odd, (3, 2, 4, 5), {"strides": (2, 1), "padding": (1, 0)}),
        (odd, (3, 3, 4, 5), {"dilation": 2, "padding": 2}),
        (odd, (3, 3, 4, 5), {"dilation": (1, 2), "strides": (1, 3), "padding": (0, 2)}),
        (odd, (3, 3, 2, 6), {"groups": 2, "padding": 1}),
        (odd, (3, 3, 1, 8), {"groups": 4, "strides": 2}),
        (odd, (1, 1, 4, 5), {}),
        (odd, (1, 1, 4, 5), {"strides": 2, "padding": 1}),
        (odd, (1, 1, 2, 4), {"groups": 2}),
        ((1, 5, 5, 3), (3, 3, 3, 16), {"padding": 1}),
        ((1, 5, 4, 3), (3, 3, 3, 16), {"strides": 2, "padding": 1, "dilation": 2}),
        ((1, 4, 5, 3), (4, 5, 3, 2), {}),
        ((1, 1, 1, 3), (1, 1, 3, 2), {}),
        ((1, 9, 9, 3), (7, 7, 3, 4), {"strides": 2, "padding": 3}),
        # Depthwise, also with two outputs a channel, and groups that share a convolution or do not.
        (odd, (3, 3, 1, 4), {"groups": 4, "padding": 1}),
        (odd, (5, 3, 1, 4), {"groups": 4, "strides": (2, 3), "padding": (2, 1), "dilation": (1, 2)}),
        (odd, (1, 1, 1, 4), {"groups": 4, "strides": 2}),
        (odd, (2, 2, 1, 8), {"groups": 4, "strides": 3, "padding": 1}),
        ((1, 4, 5, 12), (3, 3, 2, 18), {"groups": 6, "strides": 2, "padding": 1}),
        ((1, 4, 5, 36), (3, 2, 18, 4), {"groups": 2, "padding": 1}),
        # Sequences and video.
        ((2, 9, 4), (3, 4, 5), {"padding": 1}),
        ((2, 9, 4), (4, 2, 6), {"strides": 2, "padding": 3, "dilation": 2, "groups": 2}),
        ((2, 9, 4), (3, 1, 4), {"strides": 2, "groups": 4}),
        ((1, 4, 5, 6, 3), (3, 3, 3, 3, 2), {"padding": 1}),
        (
            (1, 5, 6, 5, 2),
            (3, 2, 3, 2, 3),
            {"strides": (2, 1, 2), "padding": (0, 1, 2), "dilation": (1, 2, 1)},
        ),
        ((1, 4, 5, 6, 4), (2, 3, 3, 1, 4), {"padding": (1, 1, 0), "groups": 4, "strides": (1, 2, 1)}),
        ((1, 3, 3, 4, 4), (1, 1, 1, 2, 4), {"groups": 2}),
    ]
    transposed: list[tuple[Any, Any, dict[str, Any]]] = [
        (odd, (3, 3, 4, 5), {}),
        (odd, (2, 2, 4, 5), {"strides": 2}),
        (odd, (4, 4, 4, 5), {"strides": 2, "padding": 1}),
        (odd, (3, 3, 4, 5), {"strides": 2, "padding": 1, "output_padding": 1}),
        (odd, (3, 2, 4, 5), {"strides": (2, 3), "padding": (1, 0), "output_padding": (0, 2)}),
        (odd, (3, 3, 4, 3), {"strides": 2, "groups": 2}),
        (odd, (3, 3, 4, 3), {"strides": 2, "dilation": 2, "output_padding": 1}),
        (odd, (3, 3, 4, 3), {"padding": 1, "dilation": (2, 1)}),
        ((1, 3, 2, 4), (8, 8, 4, 2), {"strides": 4, "padding": 2}),
        ((1, 3, 2, 4), (1, 1, 4, 3), {"strides": 2, "output_padding": 1}),
        ((1, 3, 2, 4), (5, 5, 4, 3), {"strides": 3, "padding": 2}),
        ((1, 1, 1, 4), (3, 3, 4, 3), {"strides": 2, "padding": 1}),
        (odd, (4, 4, 4, 1), {"strides": 2, "padding": 1, "groups": 4}),
        ((2, 5, 4), (4, 4, 3), {"strides": 2, "padding": 1}),
        ((2, 5, 4), (3, 4, 2), {"strides": 3, "output_padding": 2, "groups": 2}),
        ((1, 2, 3, 4, 3), (2, 2, 2, 3, 2), {"strides": 2}),
        ((1, 2, 3, 3, 2), (3, 3, 3, 2, 2), {"strides": (1, 2, 2), "padding": 1, "output_padding": (0, 1, 0)}),
    ]
    pools: list[tuple[str, Any, dict[str, Any]]] = [
        ("max_pool", odd, {"window": 2}),
        ("max_pool", odd, {"window": 3, "strides": 2, "padding": 1}),
        ("max_pool", odd, {"window": 3, "strides": 1, "padding": 1}),
        ("max_pool", odd, {"window": (3, 2), "strides": (1, 3), "padding": (1, 0)}),
        ("max_pool", (1, 5, 5, 2), {"window": 5}),
        ("average_pool", odd, {"window": 2}),
        ("average_pool", odd, {"window": 3, "strides": 2, "padding": 1}),
        ("average_pool", odd, {"window": 3, "strides": 2, "padding": 1, "count_include_pad": False}),
        ("average_pool", odd, {"window": (3, 2), "strides": (1, 2), "count_include_pad": False}),
        ("adaptive_average_pool", odd, {"output_size": (7, 3)}),
        ("adaptive_average_pool", odd, {"output_size": (3, 4)}),
        ("adaptive_average_pool", odd, {"output_size": (9, 1)}),
        ("global_average_pool", odd, {}),
    ]
    every = [Case("convolution", *case) for case in convs]
    every += [Case("transposed_convolution", *case) for case in transposed]
    every += [Case(op, x, (), options) for op, x, options in pools]
    return {label(case): case for case in every}


def label(case: Case) -> str:
    """A name for a case, such as ``convolution 2x7x6x4 3x3x4x5 padding=1``."""
    shapes = ["x".join(map(str, shape)) for shape in (case.x, case.kernel) if shape]
    return " ".join([case.op, *shapes, *(f"{key}={value}" for key, value in case.options.items())])


def inputs(case: Case) -> list[np.ndarray]:
    """Image and kernel from one seed; images of max pools are small integers, so that maxima are tied."""
    rng = np.random.default_rng(7)
    tied = case.op == "max_pool"
    x = rng.integers(-2, 3, case.x) if tied else rng.normal(size=case.x)
    return [array.astype(np.float32) for array in (x, rng.normal(size=case.kernel)) if array.ndim]


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """What the output is weighted with before it is summed and differentiated."""
    return np.random.default_rng(8).normal(size=shape).astype(np.float32)


def torch_outputs(case: Case) -> list[np.ndarray]:
    """Output, then the gradient of each input."""
    import torch
    import torch.nn.functional as F

    rank = len(case.x) - 2
    first = {"convolution": (rank + 1, rank), "transposed_convolution": (rank, rank + 1)}
    x, *rest = (torch.from_numpy(array).requires_grad_() for array in inputs(case))
    options = {{"strides": "stride", "window": "kernel_size"}.get(k, k): v for k, v in case.options.items()}
    function = {
        "convolution": (F.conv1d, F.conv2d, F.conv3d)[rank - 1],
        "transposed_convolution": (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1],
        "max_pool": F.max_pool2d,
        "average_pool": F.avg_pool2d,
        "adaptive_average_pool": F.adaptive_avg_pool2d,
        "global_average_pool": lambda images: images.mean((2, 3)),
    }[case.op]
    kernels = [array.permute(*first[case.op], *range(rank)) for array in rest]
    y = function(x.movedim(-1, 1), *kernels, **options)
    y = y if case.op.startswith("global") else y.movedim(1, -1)
    gradients = torch.autograd.grad(y, (x, *rest), torch.from_numpy(cotangent(tuple(y.shape))))
    return [array.detach().numpy() for array in (y, *gradients)]


def norm_inputs() -> dict[str, np.ndarray]:
    """Two batches of images far from zero mean, the parameters, and one cotangent for all."""
    rng = np.random.default_rng(9)
    return {
        "images": (rng.normal(3.0, 2.0, (2, 4, 3, 5, 6))).astype(np.float32),
        "scale": rng.normal(size=6).astype(np.float32),
        "bias": rng.normal(size=6).astype(np.float32),
        "cotangent": rng.normal(size=(4, 3, 5, 6)).astype(np.float32),
    }


def torch_norm_outputs() -> dict[str, np.ndarray]:
    """Two training steps, then evaluation: outputs, gradients and running statistics after each."""
    import torch

    data = {name: torch.from_numpy(array) for name, array in norm_inputs().items()}
    norm = torch.nn.BatchNorm2d(6)
    norm.load_state_dict({"weight": data["scale"], "bias": data["bias"]}, strict=False)
    outputs = {}
    for step, images in enumerate((*data["images"], data["images"][0])):
        norm.train(step < 2)
        x = images.clone().requires_grad_()
        y = norm(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        gradients = torch.autograd.grad(y, (x, norm.weight, norm.bias), data["cotangent"])
        names = ("y", "x", "scale", "bias", "mean", "var")
        values = (y, *gradients, norm.running_mean, norm.running_var)
        outputs |= {f"{step} {n}": v.detach().numpy().copy() for n, v in zip(names, values, strict=True)}
    return outputs


def main() -> None:
    """Writes the file."""
    import torch

    arrays = {
        f"{name}/{index}": array
        for name, case in cases().items()
        for index, array in enumerate(torch_outputs(case))
    }
    arrays |= {f"batch_norm/{name}": array for name, array in torch_norm_outputs().items()}
    header = json.dumps({"versions": {"torch": torch.__version__, "numpy": np.__version__}})
    path = REFERENCE / "ops.npz"
    np.savez_compressed(path, header=header, **arrays)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
