"""VGG by name."""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from jaxvision.backbones import VGG_VARIANTS, VGGClassifier, vgg
from jaxvision.weights import Rule, vgg_classifier_rules
from jaxvision.zoo.entry import Entry, build_classifier

_PAPER = "Simonyan and Zisserman 2015, Very Deep Convolutional Networks for Large-Scale Image Recognition"


def _rules(variant: str) -> Sequence[Rule]:
    fields = VGG_VARIANTS[variant]
    return vgg_classifier_rules(fields["convolutions"], use_norm=fields.get("use_norm", False))


def _entry(variant: str) -> Entry:
    builder = functools.partial(build_classifier, vgg, variant, head=VGGClassifier)
    return Entry(builder, functools.partial(_rules, variant), _PAPER)


ENTRIES: Mapping[str, Entry] = MappingProxyType({variant: _entry(variant) for variant in VGG_VARIANTS})
