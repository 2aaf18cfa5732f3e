"""Records what torch.optim does on a small problem: 20 steps of each optimizer, schedules, plateaus.

Run from the repository's root, where torch is installed: ``python tests/reference/record_optimizers.py``.
Writes ``tests/reference/optimizers.npz``; its header states the versions. The same functions are the live
comparison of ``-m parity``.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

REFERENCE = Path(__file__).parent
STEPS = 20

SCORES = {
    "noisy": np.round(np.random.default_rng(5).normal(0.5, 0.1, 40), 3).tolist(),
    "rising": np.linspace(0.1, 0.9, 40).tolist(),
    "flat": [0.5] * 40,
    "nan": [0.2, 0.4, float("nan"), float("nan"), 0.3, 0.5, 0.5, float("nan"), 0.5, 0.5] * 2,
}
"""Validation scores."""

PLATEAUS: dict[str, dict[str, Any]] = {
    "max": {"mode": "max", "patience": 2},
    "min": {"mode": "min", "patience": 3, "cooldown": 2},
    "absolute": {"mode": "max", "patience": 1, "threshold": 0.05, "threshold_mode": "abs"},
    "floor": {"mode": "min", "patience": 0, "threshold": 0.1, "min_scale": 0.2, "cooldown": 1},
}
"""Options of observe_score."""


class Case(NamedTuple):
    """One optimizer on both sides: ``torch(parameters)`` and the arguments of ``build_optimizer``."""

    torch: Callable[[Any, Any], Any]
    name: str
    learning_rate: float
    options: dict[str, Any]
    build: dict[str, Any]
    milestones: tuple[int, ...] = ()
    clip_norm: float | None = None
    clip_value: float | None = None


def _case(
    torch_name: str, torch_options: dict[str, Any], name: str, options: dict[str, Any], **rest: Any
) -> Case:
    learning_rate = rest.pop("learning_rate", 0.05)
    extras = {key: rest.pop(key) for key in ("milestones", "clip_norm", "clip_value") if key in rest}

    def make(torch: Any, parameters: Any) -> Any:
        return getattr(torch.optim, torch_name)(parameters, lr=learning_rate, **torch_options)

    return Case(make, name, learning_rate, options, rest, **extras)


HEAVY = {"momentum": 0.9}
CASES: dict[str, Case] = {
    "sgd": _case("SGD", {}, "sgd", {}),
    "sgd_l2": _case("SGD", {"weight_decay": 0.1}, "sgd", {}, l2=0.1),
    "momentum": _case("SGD", HEAVY, "momentum", {}),
    "momentum_steps": _case("SGD", HEAVY, "momentum", {}, milestones=(5, 12)),
    "nesterov": _case("SGD", {"momentum": 0.8, "nesterov": True}, "nesterov", {"decay": 0.8}),
    "nesterov_l2": _case("SGD", {**HEAVY, "nesterov": True, "weight_decay": 0.05}, "nesterov", {}, l2=0.05),
    "adagrad": _case("Adagrad", {}, "adagrad", {}),
    "adagrad_large_epsilon": _case(
        "Adagrad",
        {"eps": 0.1, "initial_accumulator_value": 0.5},
        "adagrad",
        {"epsilon": 0.1, "initial_accumulator": 0.5},
    ),
    "adadelta": _case("Adadelta", {}, "adadelta", {}, learning_rate=1.0),
    "adadelta_large_epsilon": _case(
        "Adadelta", {"rho": 0.8, "eps": 1e-2}, "adadelta", {"decay": 0.8, "epsilon": 1e-2}, learning_rate=0.5
    ),
    "rmsprop": _case("RMSprop", {}, "rmsprop", {}, learning_rate=0.01),
    "rmsprop_large_epsilon": _case("RMSprop", {"eps": 0.1}, "rmsprop", {"epsilon": 0.1}),
    "rmsprop_momentum_steps": _case(
        "RMSprop", HEAVY, "rmsprop", {"momentum": 0.9}, learning_rate=0.01, milestones=(4, 9)
    ),
    "rmsprop_centered": _case(
        "RMSprop",
        {"centered": True, "alpha": 0.9, "eps": 1e-3},
        "rmsprop",
        {"centered": True, "decay": 0.9, "epsilon": 1e-3},
        learning_rate=0.01,
    ),
    "adam": _case("Adam", {}, "adam", {}),
    "adam_large_epsilon": _case(
        "Adam", {"betas": (0.8, 0.95), "eps": 0.1}, "adam", {"b1": 0.8, "b2": 0.95, "epsilon": 0.1}
    ),
    "adam_l2": _case("Adam", {"weight_decay": 0.1}, "adam", {}, l2=0.1),
    "adamw": _case("AdamW", {}, "adamw", {}),
    "adamw_decay": _case("AdamW", {"weight_decay": 0.5}, "adamw", {}, weight_decay=0.5),
    "clipped_norm": _case("SGD", HEAVY, "momentum", {}, clip_norm=0.5),
    "clipped_value": _case("Adam", {}, "adam", {}, clip_value=0.1),
    "clipped_both_l2": _case("SGD", {"weight_decay": 0.2}, "sgd", {}, l2=0.2, clip_norm=0.5, clip_value=0.3),
}


def problem() -> dict[str, np.ndarray]:
    """A small least-squares problem ``x @ kernel + bias = y`` and where it starts, in float64."""
    rng = np.random.default_rng(4)
    return {
        "x": rng.normal(0.0, 1.0, (8, 3)),
        "y": rng.normal(0.0, 1.0, (8, 2)),
        "kernel": rng.normal(0.0, 1.0, (3, 2)),
        "bias": rng.normal(0.0, 1.0, (2,)),
    }


def torch_trajectory(case: Case) -> np.ndarray:
    """Kernel and bias, flattened, after each of the steps: [STEPS, 8]."""
    import torch

    data = {name: torch.from_numpy(value) for name, value in problem().items()}
    parameters = [data["kernel"].requires_grad_(), data["bias"].requires_grad_()]
    optimizer = case.torch(torch, parameters)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(case.milestones), gamma=0.3)
    rows = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        ((data["x"] @ parameters[0] + parameters[1] - data["y"]) ** 2).mean().backward()
        if case.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, case.clip_value)
        if case.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, case.clip_norm)
        optimizer.step()
        scheduler.step()
        rows.append(torch.cat([p.detach().flatten() for p in parameters]).numpy())
    return np.stack(rows)


def torch_rates(make: Callable[[Any, Any], Any], steps: int) -> np.ndarray:
    """The rates that a scheduler ``make(torch, optimizer)`` gives to a base rate of 0.4."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    scheduler = make(torch, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


