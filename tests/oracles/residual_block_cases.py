"""Blocks that our side and PyTorch build with the same weights, and what is checked of each. No torch here.

The weights come from a seed by name, so a recording holds only names, shapes and what PyTorch computed.
"""

import functools
import itertools
import json
import re
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from oracles.network_cases import REFERENCE, seeded_state_dict

from jaxvision.core import flatten_paths
from jaxvision.layers import (
    CBAM,
    BasicBlock,
    BatchNorm,
    Bottleneck,
    DarknetBlock,
    DenseBlock,
    InceptionBlock,
    InvertedResidual,
    SqueezeExcitation,
    Transition,
)
from jaxvision.weights import BOOKKEEPING, Rule, convert


class BlockCase(NamedTuple):
    """A block, the shape of its input, and where each submodule of PyTorch's block goes in ours."""

    block: nn.Module
    shape: tuple[int, int, int, int]
    modules: dict[str, str]


def _numbered(count: int, *, shortcut: bool = False) -> dict[str, str]:
    modules = {f"conv{i}": f"conv{i}" for i in range(1, count + 1)}
    modules |= {f"bn{i}": f"norm{i}" for i in range(1, count + 1)}
    if shortcut:
        modules |= {"downsample.0": "shortcut_conv", "downsample.1": "shortcut_norm"}
    return modules


def _conv_norm(pairs: dict[str, str]) -> dict[str, str]:
    """torchvision's Conv2dNormActivation, a Sequential, to our ConvNormAct."""
    return {
        f"{key}.{i}": f"{path}/{part}"
        for key, path in pairs.items()
        for i, part in enumerate(("conv", "norm"))
    }


def _squeeze(key: str, path: str) -> dict[str, str]:
    return {f"{key}fc1": f"{path}reduce_conv", f"{key}fc2": f"{path}expand_conv"}


_V3_NORM = functools.partial(BatchNorm, epsilon=1e-3, momentum=0.01)
_WITH_SQUEEZE = _conv_norm({"block.0": "expand", "block.1": "depthwise", "block.3": "project"})
_WITH_SQUEEZE |= _squeeze("block.2.", "attention/")
_INCEPTION = {
    f"{key}.{part}": f"{path}/{ours}"
    for key, path in {
        "branch1": "branch1x1",
        "branch2.0": "reduce3x3",
        "branch2.1": "branch3x3",
        "branch3.0": "reduce5x5",
        "branch3.1": "branch5x5",
        "branch4.1": "pool_projection",
    }.items()
    for part, ours in (("conv", "conv"), ("bn", "norm"))
}
_CBAM = {"mlp.0": "channel/reduce_conv", "mlp.2": "channel/expand_conv", "conv": "spatial/conv"}

