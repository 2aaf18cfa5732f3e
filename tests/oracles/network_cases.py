"""Narrow networks that our side and PyTorch build with the same weights, and the comparison. No torch here.

The weights come from a seed by name, so a recording holds only names, shapes and what PyTorch computed.
"""

import functools
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.backbones import VGG, PooledClassifier, ResNet, VGGClassifier
from jaxvision.core import flatten_paths
from jaxvision.layers import BasicBlock, Bottleneck
from jaxvision.segmentation import FCN, UNet
from jaxvision.weights import (
    BOOKKEEPING,
    Rule,
    convert,
    resnet_classifier_rules,
    vgg_backbone_rules,
    vgg_classifier_rules,
)

REFERENCE = Path(__file__).parents[1] / "reference"
VGG11 = (1, 1, 2, 2, 2)
NARROW = (4, 4, 6, 6, 8)


class Case(NamedTuple):
    """One network at one input shape ``[N, H, W, C]``."""

    family: str
    shape: tuple[int, int, int, int]
    fields: dict[str, Any]
    classes: int = 3


CASES = {
    "vgg": Case("vgg", (2, 64, 96, 3), {}),
    "vgg_bn": Case("vgg", (3, 64, 64, 3), {"use_norm": True}),
    "resnet_basic": Case(
        "resnet",
        (2, 45, 64, 3),
        {"block": BasicBlock, "blocks": (2, 1, 1, 1), "features": (4, 6, 8, 8), "stem_features": 4},
    ),
    "resnet_dilated": Case(
        "resnet",
        (1, 45, 50, 3),
        {
            "block": Bottleneck,
            "blocks": (1, 1, 1, 2),
            "features": (8, 16, 16, 24),
            "stem_features": 4,
            "output_stride": 8,
        },
    ),
    "fcn32s": Case("fcn", (2, 45, 70, 3), {"stride": 32}),
    "fcn16s": Case("fcn", (1, 33, 64, 3), {"stride": 16}),
    "fcn8s": Case("fcn", (2, 45, 70, 3), {"stride": 8}),
    "fcn8s_bn_small": Case("fcn", (4, 20, 40, 3), {"stride": 8, "use_norm": True}),
    "unet_same": Case("unet", (2, 37, 50, 3), {"features": (2, 4, 4, 6, 6)}),
    "unet_norm": Case("unet", (2, 32, 48, 3), {"features": (2, 4, 4, 6, 6), "use_norm": True}),
    "unet_valid": Case("unet", (1, 60, 68, 1), {"features": (3, 4, 6), "padding": "valid"}),
}


