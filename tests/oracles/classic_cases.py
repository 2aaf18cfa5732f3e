"""Narrow NIN, GoogLeNet, Inception-v3, Xception, Darknet and pyramid heads, for both sides. No torch here.

``torch_classic`` builds the other side of each case under the same name.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from oracles.network_cases import (
    NARROW,
    VGG11,
    assert_close,
    check_model,
    in_double,
    seeded_state_dict,
)

from jaxvision.backbones import (
    GOOGLENET_VARIANTS,
    NIN,
    NIN_VARIANTS,
    VGG,
    AlignedXception,
    Darknet,
    GoogLeNet,
    GoogLeNetClassifier,
    InceptionV3,
    InceptionV3Classifier,
    NINClassifier,
    PooledClassifier,
    SPPClassifier,
    Xception,
)
from jaxvision.layers import BatchNorm
from jaxvision.weights import (
    BOOKKEEPING,
    Rule,
    aligned_xception_classifier_rules,
    convert,
    darknet_classifier_rules,
    googlenet_classifier_rules,
    inception_v3_classifier_rules,
    nin_classifier_rules,
    vgg_backbone_rules,
    xception_classifier_rules,
)

CLASSES = 3


class ClassicCase(NamedTuple):
    """One network with its rules at one input shape; ``scale`` is the deviation of its images."""

    model: Any
    rules: tuple[Rule, ...]
    shape: tuple[int, int, int, int]
    scale: float = 1.0


class SideBySide:
    """A classifier whose logits are the main ones and those of its auxiliary heads, side by side.

    In evaluation, which leaves the heads out, the main ones fill their places.
    """

    def __init__(self, model: Any, heads: tuple[str, ...]) -> None:
        self.model, self.heads = model, heads
        self.init = model.init

    def apply(
        self, variables: Any, images: jax.Array, *, train: bool, mutable: Any = (), **options: Any
    ) -> Any:
        call = functools.partial(self.model.apply, variables, images, train=train, **options)
        if not train:
            return jnp.concatenate([call()] * (1 + len(self.heads)), -1)
        logits, updates = call(mutable=[*mutable, "aux_logits"])
        updates = dict(updates)
        extra = updates.pop("aux_logits")
        return jnp.concatenate([logits, *(extra[name] for name in self.heads)], -1), updates


def _nin(variant: str) -> NINClassifier:
    stages = NIN_VARIANTS[variant]["stages"]
    narrow = tuple(
        stage._replace(features=tuple(width // 32 for width in stage.features)) for stage in stages
    )
    return NINClassifier(NIN(narrow, dropout_rate=0.0), CLASSES)


def _googlenet(variant: str, *, aux_heads: bool = False) -> GoogLeNetClassifier:
    blocks = tuple(
        tuple(tuple(width // 16 for width in row) for row in stage) for stage in GoogLeNet().blocks
    )
    backbone = GoogLeNet((4, 4, 12), blocks, **GOOGLENET_VARIANTS[variant])
    return GoogLeNetClassifier(
        backbone, CLASSES, aux_heads, 0.0, aux_dropout_rate=0.0, aux_features=8, aux_hidden=10
    )


def _inception(*, aux_heads: bool = False) -> InceptionV3Classifier:
    return InceptionV3Classifier(InceptionV3(width=1 / 32), CLASSES, aux_heads, 0.0)


def _spp_rules() -> tuple[Rule, ...]:
    return (
        *vgg_backbone_rules(VGG11),
        Rule(r"(fc6|fc7|head)\.weight", r"params/\1/kernel", "linear"),
        Rule(r"(fc6|fc7|head)\.bias", r"params/\1/bias"),
    )


def _aligned(**fields: Any) -> PooledClassifier:
    backbone = AlignedXception(
        (4, 6),
        ((8, 2), (8, 1), (10, 2), (12, 2)),
        middle_blocks=1,
        exit_features=(14, 16),
        last_features=(18, 16, 20),
        norm=functools.partial(BatchNorm, epsilon=1e-3),
        **fields,
    )
    return PooledClassifier(backbone, CLASSES)


_SPP = SPPClassifier(VGG(VGG11, NARROW), CLASSES, hidden=10, dropout_rate=0.0)
_DARKNET = {"features": (4, 6, 8, 8, 10), "stem_features": 4}
CASES = {
    "nin": ClassicCase(_nin("nin"), nin_classifier_rules(4), (2, 83, 90, 3)),
    "nin_cifar10": ClassicCase(_nin("nin_cifar10"), nin_classifier_rules(3), (2, 32, 29, 3)),
    "googlenet": ClassicCase(_googlenet("googlenet"), googlenet_classifier_rules(), (3, 50, 64, 3)),
    # Large images, so that local response normalisation changes something.
    "googlenet_paper": ClassicCase(
        _googlenet("googlenet_paper"), googlenet_classifier_rules(), (2, 64, 77, 3), scale=100.0
    ),
    "googlenet_aux": ClassicCase(
        SideBySide(_googlenet("googlenet", aux_heads=True), ("aux1", "aux2")),
        googlenet_classifier_rules(),
        (3, 64, 80, 3),
    ),
    "inception_v3": ClassicCase(_inception(), inception_v3_classifier_rules(), (3, 107, 139, 3)),
    "inception_v3_aux": ClassicCase(
        SideBySide(_inception(aux_heads=True), ("aux",)), inception_v3_classifier_rules(), (3, 299, 299, 3)
    ),
    "xception": ClassicCase(
        PooledClassifier(Xception((4, 6), (8, 10, 12), 1, (14, 16, 18)), CLASSES),
        xception_classifier_rules(),
        (2, 71, 90, 3),
    ),
    "aligned_xception": ClassicCase(_aligned(), aligned_xception_classifier_rules(), (2, 65, 90, 3)),
    "aligned_xception_dilated": ClassicCase(
        _aligned(output_stride=8), aligned_xception_classifier_rules(), (1, 65, 50, 3)
    ),
    "darknet19": ClassicCase(
        PooledClassifier(Darknet((0, 1, 1, 2, 2), residual=False, **_DARKNET), CLASSES),
        darknet_classifier_rules(),
        (2, 77, 96, 3),
    ),
    "darknet53": ClassicCase(
        PooledClassifier(Darknet((1, 1, 1, 1, 2), negative_slope=0.01, **_DARKNET), CLASSES),
        darknet_classifier_rules(),
        (2, 65, 96, 3),
    ),
    "spp": ClassicCase(_SPP, _spp_rules(), (2, 96, 160, 3)),
    "spp_other_size": ClassicCase(_SPP, _spp_rules(), (2, 224, 45, 3)),
}


def images_of(case: ClassicCase) -> np.ndarray:
    draw = np.random.default_rng(7).standard_normal(case.shape)
    return (case.scale * draw).astype(np.float32)


def check_classic(name: str, expected: dict[str, Any]) -> None:
    """Our logits against PyTorch's to 1e-4 relative; what training gives in float64, to 1e-6."""
    case = CASES[name]
    check_model(case.model, case.rules, images_of(case), expected)