CASES = {
    "basic": BlockCase(BasicBlock(6), (2, 5, 4, 6), _numbered(2)),
    "basic_attention": BlockCase(
        BasicBlock(6, 2, attention=functools.partial(SqueezeExcitation, reduction=2)),
        (2, 5, 4, 4),
        _numbered(2, shortcut=True) | _squeeze("se.", "attention/"),
    ),
    "bottleneck_grouped": BlockCase(
        Bottleneck(16, 2, groups=2, base_width=32), (2, 5, 4, 6), _numbered(3, shortcut=True)
    ),
    "bottleneck_dilated": BlockCase(Bottleneck(8, dilation=2, base_width=128), (2, 5, 4, 8), _numbered(3)),
    "darknet": BlockCase(DarknetBlock(6), (2, 5, 4, 6), _numbered(2)),
    "squeeze": BlockCase(SqueezeExcitation(reduction=3), (2, 5, 4, 6), _squeeze("", "")),
    "mobilenet_v2": BlockCase(
        InvertedResidual(5, expansion=2.5),
        (2, 5, 4, 5),
        _conv_norm({"conv.0": "expand", "conv.1": "depthwise"})
        | {"conv.2": "project/conv", "conv.3": "project/norm"},
    ),
    "mobilenet_v2_first": BlockCase(
        InvertedResidual(4, expansion=1),
        (2, 5, 4, 6),
        _conv_norm({"conv.0": "depthwise"}) | {"conv.1": "project/conv", "conv.2": "project/norm"},
    ),
    "mobilenet_v3": BlockCase(
        InvertedResidual(
            8,
            kernel_size=5,
            hidden_features=16,
            norm=_V3_NORM,
            activation=nn.hard_swish,
            attention=functools.partial(SqueezeExcitation, squeeze_features=8, gate=nn.hard_sigmoid),
        ),
        (2, 5, 4, 8),
        _WITH_SQUEEZE,
    ),
    "mobilenet_v3_dilated": BlockCase(
        InvertedResidual(16, dilation=2, hidden_features=24, norm=_V3_NORM, activation=nn.relu),
        (2, 5, 4, 8),
        _conv_norm({"block.0": "expand", "block.1": "depthwise", "block.2": "project"}),
    ),
    "mbconv": BlockCase(
        InvertedResidual(
            8,
            2,
            kernel_size=5,
            expansion=2,
            activation=nn.silu,
            attention=functools.partial(SqueezeExcitation, squeeze_features=2, activation=nn.silu),
        ),
        (2, 5, 4, 8),
        _WITH_SQUEEZE,
    ),
    "dense_block": BlockCase(
        DenseBlock(2, growth_rate=2, bottleneck=2),
        (2, 5, 4, 4),
        {f"denselayer{i}.{m}": f"layer{i}/{m}" for i in (1, 2) for m in ("norm1", "conv1", "norm2", "conv2")},
    ),
    "transition": BlockCase(Transition(), (2, 5, 4, 7), {"norm": "norm", "conv": "conv"}),
    "inception": BlockCase(
        InceptionBlock(2, 3, 4, 2, 3, 2, kernel_size=3, norm=functools.partial(BatchNorm, epsilon=1e-3)),
        (2, 5, 4, 5),
        _INCEPTION,
    ),
    "inception_paper": BlockCase(InceptionBlock(2, 3, 4, 2, 3, 2, norm=None), (2, 5, 4, 5), _INCEPTION),
    "cbam": BlockCase(CBAM(reduction=2), (2, 5, 4, 6), _CBAM),
    "cbam_authors": BlockCase(
        CBAM(reduction=3, kernel_size=3, use_bias=True, norm=BatchNorm),
        (2, 5, 4, 6),
        _CBAM | {"bn": "spatial/norm"},
    ),
}


def seeded_input(case: BlockCase) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(case.shape).astype(np.float32)


def seeded_cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """What the output is multiplied by before it is summed, to take gradients."""
    return np.random.default_rng(8).standard_normal(shape).astype(np.float32)


def rules_for(case: BlockCase) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for key, path in case.modules.items():
        key = re.escape(key)
        if path.rsplit("/", 1)[-1].startswith("norm") or path.endswith("_norm"):
            rules += [
                Rule(rf"{key}\.weight", f"params/{path}/scale"),
                Rule(rf"{key}\.bias", f"params/{path}/bias"),
                Rule(rf"{key}\.running_(mean|var)", rf"batch_stats/{path}/\1"),
            ]
        else:
            rules.append(Rule(rf"{key}\.weight", f"params/{path}/kernel", "conv"))
            rules.append(Rule(rf"{key}\.bias", f"params/{path}/bias"))
    return tuple(rules)


def target_of(case: BlockCase) -> Any:
    """Shapes of our variables."""
    x = jax.ShapeDtypeStruct(case.shape, jnp.float32)
    return jax.eval_shape(functools.partial(case.block.init, train=False), jax.random.key(0), x)


@functools.cache
def _recording() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(REFERENCE / "residual_blocks.npz") as archive:
        data = {key: archive[key] for key in archive.files}
    return json.loads(str(data.pop("header"))), data


def recorded(name: str) -> dict[str, Any]:
    """What ``tests/reference/record_residual_blocks.py`` saved: one flat array a case, cut up again."""
    header, data = _recording()
    entry = header["cases"][name]
    shapes = {key: tuple(shape) for key, shape in entry["outputs"].items()}
    ends = itertools.accumulate(int(np.prod(shape)) for shape in shapes.values())
    pieces = np.split(data[name], list(ends)[:-1])
    outputs = {key: piece.reshape(shapes[key]) for key, piece in zip(shapes, pieces, strict=True)}
    return {"shapes": {key: tuple(shape) for key, shape in entry["weights"].items()}, **outputs}


