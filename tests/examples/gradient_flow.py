"""Draws how far back the gradient of the last output reaches in untrained recurrent networks.

    python tests/examples/gradient_flow.py --out gradient_flow.png

Each curve is the norm of the last output's gradient with respect to the input of each step, relative to that
of the last step. In Elman's network it changes by about the same factor at each step, so that it vanishes or
explodes (Bengio et al. 1994, *Learning Long-Term Dependencies with Gradient Descent is Difficult*). In an
LSTM the forget gate is the factor: a bias of 1 lets 0.73 through, one of 5 0.993.
"""

import argparse
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.layers import GRU, LSTM, RNN, orthogonal

FEATURES, STEPS = 64, 100
NETS = {
    "Elman, tanh, gain 0.8": RNN(FEATURES, recurrent_init=orthogonal(gain=0.8)),
    "Elman, ReLU, gain 1.8": RNN(FEATURES, activation="relu", recurrent_init=orthogonal(gain=1.8)),
    "GRU": GRU(FEATURES),
    "LSTM, forget bias 0": LSTM(FEATURES, forget_bias=0.0),
    "LSTM, forget bias 1": LSTM(FEATURES, forget_bias=1.0),
    "LSTM, forget bias 5": LSTM(FEATURES, forget_bias=5.0),
}


def gradient_norms(net: nn.Module, *, steps: int = STEPS) -> np.ndarray:
    """Norm of the gradient at each distance from the last step, ``[steps]``, the mean over 16 sequences."""
    x = jax.random.normal(jax.random.key(1), (16, steps, 8))
    weights = jax.random.normal(jax.random.key(2), (16, FEATURES))

    @jax.jit
    def run(key: jax.Array) -> jax.Array:
        variables = net.init(key, x, train=False)

        def last(x: jax.Array) -> Any:
            return (net.apply(variables, x, train=False)[0][:, -1] * weights).sum()

        return jnp.linalg.norm(jax.grad(last)(x), axis=-1).mean(0)

    return np.asarray(run(jax.random.key(0)))[::-1]


def draw(norms: dict[str, np.ndarray], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in norms.items():
        axes.semilogy(values / values[0], label=name, linewidth=1.3)
    axes.set(xlabel="steps back", ylabel="norm of the gradient, relative", ylim=(1e-12, 1e6))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gradient_flow.png"))
    options = parser.parse_args()
    norms = {name: gradient_norms(net) for name, net in NETS.items()}
    for name, values in norms.items():
        factor = (values[80] / values[20]) ** (1 / 60)
        print(f"{name}: {factor:.3f} a step")
    draw(norms, options.out)


if __name__ == "__main__":
    main()
