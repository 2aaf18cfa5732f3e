"""NIN, GoogLeNet, Inception-v3, Xception, Darknet and VGG with a spatial pyramid by name."""

import functools
from collections.abc import Mapping
from types import MappingProxyType

from jaxvision.backbones import (
    GoogLeNetClassifier,
    InceptionV3Classifier,
    NINClassifier,
    SPPClassifier,
    aligned_xception,
    darknet,
    googlenet,
    inception_v3,
    nin,
    vgg,
    xception,
)
from jaxvision.weights import (
    AUX_HEADS,
    Preprocessing,
    aligned_xception_classifier_rules,
    darknet_classifier_rules,
    googlenet_classifier_rules,
    inception_v3_classifier_rules,
    xception_classifier_rules,
)
from jaxvision.zoo.entry import Entry, build_classifier

_NIN_PAPER = "Lin, Chen and Yan 2014, Network in Network"
_GOOGLENET_PAPER = "Szegedy et al. 2015, Going Deeper with Convolutions"
_INCEPTION_PAPER = "Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision"
_XCEPTION_PAPER = "Chollet 2017, Xception: Deep Learning with Depthwise Separable Convolutions"
_ALIGNED_PAPER = (
    "Chen et al. 2018, Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation"
)
_DARKNET19_PAPER = "Redmon and Farhadi 2017, YOLO9000: Better, Faster, Stronger"
_DARKNET53_PAPER = "Redmon and Farhadi 2018, YOLOv3: An Incremental Improvement"
_SPP_PAPER = "He et al. 2014, Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition"

# Inputs in [-1, 1]. torchvision's GoogLeNet and Inception-v3 bring ImageNet's mean and deviation to these
# inside of the network ("transform_input").
_HALVES = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def _aligned(variant: str, *, resize: int) -> Entry:
    builder = functools.partial(build_classifier, aligned_xception, variant)
    preprocessing = _HALVES._replace(size=(299, 299), resize=resize, interpolation="bicubic")
    return Entry(builder, aligned_xception_classifier_rules, _ALIGNED_PAPER, preprocessing)


ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        # The authors published these two as Caffe models, which no reader here reads.
        "nin": Entry(functools.partial(build_classifier, nin, "nin", head=NINClassifier), None, _NIN_PAPER),
        "nin_cifar10": Entry(
            functools.partial(build_classifier, nin, "nin_cifar10", head=NINClassifier, num_classes=10),
            None,
            _NIN_PAPER,
            Preprocessing(size=(32, 32), resize=32),
        ),
        "googlenet": Entry(
            functools.partial(build_classifier, googlenet, "googlenet", head=GoogLeNetClassifier),
            googlenet_classifier_rules,
            _GOOGLENET_PAPER,
            _HALVES,
            ignore=AUX_HEADS,
        ),
        "googlenet_paper": Entry(
            functools.partial(
                build_classifier, googlenet, "googlenet_paper", head=GoogLeNetClassifier, dropout_rate=0.4
            ),
            None,
            _GOOGLENET_PAPER,
        ),
        "inception_v3": Entry(
            functools.partial(build_classifier, inception_v3, "inception_v3", head=InceptionV3Classifier),
            inception_v3_classifier_rules,
            _INCEPTION_PAPER,
            _HALVES._replace(size=(299, 299), resize=342),
            ignore=AUX_HEADS,
        ),
        "legacy_xception": Entry(
            functools.partial(build_classifier, xception, "legacy_xception"),
            xception_classifier_rules,
            _XCEPTION_PAPER,
            _HALVES._replace(size=(299, 299), resize=333, interpolation="bicubic"),
        ),
        # timm resizes to 299 / 0.903 and, for its own weights of xception65, to 299 / 0.94.
        "xception41": _aligned("xception41", resize=331),
        "xception65": _aligned("xception65", resize=318),
        "xception71": _aligned("xception71", resize=331),
        # The authors published Darknet-19's weights in a format of their own, which no reader here reads.
        "darknet19": Entry(functools.partial(build_classifier, darknet, "darknet19"), None, _DARKNET19_PAPER),
        # With timm's weights, which were trained with another slope than the authors' 0.1.
        "darknet53": Entry(
            functools.partial(build_classifier, functools.partial(darknet, negative_slope=0.01), "darknet53"),
            darknet_classifier_rules,
            _DARKNET53_PAPER,
            Preprocessing(size=(256, 256), resize=288, interpolation="bicubic"),
        ),
        "spp_vgg16": Entry(
            functools.partial(build_classifier, vgg, "vgg16", head=SPPClassifier), None, _SPP_PAPER
        ),
    }
)
