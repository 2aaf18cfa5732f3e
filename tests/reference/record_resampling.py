"""Records what PyTorch computes for pooling, unpooling, patches and resizing: outputs and gradients.

Run from the repository's root, where torch is installed: ``python tests/reference/record_resampling.py``.
Writes ``tests/reference/resampling.npz``; its header states the versions. The same functions are the live
comparison of ``-m parity``. Channels are last here; torch's layout stays inside this file.
"""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

REFERENCE = Path(__file__).parent
SEQUENCE, IMAGE, VIDEO = (2, 7, 3), (2, 7, 6, 2), (1, 4, 5, 3, 2)


class Case(NamedTuple):
    """One call of an op; the options have the names of :mod:`jaxvision.ops`."""

    op: str
    x: tuple[int, ...]
    options: dict[str, Any]


def cases() -> dict[str, Case]:
    """The grid: one, two and three axes, odd sizes, one image, one pixel."""
    every = [Case(*case) for case in (*_windows(), *_regions(), *_patches(), *_sizes())]
    return {label(case): case for case in every}


def _windows() -> list[tuple[str, Any, dict[str, Any]]]:
    sliding: list[tuple[Any, dict[str, Any]]] = [
        (SEQUENCE, {"window": (3,), "strides": 2, "padding": 1}),
        (SEQUENCE, {"window": (2,), "ceil_mode": True}),
        (IMAGE, {"window": 2}),
        (IMAGE, {"window": 3, "strides": 2, "padding": 1}),
        (IMAGE, {"window": (3, 2), "strides": (1, 3), "padding": (1, 0)}),
        (IMAGE, {"window": 3, "strides": 2, "ceil_mode": True}),
        (IMAGE, {"window": 2, "strides": 2, "ceil_mode": True}),
        (IMAGE, {"window": 2, "strides": 3, "padding": 1, "ceil_mode": True}),  # drops a window in the border
        (IMAGE, {"window": (5, 3), "strides": (4, 2), "padding": (2, 1), "ceil_mode": True}),
        ((1, 5, 5, 1), {"window": 5}),
        (VIDEO, {"window": (2, 2, 2), "strides": (1, 2, 1)}),
        (VIDEO, {"window": (2, 3, 2), "strides": 2, "padding": (0, 1, 1), "ceil_mode": True}),
    ]
    every = [(op, x, o) for op in ("max_pool", "max_pool_with_indices", "average_pool") for x, o in sliding]
    every += [("average_pool", x, o | {"count_include_pad": False}) for x, o in sliding if "padding" in o]
    every += [
        ("max_pool", x, o)
        for x, o in (
            (SEQUENCE, {"window": (3,), "dilation": 2, "padding": 1}),
            (IMAGE, {"window": 2, "dilation": 3, "strides": 1}),
            (IMAGE, {"window": (3, 2), "dilation": (2, 3), "strides": 2, "padding": 1, "ceil_mode": True}),
            (VIDEO, {"window": (2, 2, 2), "dilation": (1, 2, 1), "strides": 1}),
        )
    ]
    powers: list[tuple[Any, dict[str, Any]]] = [
        (SEQUENCE, {"window": (3,)}),
        (IMAGE, {"window": 2}),
        (IMAGE, {"window": (3, 2), "strides": (2, 1)}),
        (IMAGE, {"window": 3, "strides": 2, "ceil_mode": True}),
        (IMAGE, {"window": 2, "p": 1}),
        (IMAGE, {"window": 2, "p": 4.0}),
        (VIDEO, {"window": (2, 2, 2), "strides": 1}),
    ]
    return [*every, *(("lp_pool", x, options) for x, options in powers)]


def _regions() -> list[tuple[str, Any, dict[str, Any]]]:
    grids: list[tuple[Any, Any]] = [
        (SEQUENCE, (3,)),
        (IMAGE, 1),
        (IMAGE, (7, 3)),
        (IMAGE, (3, 4)),
        (IMAGE, (9, 1)),
        ((1, 1, 1, 2), 2),
        (VIDEO, (2, 3, 2)),
    ]
    ranks = (SEQUENCE, IMAGE, VIDEO)
    return [
        *((f"adaptive_{kind}_pool", x, {"output_size": n}) for kind in ("average", "max") for x, n in grids),
        *((f"global_{kind}_pool", x, {}) for kind in ("average", "max") for x in ranks),
        ("spatial_pyramid_pool", IMAGE, {}),
        ("spatial_pyramid_pool", IMAGE, {"levels": (3, 1), "mode": "average"}),
        ("channel_max_pool", (2, 3, 2, 6), {"size": 3}),
        ("channel_max_pool", (2, 4), {"size": 2}),
        ("max_unpool", (2, 3, 2), {"output_size": (7,), "window": (2,)}),
        ("max_unpool", (2, 3, 3, 2), {"output_size": (7, 6), "window": 2}),
        ("max_unpool", (1, 2, 3, 2), {"output_size": (6, 7), "window": (3, 2)}),
        ("max_unpool", (2, 4, 5, 2), {"output_size": (4, 5)}),
        ("max_unpool", (1, 2, 3, 2), {"output_size": (5, 6)}),
        ("max_unpool", (1, 2, 2, 1, 2), {"output_size": (4, 5, 3), "window": (2, 2, 2)}),
        ("max_unpool", (1, 2, 2, 1, 2), {"output_size": (4, 5, 3)}),
    ]


