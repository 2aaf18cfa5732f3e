"""ResNets for CIFAR-10 by name."""

import functools
from collections.abc import Mapping
from types import MappingProxyType

from jaxvision.backbones import CIFAR_RESNET_VARIANTS, PooledClassifier, cifar_resnet
from jaxvision.weights import Preprocessing, cifar_resnet_classifier_rules
from jaxvision.zoo.entry import Entry, build_classifier

_PAPER = "He, Zhang, Ren and Sun 2016, Deep Residual Learning for Image Recognition, section 4.2"
# The published weights were trained on whole images, normalised by the mean and deviation of ImageNet.
_PREPROCESSING = Preprocessing(size=(32, 32), resize=32)
_HEAD = functools.partial(PooledClassifier, feature="c3")


def _entry(variant: str) -> Entry:
    builder = functools.partial(build_classifier, cifar_resnet, variant, head=_HEAD, num_classes=10)
    return Entry(builder, cifar_resnet_classifier_rules, _PAPER, _PREPROCESSING)


ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {variant: _entry(variant) for variant in CIFAR_RESNET_VARIANTS}
)
