"""Networks for clips by name."""

import functools
from collections.abc import Mapping
from types import MappingProxyType

from jaxvision.backbones import C3DClassifier, Ji3DClassifier, c3d, ji_3dcnn, video_resnet
from jaxvision.weights import Preprocessing, c3d_classifier_rules, video_resnet_classifier_rules
from jaxvision.zoo.entry import Entry, build_classifier

_C3D_PAPER = "Tran et al. 2015, Learning Spatiotemporal Features with 3D Convolutional Networks"
_RESNET_PAPER = "Tran et al. 2018, A Closer Look at Spatiotemporal Convolutions for Action Recognition"
_JI_PAPER = "Ji, Xu, Yang and Yu 2013, 3D Convolutional Neural Networks for Human Action Recognition"

# torchvision's weights KINETICS400_V1: 16 frames at 15 a second.
_KINETICS = Preprocessing(
    size=(112, 112),
    resize=(128, 171),
    mean=(0.43216, 0.394666, 0.37645),
    std=(0.22803, 0.22145, 0.216989),
    frames=16,
    antialias=False,
)
# Section 3.3 of the paper. The authors subtract a mean clip from values up to 255; these are the means of its
# channels.
_SPORTS1M = _KINETICS._replace(
    mean=(90.25 / 255, 97.66 / 255, 101.41 / 255), std=(1 / 255,) * 3, channel_order="bgr"
)


def _resnet(variant: str) -> Entry:
    builder = functools.partial(build_classifier, video_resnet, variant, num_classes=400)
    return Entry(builder, video_resnet_classifier_rules, _RESNET_PAPER, _KINETICS)


def _ji(variant: str, classes: int) -> Entry:
    """There are no published weights; the hard-wired layer wants values in [0, 1]."""
    builder = functools.partial(build_classifier, ji_3dcnn, variant, head=Ji3DClassifier, num_classes=classes)
    body = ji_3dcnn(variant)
    preprocessing = Preprocessing(body.size, body.size, (0.0,) * 3, (1.0,) * 3, frames=body.frames)
    return Entry(builder, None, _JI_PAPER, preprocessing)


ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "c3d": Entry(
            functools.partial(build_classifier, c3d, "c3d", head=C3DClassifier, num_classes=487),
            c3d_classifier_rules,
            _C3D_PAPER,
            _SPORTS1M,
        ),
        "r3d_18": _resnet("r3d_18"),
        "mc3_18": _resnet("mc3_18"),
        "r2plus1d_18": _resnet("r2plus1d_18"),
        "ji_3dcnn": _ji("ji_3dcnn", 3),
        "ji_3dcnn_kth": _ji("ji_3dcnn_kth", 6),
    }
)