def _patches() -> list[tuple[str, Any, dict[str, Any]]]:
    windows: list[dict[str, Any]] = [
        {"kernel_size": 2},
        {"kernel_size": 3, "strides": 2, "padding": 1},
        {"kernel_size": (3, 2), "strides": (3, 2)},
        {"kernel_size": (2, 3), "strides": (3, 1), "padding": (0, 2), "dilation": (2, 1)},
        {"kernel_size": (1, 2), "strides": (4, 5)},
        {"kernel_size": 3, "strides": 3, "dilation": 2, "padding": 1},
    ]
    return [
        *(("unfold", IMAGE, options) for options in windows),
        *(("fold", IMAGE, options) for options in windows),
        ("pixel_shuffle", (2, 3, 2, 12), {"block_size": 2}),
        ("pixel_shuffle", (1, 1, 2, 9), {"block_size": 3}),
        ("pixel_unshuffle", (2, 4, 6, 3), {"block_size": 2}),
    ]


def _sizes() -> list[tuple[str, Any, dict[str, Any]]]:
    images = [((1, 5, 7, 2), (7, 5)), ((1, 4, 3, 2), (8, 9)), ((1, 1, 6, 2), (3, 1)), ((1, 9, 8, 2), (4, 8))]
    images += [((2, 3, 3, 1), (5, 2))]
    every = [
        ("resize", x, {"size": size, "method": method})
        for (x, size), method in itertools.product(images, ("nearest", "nearest-exact", "area"))
    ]
    every += [
        ("resize", x, {"size": size, "method": method, "align_corners": corners, "antialias": antialias})
        for (x, size), method, corners, antialias in itertools.product(
            images, ("bilinear", "bicubic"), (False, True), (False, True)
        )
    ]
    for x, size, method in ((SEQUENCE, (9,), "linear"), (VIDEO, (3, 7, 3), "trilinear")):
        every += [("resize", x, {"size": size, "method": m}) for m in ("nearest", "area", method)]
        every += [("resize", x, {"size": size, "method": method, "align_corners": True})]
    return every


def label(case: Case) -> str:
    """A name for a case, such as ``max_pool 2x7x6x2 window=2``."""
    options = (f"{key}={value}" for key, value in case.options.items())
    return " ".join([case.op, "x".join(map(str, case.x)), *options])