def seeded_state_dict(shapes: dict[str, tuple[int, ...]], *, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights in PyTorch's names and layouts; each depends on the seed and its own name only."""
    source = {}
    for key, shape in shapes.items():
        rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
        if key.endswith("num_batches_tracked"):
            source[key] = np.zeros(shape, np.int64)
        elif key.endswith("running_var"):
            source[key] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        elif len(shape) > 1 and not key.endswith("gain"):
            fan_in = np.prod(shape[1:])
            source[key] = (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)
        else:
            # The scale of a normalisation, the gain of a standardised kernel, or a bias.
            centre = 1.0 if key.endswith(("weight", "gain")) else 0.0
            source[key] = np.asarray(centre + 0.2 * rng.standard_normal(shape), np.float32)
    return source


def seeded_images(case: Case) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(case.shape).astype(np.float32)


def seeded_cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """What the logits are multiplied by before they are summed, to take gradients."""
    return np.random.default_rng(8).standard_normal(shape).astype(np.float32)


def our_model(case: Case) -> Any:
    """The network without dropout, so that train mode is deterministic."""
    fields = dict(case.fields)
    if case.family == "unet":
        return UNet(case.classes, dropout_rate=0.0, **fields)
    if case.family == "resnet":
        return PooledClassifier(ResNet(**fields), case.classes)
    backbone = VGG(VGG11, NARROW, use_norm=fields.pop("use_norm", False))
    if case.family == "vgg":
        return VGGClassifier(backbone, case.classes, hidden=10, dropout_rate=0.0)
    return FCN(backbone, case.classes, hidden=10, dropout_rate=0.0, **fields)


def rules_for(case: Case) -> tuple[Rule, ...]:
    """From the names of ``torch_networks`` to ours."""
    use_norm = case.fields.get("use_norm", False)
    if case.family == "vgg":
        return vgg_classifier_rules(VGG11, use_norm=use_norm)
    if case.family == "resnet":
        return resnet_classifier_rules()
    if case.family == "fcn":
        return (
            *vgg_backbone_rules(VGG11, use_norm=use_norm),
            Rule(r"(fc\d|score_\w+)\.weight", r"params/\1/kernel", "conv"),
            Rule(r"(fc\d|score_\w+)\.bias", r"params/\1/bias"),
            Rule(r"(upsample_\w+)\.weight", r"params/\1/kernel", "transposed_conv"),
        )
    return _unet_rules(len(case.fields["features"]))


def _unet_rules(levels: int) -> tuple[Rule, ...]:
    rules = [Rule(r"head\.weight", "params/head/kernel", "conv"), Rule(r"head\.bias", "params/head/bias")]
    for index in range(levels):
        for source, ours in (("encoders", "encoder"), ("decoders", "decoder")):
            key, path = rf"{source}\.{index}\.", f"{ours}{index + 1}"
            rules += [
                Rule(key + r"conv(\d)\.weight", rf"params/{path}_conv\1/kernel", "conv"),
                Rule(key + r"conv(\d)\.bias", rf"params/{path}_conv\1/bias"),
                Rule(key + r"norm(\d)\.weight", rf"params/{path}_norm\1/scale"),
                Rule(key + r"norm(\d)\.bias", rf"params/{path}_norm\1/bias"),
                Rule(key + r"norm(\d)\.running_(mean|var)", rf"batch_stats/{path}_norm\1/\2"),
            ]
        up = f"params/decoder{index + 1}_upsample"
        rules.append(Rule(rf"ups\.{index}\.weight", f"{up}/kernel", "transposed_conv"))
        rules.append(Rule(rf"ups\.{index}\.bias", f"{up}/bias"))
    return tuple(rules)


def recorded(name: str) -> dict[str, Any]:
    """What ``tests/reference/record_networks.py`` saved."""
    with np.load(REFERENCE / f"network_{name}.npz") as archive:
        data = {key: archive[key] for key in archive.files}
    header = json.loads(str(data.pop("header")))
    return {"shapes": {key: tuple(shape) for key, shape in header["shapes"].items()}, **data}


def check_against(case: Case, expected: dict[str, Any]) -> None:
    """Our logits against PyTorch's to 1e-4 relative; what training gives in float64, to 1e-6."""
    check_model(our_model(case), rules_for(case), seeded_images(case), expected)


def check_model(model: Any, rules: Sequence[Rule], inputs: np.ndarray, expected: dict[str, Any]) -> None:
    """As :func:`check_against`, of any model and the rules for PyTorch's names of its weights."""
    images = jnp.asarray(inputs)
    target = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    variables = convert(seeded_state_dict(expected["shapes"]), rules, target, ignore=BOOKKEEPING)

    logits = jax.jit(functools.partial(model.apply, train=False))(variables, images)
    assert logits.dtype == jnp.float32
    assert_close("eval logits", logits, expected["eval_logits"])
    train_logits, gradients, updates = _train_in_double(model, variables, inputs)
    assert_close("train logits", train_logits, expected["train_logits"], relative=1e-6)
    # PyTorch's gradients and statistics go through the same rules as its weights.
    after = {"params": target["params"], **updates}
    wanted = {
        key.removeprefix("after/"): value for key, value in expected.items() if key.startswith("after/")
    }
    wanted = flatten_paths(convert(wanted, rules, after))
    scale = max(np.abs(value).max() for value in wanted.values())
    for path, value in flatten_paths({"params": gradients, **updates}).items():
        # The floor is for biases in front of a normalisation: their gradient is zero but for rounding.
        assert_close(path, value, wanted[path], floor=0.1 * scale, relative=1e-6)


def check_recording(name: str, live: dict[str, Any]) -> None:
    """A recording, which :func:`check_model` holds a network against, equals what PyTorch computes now."""
    expected = recorded(name)
    assert live.keys() == expected.keys()
    assert live.pop("shapes") == expected.pop("shapes")
    scale = max(np.abs(value).max() for key, value in expected.items() if key.startswith("after/"))
    for key, value in live.items():
        floor, relative = 0.1 * scale * key.startswith("after/"), 1e-4 if key == "eval_logits" else 1e-6
        assert_close(key, value, expected[key], floor=floor, relative=relative)


def _train_in_double(model: Any, variables: Any, inputs: np.ndarray) -> tuple[Any, Any, Any]:
    """The logits in train mode, the gradients, and the new statistics, in double precision.

    In single precision some of the many values in front of a ReLU or under a maximum are as near to the kink
    as a rounding error. On which side of it they come out depends on the machine, and moves the gradients by
    as much as a tenth.
    """

    @jax.jit
    def differentiate(wide: Any, images: Any) -> Any:
        def objective(params: Any) -> Any:
            logits, updates = model.apply(
                {**wide, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            # The head rounds its logits to float32, as the cotangent is: their gradients are exact.
            return (logits * seeded_cotangent(logits.shape)).sum(), (logits, updates)

        gradients, (logits, updates) = jax.grad(objective, has_aux=True)(wide["params"])
        return logits, gradients, updates

    return in_double(differentiate, variables, inputs)


def features_and_logits(model: Any) -> Any:
    """A function from variables and images to the features of the backbone and ``"logits"``, in one pass.

    Deep networks of equal blocks are fastest as they are: a layer is compiled at its first call, not anew in
    each block. Those whose layers all differ are under ``jit``.
    """

    def run(variables: Any, images: Any) -> dict[str, jax.Array]:
        logits, state = model.apply(
            variables, images, train=False, capture_intermediates=lambda part, _: part.name == "backbone"
        )
        return {**state["intermediates"]["backbone"]["__call__"][0], "logits": logits}

    return run


def in_double(run: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives for arguments in double precision.

    Over a hundred layers single precision rounds by up to 1e-4, and by another number on every machine.
    """
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), arguments)
        return jax.device_get(run(*wide))


def assert_close(
    what: str, actual: Any, wanted: np.ndarray, *, floor: float = 0.0, relative: float = 1e-4
) -> None:
    actual = np.asarray(actual)
    assert actual.shape == wanted.shape, (what, actual.shape, wanted.shape)
    error, scale = np.abs(actual - wanted).max(), max(np.abs(wanted).max(), floor)
    assert error <= relative * scale, f"{what}: largest error {error:.2e}, largest value {scale:.2e}"
