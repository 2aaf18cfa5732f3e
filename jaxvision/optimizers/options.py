"""An optimizer as a script's options: a frozen dataclass that builds it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import optax

from jaxvision.optimizers.build import build_optimizer
from jaxvision.optimizers.groups import layer_rates
from jaxvision.optimizers.plateau import observe_score
from jaxvision.optimizers.schedules import create_schedule


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
    """The optimizer, its learning rate, and what surrounds it."""

    name: str = "adamw"
    """sgd, momentum, nesterov, adagrad, adadelta, rmsprop, adam, adamw or adam_then_sgd."""
    learning_rate: float = 1e-3
    """The greatest learning rate."""
    schedule: str = "cosine"
    """constant, step, poly or cosine."""
    warmup_steps: int | None = None
    """Updates of linear warm-up of the cosine schedule; by default a fortieth of the run."""
    milestones: tuple[int, ...] = ()
    """Steps at which the step schedule multiplies the rate by gamma."""
    gamma: float = 0.1
    """Factor of the step schedule."""
    power: float = 0.9
    """Exponent of the poly schedule."""
    weight_decay: float | None = None
    """Decoupled decay; by default 0.01 for adamw and 0 for the others. Norms and biases are skipped."""
    l1: float = 0.0
    """L1 penalty."""
    l2: float = 0.0
    """L2 penalty; norms and biases are skipped, as for L1."""
    agc: float | None = None
    """Greatest norm of the gradient of a unit (an output channel's weights) as a share of the unit's norm:
    adaptive gradient clipping, which NFNets are trained with (0.01 at 4096 images a batch)."""
    agc_exclude: tuple[str, ...] = ("head",)
    """Path patterns of parameters that agc leaves alone: the last linear layer."""
    clip_norm: float | None = None
    """Greatest global norm of the gradient."""
    clip_value: float | None = None
    """Greatest absolute value of a gradient's element."""
    freeze: tuple[str, ...] = ()
    """Path patterns of parameters that stay as they are, such as "backbone"."""
    rates: tuple[tuple[str, float], ...] = ()
    """Pairs of a path pattern and a factor on the learning rate, such as "head" 10."""
    layer_decay: float | None = None
    """Factor on the learning rate from each layer to the one below it, such as 0.75: the first layers of a
    pre-trained network move least. Leaves that "rates" name keep the factor given there."""
    ema: float | None = None
    """Decay of an average of the parameters, which is what is evaluated and saved."""
    accumulate: int = 1
    """Batches an update; the schedules count updates."""
    plateau: int | None = None
    """Halve the rate after more than this many evaluations without a better score."""
    switch_step: int | None = None
    """Update at which adam_then_sgd changes to SGD; by default half of the run."""
    sgd_factor: float = 10.0
    """Learning rate of SGD in adam_then_sgd, as a multiple of Adam's."""

    def build(
        self,
        params: Any,
        *,
        steps: int,
        layers: Sequence[Sequence[str]] = (),
        schedule: optax.Schedule | None = None,
    ) -> tuple[optax.GradientTransformation, Callable[[int], float]]:
        """Builds the optimizer.

        Args:
          params: parameters or their shapes, which the patterns are checked against.
          steps: batches of the whole run.
          layers: path patterns of each layer from the first to the last, for ``layer_decay``.
          schedule: ``update -> learning rate`` instead of the one that the options name.

        Returns:
          The transformation, and ``batch number -> learning rate`` for the log, plateau left out.

        Raises:
          ValueError: for an unknown name, a pattern that matches nothing, a number out of range, or a layer
            decay without layers.
        """
        updates = max(steps // self.accumulate, 1) if self.accumulate > 0 else steps
        schedule = self._schedule(updates) if schedule is None else schedule
        options: dict[str, Any] = {}
        if self.name == "adam_then_sgd":
            switch = updates // 2 if self.switch_step is None else self.switch_step
            options = {"switch_step": switch, "sgd_factor": self.sgd_factor}
        rates = dict(self.rates)
        if self.layer_decay is not None:
            rates |= {p: rate for p, rate in layer_rates(layers, self.layer_decay).items() if p not in rates}
        optimizer = build_optimizer(
            self.name,
            schedule,
            params=params,
            options=options,
            agc=self.agc,
            agc_exclude=self.agc_exclude,
            clip_value=self.clip_value,
            clip_norm=self.clip_norm,
            l1=self.l1,
            l2=self.l2,
            weight_decay=self.weight_decay,
            rates=rates,
            plateau=self.plateau is not None,
            freeze=self.freeze,
            ema=self.ema,
            ema_ramp=True,
            accumulate=self.accumulate,
        )
        return optimizer, lambda step: float(schedule(step // self.accumulate))

    def _schedule(self, updates: int) -> optax.Schedule:
        warmup = updates // 40 if self.warmup_steps is None else self.warmup_steps
        extras: dict[str, dict[str, Any]] = {
            "step": {"milestones": self.milestones, "gamma": self.gamma},
            "poly": {"steps": updates, "power": self.power},
            "cosine": {"steps": updates, "warmup_steps": warmup},
        }
        return create_schedule(self.schedule, self.learning_rate, **extras.get(self.schedule, {}))

    def observe(self, opt_state: Any, score: float) -> Any:
        """Tells the optimizer a validation score, of which more is better; halves the rate on a plateau."""
        if self.plateau is None:
            return opt_state
        return observe_score(opt_state, score, mode="max", patience=self.plateau)