def inputs(case: Case) -> list[np.ndarray]:
    """``x`` from a seed, tied where a maximum is taken; for the unpooling its indices too."""
    rng = np.random.default_rng(7)
    if case.op == "fold":
        shape = (case.x[0], *_positions(case), math.prod(_pair(case, "kernel_size")) * case.x[-1])
        return [rng.normal(size=shape).astype(np.float32)]
    if case.op == "max_unpool":
        size = case.options["output_size"]
        indices = rng.integers(0, math.prod(size), case.x)
        if "window" in case.options:
            window = np.broadcast_to(case.options["window"], len(size))
            grid = np.meshgrid(*map(np.arange, case.x[1:-1]), indexing="ij")
            taps = [rng.integers(0, length, case.x) for length in window]
            place = [g[None, ..., None] * k + tap for g, k, tap in zip(grid, window, taps, strict=True)]
            indices = np.ravel_multi_index(place, size)
        values = rng.normal(size=math.prod(size)).astype(np.float32)  # equal where indices are
        return [values[indices], indices.astype(np.int32)]
    tied = "max" in case.op or case.op == "spatial_pyramid_pool"
    x = rng.integers(-2, 3, case.x) if tied else rng.normal(size=case.x)
    if case.op == "lp_pool":
        x = np.maximum(x, 0)  # windows of zeros, where the root has no derivative
        x[:, : case.x[1] // 2] = 0
    return [x.astype(np.float32)]


def _pair(case: Case, name: str, default: int = 1) -> np.ndarray:
    return np.broadcast_to(case.options.get(name, default), 2)


def _positions(case: Case) -> tuple[int, ...]:
    """How many patches an image has, down and across."""
    reach = _pair(case, "dilation") * (_pair(case, "kernel_size") - 1)
    free = np.array(case.x[1:3]) + 2 * _pair(case, "padding", 0) - reach - 1
    return tuple(int(count) for count in free // _pair(case, "strides") + 1)


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """What the output is weighted with before it is summed and differentiated."""
    return np.random.default_rng(8).normal(size=shape).astype(np.float32)


def torch_outputs(case: Case) -> list[np.ndarray]:
    """Output, then the gradient of ``x``, then the indices of the pooling that has them."""
    import torch

    x, *rest = (torch.from_numpy(array) for array in inputs(case))
    x.requires_grad_()
    y, *indices = _torch_function(case)(x, *rest)
    (gradient,) = torch.autograd.grad(y, x, torch.from_numpy(cotangent(tuple(y.shape))))
    return [array.detach().numpy() for array in (y, gradient, *indices)]


def _torch_function(case: Case) -> Callable[..., tuple[Any, ...]]:
    """The case in PyTorch, channels last outside."""
    import torch.nn.functional as F

    names = {"strides": "stride", "window": "kernel_size", "p": "norm_type", "method": "mode"}
    options = {names.get(name, name): value for name, value in case.options.items()}
    if case.op == "fold":
        options["output_size"] = case.x[1:-1]
    if case.op == "lp_pool" and len(case.x) == 3:
        options["kernel_size"] = case.options["window"][0]  # lp_pool1d takes no tuple
    rank = len(case.x) - 2

    def first(x: Any) -> Any:
        return x.movedim(-1, 1)

    def last(*arrays: Any) -> tuple[Any, ...]:
        return tuple(array.movedim(1, -1) for array in arrays)

    def unpool(x: Any, indices: Any) -> tuple[Any, ...]:
        size = options["output_size"]
        stride = [n // m for n, m in zip(size, case.x[1:-1], strict=True)]
        function = getattr(F, f"max_unpool{rank}d")
        return last(function(first(x), first(indices).long(), stride, output_size=size))

    def pyramid(x: Any) -> tuple[Any, ...]:
        import torch

        kind = {"max": F.adaptive_max_pool2d, "average": F.adaptive_avg_pool2d}[options.get("mode", "max")]
        cells = [last(kind(first(x), level))[0].flatten(1) for level in options.get("levels", (1, 2, 4))]
        return (torch.cat(cells, 1),)

    def unfold(x: Any) -> tuple[Any, ...]:
        columns = F.unfold(first(x), **options)  # [N, C kh kw, L]
        patches = columns.unflatten(1, (case.x[-1], -1)).permute(0, 3, 2, 1).flatten(2)
        return (patches.unflatten(1, _positions(case)),)

    def fold(x: Any) -> tuple[Any, ...]:
        columns = x.flatten(1, 2).unflatten(2, (-1, case.x[-1])).permute(0, 3, 2, 1)  # [N, C, kh kw, L]
        return last(F.fold(columns.flatten(1, 2), **options))

    axes = tuple(range(2, rank + 2))
    return {
        "max_pool": lambda x: last(getattr(F, f"max_pool{rank}d")(first(x), **options)),
        "max_pool_with_indices": lambda x: last(
            *getattr(F, f"max_pool{rank}d")(first(x), return_indices=True, **options)
        ),
        "average_pool": lambda x: last(getattr(F, f"avg_pool{rank}d")(first(x), **options)),
        "lp_pool": lambda x: last(getattr(F, f"lp_pool{rank}d")(first(x), **{"norm_type": 2, **options})),
        "adaptive_average_pool": lambda x: last(getattr(F, f"adaptive_avg_pool{rank}d")(first(x), **options)),
        "adaptive_max_pool": lambda x: last(getattr(F, f"adaptive_max_pool{rank}d")(first(x), **options)),
        "global_average_pool": lambda x: (first(x).mean(axes),),
        "global_max_pool": lambda x: (getattr(F, f"adaptive_max_pool{rank}d")(first(x), 1).flatten(1),),
        "spatial_pyramid_pool": pyramid,
        "channel_max_pool": lambda x: (x.unflatten(-1, (-1, options["size"])).max(-1).values,),
        "max_unpool": unpool,
        "unfold": unfold,
        "fold": fold,
        "pixel_shuffle": lambda x: last(F.pixel_shuffle(first(x), options["block_size"])),
        "pixel_unshuffle": lambda x: last(F.pixel_unshuffle(first(x), options["block_size"])),
        "resize": lambda x: last(F.interpolate(first(x).contiguous(), **_for_torch(options))),
    }[case.op]


def _for_torch(options: dict[str, Any]) -> dict[str, Any]:
    """PyTorch wants ``align_corners`` given for some methods and absent for the others."""
    if "linear" in options["mode"] or options["mode"] == "bicubic":
        return {"align_corners": False, **options}
    return options


def main() -> None:
    """Writes the file."""
    import torch

    arrays = {
        f"{name}/{index}": array.astype(np.int32) if array.dtype == np.int64 else array
        for name, case in cases().items()
        for index, array in enumerate(torch_outputs(case))
    }
    header = json.dumps({"versions": {"torch": torch.__version__, "numpy": np.__version__}})
    path = REFERENCE / "resampling.npz"
    np.savez_compressed(path, header=header, **arrays)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB, {len(cases())} cases")


if __name__ == "__main__":
    main()
