import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from jaxvision.training import (
    config_differences,
    config_from_dict,
    config_to_dict,
    load_config,
    save_config,
)


@dataclasses.dataclass(frozen=True)
class Model:
    name: str = "unet"
    features: tuple[int, ...] = (16, 32)


@dataclasses.dataclass(frozen=True)
class Run:
    model: Model = dataclasses.field(default_factory=Model)
    folder: Path | None = None
    rates: tuple[tuple[str, float], ...] = ()
    mode: Literal["slow", "quick"] = "slow"
    steps: int = 10


RUN = Run(Model("vgg", (8,)), Path("a/b"), (("head.*", 0.5),), "quick", 3)


def test_a_saved_configuration_is_the_same(tmp_path):
    save_config(tmp_path / "config.json", RUN)
    assert load_config(Run, tmp_path / "config.json") == RUN
    assert config_from_dict(Run, config_to_dict(Run())) == Run()
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_absent_fields_keep_their_defaults():
    assert config_from_dict(Run, {"model": {"name": "vgg"}}) == Run(model=Model("vgg"))


@dataclasses.dataclass(frozen=True)
class Choice:
    weights: tuple[float, ...] | Literal["median", "log"] | None = None


def test_a_field_of_several_types():
    for value in (None, (1.0, 2.0), (), "median"):
        assert config_from_dict(Choice, config_to_dict(Choice(value))) == Choice(value)
    for value in ("mean", ["a"], 3):
        with pytest.raises(
            ValueError, match=r"Choice\.weights: got .*, expected tuple\[float, \.\.\.\] or Lit"
        ):
            config_from_dict(Choice, {"weights": value})


def test_bad_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        load_config(Run, tmp_path / "absent.json")
    (tmp_path / "cut.json").write_text('{"steps": ')
    with pytest.raises(ValueError, match=r"cut\.json: not JSON"):
        load_config(Run, tmp_path / "cut.json")
    with pytest.raises(ValueError, match=r"Model: unknown depth; expected some of features, name"):
        config_from_dict(Run, {"model": {"depth": 3}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"Run: got \[\], expected an object"),
        ({"model": 3}, "Model: got 3, expected an object"),
        ({"steps": "ten"}, r"Run\.steps: got 'ten', expected int"),
        ({"steps": True}, r"Run\.steps: got True, expected int"),
        ({"folder": 3}, r"Run\.folder: got 3, expected Path"),
        ({"model": {"features": [1, "b"]}}, r"Model\.features: got 'b', expected int"),
        ({"model": {"features": 8}}, r"Model\.features: got 8, expected tuple\[int, \.\.\.\]"),
        ({"rates": [["head", 0.5, 1]]}, r"Run\.rates: got \['head', 0\.5, 1\], expected tuple\[str, float\]"),
        ({"mode": "fast"}, r"Run\.mode: got 'fast', expected Literal\['slow', 'quick'\]"),
    ],
)
def test_values_of_another_type_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        config_from_dict(Run, values)


def test_a_whole_number_may_stand_for_a_real_one():
    (pair,) = config_from_dict(Run, {"rates": [["head", 2]]}).rates
    assert pair == ("head", 2.0) and type(pair[1]) is float


def test_differences():
    assert config_differences(Run(), Run()) == []
    changed = Run(model=Model("vgg"), steps=20)
    assert config_differences(Run(), changed) == ["model.name: unet -> vgg", "steps: 10 -> 20"]
    assert config_differences(Run(), changed, ignore=("model", "steps")) == []
