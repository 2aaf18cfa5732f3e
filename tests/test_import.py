"""``import jaxvision`` alone gives every room, and loads none before it is asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

import jaxvision

FOLDER = Path(jaxvision.__file__).parent
ROOMS = {path.parent.name for path in FOLDER.glob("*/__init__.py")} | {
    path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__"
}


def test_every_room_is_an_attribute():
    assert set(dir(jaxvision)) >= ROOMS
    for room in ROOMS:
        assert getattr(jaxvision, room).__name__ == f"jaxvision.{room}"


def test_nothing_is_loaded_before_it_is_asked_for():
    program = "import sys, jaxvision; assert 'jax' not in sys.modules; print(jaxvision.losses.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "jaxvision.losses\n", done.stderr


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'loses'; its rooms are"):
        jaxvision.loses  # noqa: B018