def check_full_size(
    model: Any, rules: tuple[Rule, ...], images: np.ndarray, expected: dict[str, Any], ignore: tuple[str, ...]
) -> None:
    """Our logits and features of a whole net against PyTorch's in double precision, to 1e-6 relative.

    Args:
      model: a classifier with a ``backbone``.
      rules: from PyTorch's names.
      images: ``[N, H, W, C]``.
      expected: ``"shapes"`` of the weights by name, ``"logits"`` and the features ``"c1"`` and so on.
      ignore: patterns of PyTorch's names that have no place in ours.
    """
    expected = dict(expected)
    target = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    source = seeded_state_dict(expected.pop("shapes"))
    variables = convert(source, rules, target, ignore=(*BOOKKEEPING, *ignore))
    body = {collection: tree["backbone"] for collection, tree in variables.items()}

    # Not by features_and_logits: GoogLeNet's classifier takes its backbone's blocks, not what a call returns.
    @jax.jit
    def run(variables: Any, body: Any, images: jax.Array) -> dict[str, jax.Array]:
        features = model.backbone.apply(body, images, train=False)
        return {**features, "logits": model.apply(variables, images, train=False)}

    outputs = in_double(run, variables, body, images)
    assert set(outputs) == set(expected) == {"logits", *model.backbone.channels}
    for name, wanted in expected.items():
        assert_close(name, outputs[name], wanted, relative=1e-6)