def torch_schedules() -> dict[str, np.ndarray]:
    """The rates of each schedule, at steps 0, 1, ..."""
    return {
        "step": torch_rates(lambda t, o: t.optim.lr_scheduler.MultiStepLR(o, [3, 7], gamma=0.3), 12),
        "poly": torch_rates(lambda t, o: t.optim.lr_scheduler.PolynomialLR(o, 10, power=0.9), 13),
        "cosine": torch_rates(lambda t, o: t.optim.lr_scheduler.CosineAnnealingLR(o, 8, eta_min=0.04), 9),
        "warmup": torch_rates(lambda t, o: t.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=4), 4),
    }


def torch_plateau(scores: Sequence[float], options: dict[str, Any]) -> np.ndarray:
    """The scale of the learning rate after each score."""
    import torch

    renamed = {("min_lr" if name == "min_scale" else name): value for name, value in options.items()}
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, eps=0.0, **renamed)
    scales = []
    for score in scores:
        scheduler.step(score)
        scales.append(optimizer.param_groups[0]["lr"])
    return np.array(scales)


def torch_outputs() -> dict[str, np.ndarray]:
    """Everything that is compared, by name."""
    outputs = {f"trajectory_{name}": torch_trajectory(case) for name, case in CASES.items()}
    outputs |= {f"schedule_{name}": rates for name, rates in torch_schedules().items()}
    for scores in SCORES:
        for name, options in PLATEAUS.items():
            outputs[f"plateau_{scores}_{name}"] = torch_plateau(SCORES[scores], options)
    return outputs


def main() -> None:
    import torch

    versions = {"torch": torch.__version__, "numpy": np.__version__}
    path = REFERENCE / "optimizers.npz"
    np.savez_compressed(path, header=json.dumps({"versions": versions}), **torch_outputs())
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
