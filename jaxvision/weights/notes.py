"""What a training run notes in its file of weights."""

import json
import os
from pathlib import Path
from typing import Any

from jaxvision.weights.hub import is_hub_address
from jaxvision.weights.readers import read_metadata


def read_note(weights: str | os.PathLike[str], name: str) -> Any:
    """Reads what a run noted as JSON in its ``weights.safetensors``: ``"config"``, ``"class_names"``.

    Args:
      weights: any weights, as :func:`jaxvision.zoo.load` takes them.
      name: of the note.

    Returns:
      The value; None of weights that say nothing: another kind of file, an address on the hub.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a truncated file, or a note that is no JSON.
    """
    if is_hub_address(weights) or Path(weights).suffix != ".safetensors":
        return None
    text = read_metadata(weights).get(name)
    try:
        return None if text is None else json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{weights}: expected JSON under {name!r}, got {text!r} ({error})") from error
