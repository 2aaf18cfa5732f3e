"""Narrow networks for clips that our side and PyTorch build with the same weights. No torch here."""

from typing import Any, NamedTuple

import numpy as np
from oracles.network_cases import check_model

from jaxvision.backbones import (
    C3D,
    C3DClassifier,
    Ji3DClassifier,
    Ji3DCNN,
    PooledClassifier,
    VideoResNet,
    ji_3dcnn,
)
from jaxvision.weights import Rule, c3d_classifier_rules, video_resnet_classifier_rules

CHANNELS = ("gray", "gradient_x", "gradient_y", "flow_x", "flow_y")


class Case(NamedTuple):
    """One network at one input shape ``[N, T, H, W, C]``."""

    family: str
    shape: tuple[int, int, int, int, int]
    fields: dict[str, Any]
    classes: int = 3


_WIDTHS = {"features": (4, 6, 6, 8), "stem_features": 4, "blocks": (1, 1, 1, 1)}
_C3D = {"features": (2, 3, 4, 4, 5)}

CASES = {
    "video_3d": Case(
        "video_resnet", (2, 5, 33, 24, 3), {**_WIDTHS, "blocks": (1, 2, 1, 1), "convolutions": ("3d",) * 4}
    ),
    "video_mixed": Case(
        "video_resnet", (2, 4, 24, 33, 3), {**_WIDTHS, "convolutions": ("3d", "2d", "2d", "2d")}
    ),
    "video_2plus1d": Case(
        "video_resnet",
        (2, 5, 33, 24, 3),
        {**_WIDTHS, "convolutions": ("2+1d",) * 4, "stem_middle_features": 3},
    ),
    "c3d": Case("c3d", (1, 16, 96, 112, 3), _C3D),
    # Its last map, 2x3x3, is averaged to 1x4x4 regions.
    "c3d_other_size": Case("c3d", (2, 33, 70, 64, 3), _C3D),
    "c3d_caffe_pooling": Case(
        "c3d", (1, 16, 112, 112, 3), {**_C3D, "last_padding": ((0, 0), (0, 1), (0, 1))}
    ),
    "ji_3dcnn": Case("ji_3dcnn", (2, 7, 60, 40, 3), {"features": 9}),
    "ji_3dcnn_kth": Case("ji_3dcnn_kth", (1, 9, 60, 80, 1), {"features": 5}, classes=6),
}


def names_of(*families: str) -> list[str]:
    return [name for name, case in CASES.items() if case.family in families]


def our_model(case: Case) -> Any:
    """The network without dropout, so that train mode is deterministic."""
    if case.family == "video_resnet":
        return PooledClassifier(VideoResNet(**case.fields), case.classes)
    if case.family == "c3d":
        return C3DClassifier(C3D(**case.fields), case.classes, hidden=6, dropout_rate=0.0)
    body: Ji3DCNN = ji_3dcnn(case.family, **case.fields)
    return Ji3DClassifier(body, case.classes)


def rules_for(case: Case) -> tuple[Rule, ...]:
    """From the names of ``torch_video`` to ours."""
    if case.family == "video_resnet":
        return video_resnet_classifier_rules()
    if case.family == "c3d":
        return c3d_classifier_rules()
    channel = f"({'|'.join(CHANNELS)})"
    return (
        Rule(channel + r"\.conv(\d)\.weight", r"params/backbone/\1_conv\2/kernel", "conv3d"),
        Rule(channel + r"\.conv(\d)\.bias", r"params/backbone/\1_conv\2/bias"),
        Rule(channel + r"\.pool(\d)\.(scale|bias)", r"params/backbone/\1_pool\2/\3"),
        Rule(r"conv3\.weight", "params/backbone/conv3/kernel", "conv"),
        Rule(r"conv3\.bias", "params/backbone/conv3/bias"),
        Rule(r"head\.weight", "params/head/kernel", "linear"),
    )


def seeded_clips(case: Case) -> np.ndarray:
    """Normal values; for the hard-wired layer a smooth pattern in [0, 1] that moves, with some noise."""
    rng = np.random.default_rng(7)
    if not case.family.startswith("ji"):
        return rng.standard_normal(case.shape).astype(np.float32)
    number, frames, height, width, colours = case.shape
    n, t, y, x, c = np.ogrid[:number, :frames, :height, :width, :colours]
    pattern = np.sin(0.3 * x - 0.4 * t + n + c) * np.cos(0.2 * y + 0.3 * t)
    return (0.5 + 0.4 * pattern + 0.05 * rng.uniform(-1, 1, case.shape)).astype(np.float32)


def check_against(case: Case, expected: dict[str, Any]) -> None:
    """Our logits against PyTorch's to 1e-4 relative; what training gives in float64, to 1e-6."""
    check_model(our_model(case), rules_for(case), seeded_clips(case), expected)
