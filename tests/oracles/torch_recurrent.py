"""Recurrent layers that PyTorch lacks, restated in it step by step. Gates: input, forget, cell, output."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Maybe = Tensor | None


def run_steps(
    step: Any, x: Tensor, state: tuple[Tensor, ...], lengths: list[int] | None, reverse: bool
) -> Any:
    """Sequence by sequence, each up to its own end; the last state of an empty one is its first."""
    rows, last = [], []
    for n in range(x.shape[0]):
        end = x.shape[1] if lengths is None else lengths[n]
        now = tuple(part[n : n + 1] for part in state)
        outputs = [torch.zeros_like(now[0]) for _ in range(x.shape[1])]
        for t in reversed(range(end)) if reverse else range(end):
            now = step(x[n : n + 1, t], now, n)
            outputs[t] = now[0]
        rows.append(torch.stack(outputs, 1))
        last.append(now)
    return torch.cat(rows), tuple(torch.cat(parts) for parts in zip(*last, strict=True))


def lstm_step(
    from_input: Tensor,
    from_hidden: Tensor,
    cell: Tensor,
    *,
    peepholes: Maybe = None,
    cell_norm: Any = None,
    channels: int = -1,
) -> tuple[Tensor, Tensor]:
    i, f, g, o = (from_input + from_hidden).chunk(4, channels)
    if peepholes is not None:
        i, f = i + peepholes[0] * cell, f + peepholes[1] * cell
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    if peepholes is not None:
        o = o + peepholes[2] * cell
    seen = cell if cell_norm is None else cell_norm(cell)
    return o.sigmoid() * seen.tanh(), cell


def variant_lstm(
    p: dict[str, Tensor], x: Tensor, state: Any, *, lengths: Any, reverse: bool, mask: Maybe
) -> Any:
    """With whichever of peepholes, norms, projection and recurrent mask there are parameters for."""

    def norm(name: str, values: Tensor) -> Tensor:
        if f"{name}_norm_scale" not in p:
            return values
        return F.layer_norm(values, values.shape[-1:], p[f"{name}_norm_scale"], p[f"{name}_norm_bias"])

    def step(x: Tensor, state: Any, n: int) -> Any:
        hidden, cell = state
        seen = hidden if mask is None else hidden * mask[n]
        from_input, from_hidden = (
            norm("input", x @ p["input_kernel"]),
            norm("recurrent", seen @ p["recurrent_kernel"]),
        )
        if "input_bias" in p:
            from_input, from_hidden = from_input + p["input_bias"], from_hidden + p["recurrent_bias"]
        hidden, cell = lstm_step(
            from_input,
            from_hidden,
            cell,
            peepholes=p.get("peepholes"),
            cell_norm=lambda values: norm("cell", values),
        )
        return hidden @ p["projection_kernel"] if "projection_kernel" in p else hidden, cell

    return run_steps(step, x, state, lengths, reverse)


def gru_reset_before(
    p: dict[str, Tensor], x: Tensor, state: Any, *, lengths: Any, reverse: bool, mask: Maybe
) -> Any:
    """Cho et al. 2014: the reset gate acts on the hidden state."""

    def step(x: Tensor, state: Any, n: int) -> Any:
        (hidden,) = state
        seen = hidden if mask is None else hidden * mask[n]
        bias = p["input_bias"] + p["recurrent_bias"]
        xr, xz, xn = (x @ p["input_kernel"] + bias).chunk(3, -1)
        wr, wz, wn = p["recurrent_kernel"].chunk(3, -1)
        r, z = (xr + seen @ wr).sigmoid(), (xz + seen @ wz).sigmoid()
        new = (xn + (r * seen) @ wn).tanh()
        return ((1 - z) * new + z * hidden,)

    return run_steps(step, x, state, lengths, reverse)


def gru_reset_after(
    p: dict[str, Tensor], x: Tensor, state: Any, *, lengths: Any, reverse: bool, mask: Maybe
) -> Any:
    def step(x: Tensor, state: Any, n: int) -> Any:
        (hidden,) = state
        seen = hidden if mask is None else hidden * mask[n]
        xr, xz, xn = (x @ p["input_kernel"] + p["input_bias"]).chunk(3, -1)
        hr, hz, hn = (seen @ p["recurrent_kernel"] + p["recurrent_bias"]).chunk(3, -1)
        z = (xz + hz).sigmoid()
        new = (xn + (xr + hr).sigmoid() * hn).tanh()
        return ((1 - z) * new + z * hidden,)

    return run_steps(step, x, state, lengths, reverse)


def relu_rnn(p: dict[str, Tensor], x: Tensor, state: Any, *, lengths: Any, reverse: bool, mask: Maybe) -> Any:
    def step(x: Tensor, state: Any, n: int) -> Any:
        seen = state[0] if mask is None else state[0] * mask[n]
        bias = p["input_bias"] + p["recurrent_bias"]
        return ((x @ p["input_kernel"] + seen @ p["recurrent_kernel"] + bias).relu(),)

    return run_steps(step, x, state, lengths, reverse)


def conv_lstm(
    p: dict[str, Tensor], x: Tensor, state: Any, *, lengths: Any, reverse: bool, mask: Maybe
) -> Any:
    """Video and states have their channels last; ``F.conv2d`` takes them first."""

    def convolve(x: Tensor, kernel: Tensor) -> Tensor:
        padding = (kernel.shape[0] // 2, kernel.shape[1] // 2)
        return F.conv2d(x.movedim(-1, 1), kernel.permute(3, 2, 0, 1), padding=padding).movedim(1, -1)

    def step(x: Tensor, state: Any, n: int) -> Any:
        hidden, cell = state
        from_input = convolve(x, p["input_kernel"])
        if "bias" in p:
            from_input = from_input + p["bias"]
        return lstm_step(
            from_input, convolve(hidden, p["recurrent_kernel"]), cell, peepholes=p.get("peepholes")
        )

    return run_steps(step, x, state, lengths, reverse)
