"""Records small files of ``torch.save``, in the zip format and in the one before it.

Run from the repository's root, where torch is installed: ``python tests/reference/record_torch_files.py``.
Writes ``tests/reference/torch_<kind>.pth`` and, as the values that they hold, ``torch_files.npz``; its header
states the version.
"""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

REFERENCE = Path(__file__).parent


def tensors() -> "OrderedDict[str, Any]":
    """A state dict with every kind of tensor that matters: views, parameters, shared storages, all dtypes."""
    import torch

    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = OrderedDict(
        plain=base,
        transposed=base.t(),
        strided=base[1::2, ::3],
        scalar=torch.tensor(7),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(torch.full((2,), 0.5)),
    )
    for name in ("float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"):
        state[name] = torch.tensor([0, 1, 1]).to(getattr(torch, name))
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    torch.nn.init.constant_(model[0].weight, 0.25)
    torch.nn.init.constant_(model[0].bias, 0.125)
    for key, value in model.state_dict().items():
        state[f"model.{key}"] = value
    state._metadata = model.state_dict()._metadata  # torch sets this attribute on every state dict
    return state


def main() -> None:
    import torch

    state = tensors()
    torch.save(state, REFERENCE / "torch_zip.pth")
    torch.save(state, REFERENCE / "torch_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": state}, REFERENCE / "torch_checkpoint.pth")
    torch.save(torch.nn.Linear(1, 1), REFERENCE / "torch_module.pth")  # pickles a class: to be refused
    values = {key: value.detach().to(torch.float64).numpy() for key, value in state.items()}
    dtypes = {key: str(value.dtype).removeprefix("torch.") for key, value in state.items()}
    header = json.dumps({"dtypes": dtypes, "torch": torch.__version__})
    np.savez_compressed(REFERENCE / "torch_files.npz", header=header, **values)


if __name__ == "__main__":
    main()
