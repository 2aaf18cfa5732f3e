"""Records what PyTorch computes for recurrent networks and, step by step, for variants that it lacks.

Run from the repository's root, where torch is installed: ``PYTHONPATH=tests python
tests/reference/record_recurrent.py``. Writes ``tests/reference/recurrent.npz``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from oracles.shared_weights import Case, record

N, T, C, H = 3, 5, 3, 4
LENGTHS = [3, 5, 1]
WITH_EMPTY = [3, 0, 5]
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


class Net(NamedTuple):
    """A recurrent network that PyTorch has."""

    kind: str
    layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    lengths: bool = False
    states: bool = False
    projection: int | None = None
    relu: bool = False
    dropout: float = 0.0

    @property
    def count(self) -> int:
        return self.layers * (2 if self.bidirectional else 1)

    @property
    def out(self) -> int:
        return self.projection or H

    def variables(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.layers):
            channels = C if layer == 0 else self.out * (2 if self.bidirectional else 1)
            for suffix in ("", "_reverse")[: 2 if self.bidirectional else 1]:
                path = f"params/layer{layer}{suffix}/"
                shapes |= weights(path, channels, self.out, GATES[self.kind], bias=self.bias)
                if self.projection:
                    shapes[f"{path}projection_kernel"] = (H, self.projection)
        return shapes

    def inputs(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"x": (N, T, C)}
        if self.states:
            shapes["hidden"] = (self.count, N, self.out)
            if self.kind == "lstm":
                shapes["cell"] = (self.count, N, H)
        return shapes

    def module(self) -> Any:
        """PyTorch's network."""
        import torch

        options: dict[str, Any] = {"proj_size": self.projection} if self.projection else {}
        if self.kind == "rnn":
            options = {"nonlinearity": "relu" if self.relu else "tanh"}
        return {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[self.kind](
            C,
            H,
            self.layers,
            bias=self.bias,
            batch_first=True,
            dropout=self.dropout,
            bidirectional=self.bidirectional,
            **options,
        )

    def case(self) -> Case:
        def torch(inputs: Any, variables: Any) -> Any:
            import torch
            from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

            x, lengths = inputs["x"], torch.tensor(LENGTHS)
            if self.lengths:
                x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            first = [inputs[name] for name in ("hidden", "cell") if name in inputs]
            state = () if not first else (first[0] if self.kind != "lstm" else tuple(first),)
            named = {torch_name(path): value.T for path, value in variables.items() if value.ndim == 2}
            named |= {torch_name(path): value for path, value in variables.items() if value.ndim == 1}
            y, last = torch.func.functional_call(self.module(), named, (x, *state))
            if self.lengths:
                y, _ = pad_packed_sequence(y, batch_first=True, total_length=T)
            last = last if self.kind == "lstm" else (last,)
            return {"y": y, **dict(zip(("hidden", "cell"), last, strict=False))}

        return Case(torch, self.inputs(), self.variables())


class Variant(NamedTuple):
    """A layer in one direction, restated in ``tests/oracles/torch_recurrent.py``."""

    loop: str
    shapes: Mapping[str, tuple[int, ...]]
    lengths: list[int] | None = None
    reverse: bool = False
    mask: bool = False
    out: int = H
    image: tuple[int, ...] = ()

    def case(self) -> Case:
        has_cell = "lstm" in self.loop
        shapes: dict[str, tuple[int, ...]] = {"x": (N, T, *self.image, C)}
        shapes["hidden"] = (N, *self.image, self.out)
        if has_cell:
            shapes["cell"] = (N, *self.image, H)

        def torch(inputs: Any, variables: Any) -> Any:
            import torch
            from oracles import torch_recurrent

            mask = torch.from_numpy(recurrent_mask(self.out)) if self.mask else None
            state = tuple(inputs[name] for name in ("hidden", "cell")[: 1 + has_cell])
            parameters = {path.rsplit("/", 1)[1]: value for path, value in variables.items()}
            y, last = getattr(torch_recurrent, self.loop)(
                parameters, inputs["x"], state, lengths=self.lengths, reverse=self.reverse, mask=mask
            )
            return {"y": y, **dict(zip(("hidden", "cell"), last, strict=False))}

        return Case(torch, shapes, self.shapes)


def recurrent_mask(width: int) -> np.ndarray:
    """What dropout of rate 0.5 may draw for each sequence."""
    return 2 * (np.random.default_rng(3).random((N, width)) < 0.5).astype(np.float32)


def torch_name(path: str) -> str:
    layer, leaf = path.split("/")[1:]
    number, _, suffix = layer.removeprefix("layer").partition("_")
    names = {
        "input_kernel": "weight_ih",
        "recurrent_kernel": "weight_hh",
        "input_bias": "bias_ih",
        "recurrent_bias": "bias_hh",
        "projection_kernel": "weight_hr",
    }
    return f"{names[leaf]}_l{number}" + (f"_{suffix}" if suffix else "")


def weights(
    path: str, channels: int, out: int, gates: int, *, bias: bool = True
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        f"{path}input_kernel": (channels, gates * H),
        f"{path}recurrent_kernel": (out, gates * H),
    }
    if bias:
        shapes |= {f"{path}input_bias": (gates * H,), f"{path}recurrent_bias": (gates * H,)}
    return shapes


ONE = "params/layer0/"
PEEPHOLES = {f"{ONE}peepholes": (3, H)}
NORMS = {
    f"{ONE}{part}_norm_{leaf}": (width * H,)
    for part, width in (("input", 4), ("recurrent", 4), ("cell", 1))
    for leaf in ("scale", "bias")
}
CONV = {
    f"params/{name}_kernel": (3, 5, channels, 4 * H) for name, channels in (("input", C), ("recurrent", H))
}
BIAS = {"params/bias": (4 * H,)}
IMAGE = (4, 5)

NETS = {
    "rnn": Net("rnn"),
    "rnn relu": Net("rnn", 2, bidirectional=True, lengths=True, states=True, relu=True),
    "gru": Net("gru", states=True),
    "gru no bias": Net("gru", bias=False, lengths=True),
    "gru stacked": Net("gru", 2, bidirectional=True, lengths=True, states=True),
    "lstm": Net("lstm", states=True),
    "lstm no bias": Net("lstm", 2, bias=False),
    "lstm stacked": Net("lstm", 2, bidirectional=True, lengths=True, states=True),
    "lstm projected": Net("lstm", 2, bidirectional=True, lengths=True, states=True, projection=2),
}
VARIANTS = {
    "relu mask": Variant("relu_rnn", weights(ONE, C, H, 1), WITH_EMPTY, reverse=True, mask=True),
    "gru mask": Variant("gru_reset_after", weights(ONE, C, H, 3), WITH_EMPTY, mask=True),
    "gru before": Variant("gru_reset_before", weights(ONE, C, H, 3)),
    "gru before mask": Variant(
        "gru_reset_before", weights(ONE, C, H, 3), WITH_EMPTY, reverse=True, mask=True
    ),
    "lstm peephole": Variant("variant_lstm", weights(ONE, C, H, 4) | PEEPHOLES),
    "lstm norm": Variant("variant_lstm", weights(ONE, C, H, 4, bias=False) | NORMS, WITH_EMPTY),
    "lstm all": Variant(
        "variant_lstm",
        weights(ONE, C, 2, 4, bias=False) | PEEPHOLES | NORMS | {f"{ONE}projection_kernel": (H, 2)},
        WITH_EMPTY,
        reverse=True,
        mask=True,
        out=2,
    ),
    "conv lstm": Variant("conv_lstm", CONV | BIAS, image=IMAGE),
    "conv lstm peephole": Variant(
        "conv_lstm", CONV | BIAS | {"params/peepholes": (3, *IMAGE, H)}, WITH_EMPTY, image=IMAGE
    ),
    "conv lstm reverse": Variant("conv_lstm", CONV, WITH_EMPTY, reverse=True, image=IMAGE),
}
CASES = {name: entry.case() for name, entry in (NETS | VARIANTS).items()}


if __name__ == "__main__":
    record("recurrent", CASES)