def our_outputs(case: BlockCase, variables: Any) -> dict[str, np.ndarray]:
    """Output and the input's gradient in both modes; of training also gradients and statistics by path."""
    block = case.block

    @jax.jit
    def run(variables: Any, x: jax.Array) -> dict[str, Any]:
        def forward(params: Any, x: jax.Array) -> Any:
            return block.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])

        y, pull, updates = jax.vjp(forward, variables["params"], x, has_aux=True)
        cotangent = jnp.asarray(seeded_cotangent(y.shape))
        params, gradient = pull(cotangent)
        outputs = {"train/y": y, "train/x": gradient, **flatten_paths({"params": params, **updates})}
        y, pull = jax.vjp(lambda x: block.apply(variables, x, train=False), x)
        return {**outputs, "eval/y": y, "eval/x": pull(cotangent)[0]}

    return jax.device_get(run(variables, jnp.asarray(seeded_input(case))))


def check_against(case: BlockCase, expected: dict[str, Any]) -> None:
    """Every output of :func:`our_outputs` against PyTorch's, to 1e-5 of its largest value."""
    rules, target = rules_for(case), target_of(case)
    variables = convert(seeded_state_dict(expected["shapes"]), rules, target, ignore=BOOKKEEPING)
    after = {key.removeprefix("after/"): value for key, value in expected.items() if key.startswith("after/")}
    wanted = flatten_paths(convert(after, rules, target))
    wanted |= {key: value for key, value in expected.items() if key.startswith(("eval/", "train/"))}
    actual = our_outputs(case, variables)
    assert actual.keys() == wanted.keys()
    for key, value in wanted.items():
        assert actual[key].shape == value.shape, (key, actual[key].shape, value.shape)
        error, scale = np.abs(actual[key] - value).max(), np.abs(value).max()
        assert error <= 1e-5 * scale, f"{key}: largest error {error:.2e}, largest value {scale:.2e}"


def check_transformations(case: BlockCase) -> None:
    """``vmap``, an empty batch, bfloat16, forward mode, and a second call that does not retrace."""
    block, half = case.block, case.block.clone(dtype=jnp.bfloat16)
    x, traces = jnp.asarray(seeded_input(case)), []
    tangent = jnp.asarray(seeded_cotangent(x.shape))

    @jax.jit
    def run(variables: Any, x: jax.Array) -> Any:
        traces.append(x.shape)
        apply = functools.partial(block.apply, variables, train=False)
        y, forward = jax.jvp(apply, (x,), (tangent,))
        gradient = jax.grad(lambda x: (apply(x) * forward).sum())(x)
        return {
            "y": y,
            "vmap": jax.vmap(lambda image: apply(image[None])[0])(x),
            "empty": apply(x[:0]),
            "bfloat16": half.apply(variables, x, train=False),
            "norms": ((forward**2).sum(), (gradient * tangent).sum()),
        }

    target = target_of(case)
    assert {leaf.dtype for leaf in jax.tree.leaves(target)} == {jnp.dtype("float32")}
    variables = jax.tree.map(lambda leaf: jnp.asarray(seeded_cotangent(leaf.shape)) ** 2, target)
    outputs = run(variables, x)
    y = np.asarray(outputs["y"])
    scale = np.abs(y).max()
    np.testing.assert_allclose(outputs["vmap"], y, rtol=0, atol=1e-5 * scale)
    assert outputs["empty"].shape == (0, *y.shape[1:])
    assert outputs["bfloat16"].dtype == jnp.bfloat16
    np.testing.assert_allclose(outputs["bfloat16"].astype(np.float32), y, rtol=0, atol=0.05 * scale)
    np.testing.assert_allclose(*outputs["norms"], rtol=1e-4)  # <Jv, Jv> = <J'Jv, v>
    run(variables, 2 * x)
    assert len(traces) == 1
