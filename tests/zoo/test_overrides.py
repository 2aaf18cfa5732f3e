"""Fields of networks from words of a command line."""

import pytest

from jaxvision import zoo


def test_values_have_the_types_of_the_fields():
    words = [
        "deep_supervision=True",
        "prune_to=2",
        "features=(8, 8, 4, 4, 4)",
        "backbone={'features': [4, 6, 8, 8]}",
    ]
    fields = zoo.read_overrides("unetplusplus_resnet18", words)
    assert fields == {
        "deep_supervision": True,
        "prune_to": 2,
        "features": (8, 8, 4, 4, 4),
        "backbone": {"features": (4, 6, 8, 8)},
    }
    model = zoo.create("unetplusplus_resnet18", **fields)
    assert (model.deep_supervision, model.prune_to, model.backbone.features) == (True, 2, (4, 6, 8, 8))
    assert zoo.read_overrides("unet", ["dropout_rate=0"]) == {"dropout_rate": 0.0}
    assert zoo.read_overrides("unet", ["padding=valid", "features=4,8"]) == {
        "padding": "valid",
        "features": (4, 8),
    }
    assert zoo.read_overrides("unetplusplus_resnet18", ["prune_to=None"]) == {"prune_to": None}
    assert zoo.read_overrides("unet", []) == {}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("deep_supervision", "--set deep_supervision: expected FIELD=VALUE"),
        ("deep=True", r"--set deep: unetplusplus_resnet18 has no such field, only .*deep_supervision"),
        ("deep_supervision=yes", "--set deep_supervision: got 'yes', expected bool"),
        ("deep_supervision=1", "--set deep_supervision: got 1, expected bool"),
        ("prune_to=1.5", r"--set prune_to: got 1\.5, expected int"),
        ("features=16", r"--set features: got 16, expected tuple\[int"),
        ("backbone=resnet50", r"--set backbone: got 'resnet50', expected its fields"),
        ("backbone={'width': 2}", r"--set width: unetplusplus_resnet18: backbone has no such field, only"),
        ("norm=BatchNorm", "--set norm: got 'BatchNorm', expected"),
        ("num_classes=3", "--set num_classes: this command sets it by itself"),
    ],
)
def test_mistakes_are_named(word, message):
    with pytest.raises(ValueError, match=message):
        zoo.read_overrides("unetplusplus_resnet18", [word], taken=("num_classes",))


def test_an_unknown_network_is_named():
    with pytest.raises(ValueError, match="unknown network 'unett'"):
        zoo.read_overrides("unett", [])
