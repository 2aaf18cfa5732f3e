# %% [markdown]
# # Training craft (训练技巧)
#
# What decides whether a network trains, drawn and asserted: initialisation, vanishing and exploding gradients, batch
# normalisation, optimizers raced on one surface, clipping, learning rates and their schedules, gradient accumulation,
# label smoothing, overfitting and its cures, cross-validation.
#
# Two to four minutes on a CPU. Any device will do (CPU, GPU or TPU), several are used where the library's loop trains,
# and nothing is downloaded: the digits are those of scikit-learn.

# %% install
# One cell for Colab and for a clone. Colab's own JAX, built for its TPU or GPU, is never replaced.
import importlib.metadata
import importlib.util
import pathlib
import re
import subprocess
import sys

REPOSITORY = ""  # @param {type:"string"}
# Empty: the clone that this lies in or beside. Else an address for pip: "git+https://HOST/OWNER/jaxvision".

specs = [importlib.util.find_spec(name) for name in ("jaxvision", "optax", "grain", "sklearn", "flatbuffers")]
if any(spec is None or spec.origin is None for spec in specs):  # a mere folder has no origin
    folders = (here := pathlib.Path.cwd(), *here.parents, here / "jaxvision")
    clone = next((folder for folder in folders if (folder / "jaxvision" / "__init__.py").is_file()), None)
    if not REPOSITORY and clone is None:
        raise RuntimeError("no clone of jaxvision here: set REPOSITORY above to its address")
    names = {dist.name for dist in importlib.metadata.distributions()} - {None, "jaxvision"}
    kept = sorted(name for name in names if name.startswith(("jax", "libtpu")))
    kept = [f"{name}=={importlib.metadata.version(name)}" for name in kept]
    old = [spec for spec in kept if re.match(r"jax==0\.\d\.", spec)]
    if old:
        raise RuntimeError(f"{old[0]} is too old, 0.10 is needed: choose a newer runtime, or upgrade it")
    source = f"jaxvision[colab] @ {REPOSITORY}" if REPOSITORY else f"{clone}[colab]"
    if subprocess.run([sys.executable, "-m", "pip", "install", "-q", source, *kept]).returncode:
        raise RuntimeError(f"pip could not install {source} beside {kept}: see its words above")
    importlib.invalidate_caches()

# %%
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import Image, display

from jaxvision import data, layers, losses, optimizers, pictures, tasks, training

SMALL = bool(os.environ.get("SMALL"))  # set by the tests: the same claims of fewer and shorter runs
DEPTH = 30  # layers of the deep networks
DEEP_STEPS = 120 if SMALL else 300  # that they are trained for
RATES = 12 if SMALL else 40  # learning rates that each optimizer tries in the race
EPOCHS = 60 if SMALL else 150  # of the runs on few digits
FOLDED_STEPS = 60 if SMALL else 300  # of the networks of the cross-validation

# A TPU multiplies in bfloat16 unless told otherwise. Here numbers are compared with formulas.
jax.config.update("jax_default_matmul_precision", "highest")
plt.style.use("tableau-colorblind10")
print(jax.devices())


def all_arrays(source):
    """Images uint8 [N, 8, 8, 3] and labels int32 [N] of a source of labelled pictures."""
    return {"images": np.stack([record["image"] for record in source]), "labels": source.labels}


digits = {split: all_arrays(data.digit_images(split)) for split in ("train", "val", "test")}
MEAN, DEVIATION = (np.float32(value(digits["train"]["images"])) for value in (np.mean, np.std))
# Grey and standardised, [N, 64].
flat = {
    split: jnp.asarray((part["images"][..., 0].reshape(-1, 64) - MEAN) / DEVIATION)
    for split, part in digits.items()
}
print({split: len(part["labels"]) for split, part in digits.items()}, "digits of 8x8 pixels")

# %% [markdown]
# ## 1. Initialisation (初始化): the first guess decides what a deep network can see
#
# A layer $y = W^\top x$ of $n$ inputs whose weights are independent with mean 0 and variance $\sigma^2$ has
# $\operatorname{E}[y^2] = n \sigma^2 \operatorname{E}[x^2]$, and a ReLU throws half of that away. After $L$ layers
#
# $$ \operatorname{E}[x_L^2] = \left(\tfrac12 n \sigma^2\right)^L \operatorname{E}[x_0^2] , $$
#
# a power: it dies or explodes unless $\sigma^2 = 2/n$. That is **He** (He et al. 2015, *Delving Deep into Rectifiers*,
# section 2.2). **Xavier** (Glorot and Bengio 2010, section 4.2.1) has no factor for the ReLU, $\sigma^2 = 2/(n + n')$: made
# for tanh. **Orthogonal** (正交; Saxe et al. 2014, section 3) keeps the length of every vector, not only on average.
# The dashed lines are the formula.

# %%
WIDTH = 128
schemes = {
    "zeros": nn.initializers.zeros_init(),
    "normal, σ = 0.05": nn.initializers.normal(0.05),
    "normal, σ = 0.3": nn.initializers.normal(0.3),
    "Xavier": layers.xavier_normal(),
    "He": layers.he_normal(),
    "orthogonal, gain √2": layers.orthogonal(gain=layers.activation_gain("relu")),
}
keys = jax.random.split(jax.random.key(0, impl="rbg"), DEPTH)  # rbg draws compile faster
inputs = jax.random.normal(jax.random.key(1), (256, WIDTH))


class Passed(NamedTuple):
    """Root mean square after each layer [DEPTH], and what the last one gives [N, n]."""

    sizes: Any
    last: Any


@partial(jax.jit, static_argnums=0)
def through(activation, kernels):
    """Inputs through DEPTH layers of kernels [DEPTH, n, n]."""

    def layer(x, kernel):
        x = activation(x @ kernel)
        return x, jnp.sqrt(jnp.mean(x**2))

    last, sizes = jax.lax.scan(layer, inputs, kernels)
    return Passed(sizes, last)


@jax.jit
def draw_all(keys):
    return {name: jax.vmap(lambda key, s=s: s(key, (WIDTH, WIDTH)))(keys) for name, s in schemes.items()}


kernels, depths = draw_all(keys), np.arange(1, DEPTH + 1)
activations = {"ReLU": nn.relu, "tanh": jnp.tanh}
found = {
    name: {scheme: jax.device_get(through(activation, kernels[scheme])) for scheme in schemes}
    for name, activation in activations.items()
}
formulas = {"normal, σ = 0.05": 0.05**2, "normal, σ = 0.3": 0.3**2, "Xavier": 1 / WIDTH, "He": 2 / WIDTH}
formulas = {name: (WIDTH * variance / 2) ** (depths / 2) for name, variance in formulas.items()}
for name, formula in formulas.items():
    distance = np.log(found["ReLU"][name].sizes / formula)
    assert np.abs(distance / depths).max() < 0.25  # the width is not infinite
assert not found["ReLU"]["zeros"].sizes.any()

figure, panels = plt.subplots(1, 2, figsize=(12, 4.2), sharey=True, layout="constrained")
for axes, (activation, curves) in zip(panels, found.items(), strict=True):
    for (name, passed), marker in zip(curves.items(), "xv^osD", strict=True):
        label = f"{name} (0 everywhere: no point)" if name == "zeros" else name
        axes.semilogy(depths, passed.sizes, marker=marker, ms=4, lw=1.2, label=label)
    axes.set(title=f"{activation}: size of the activations", xlabel="layer", ylim=(1e-12, 1e12))
    axes.grid(alpha=0.3)
for formula in formulas.values():
    panels[0].semilogy(depths, formula, "--", color="black", lw=1)
panels[0].set_ylabel("root mean square")
panels[1].legend(loc="upper right", fontsize=8)
plt.show()

# %% [markdown]
# With tanh a large $\sigma$ does not explode: it **saturates** (饱和). Many outputs are near ±1, where the slope is 0, and little
# gradient comes back. That cannot be seen in a mean; a histogram shows it. And why not zeros, or any constant? All units
# of a layer then compute the same and get the same gradient, for ever: a network of width 1. Drawing at random breaks
# the symmetry (对称性破缺).

# %%
shown = ("normal, σ = 0.05", "Xavier", "normal, σ = 0.3")
figure, panels = plt.subplots(1, 3, figsize=(12, 2.8), layout="constrained")
for axes, name in zip(panels, shown, strict=True):
    last = found["tanh"][name].last.ravel()
    saturated = (np.abs(last) > 0.99).mean()
    axes.hist(last, bins=np.linspace(-1, 1, 41))
    axes.set(
        title=f"{name}: {saturated:.0%} beyond ±0.99",
        xlabel=f"tanh after {DEPTH} layers",
        xticks=(-1, -0.5, 0, 0.5, 1),
        yticks=[],
    )
    assert (saturated > 0.2) == (name == "normal, σ = 0.3")
plt.show()


@jax.jit
@jax.grad
def small_gradient(kernels):
    hidden = jnp.tanh(flat["train"][:64] @ kernels[0])  # [64, 16]
    return losses.cross_entropy_loss(hidden @ kernels[1], digits["train"]["labels"][:64]).mean()


equal = jax.device_get(small_gradient((jnp.full((64, 16), 0.1), jnp.full((16, 10), 0.1))))[0]
drawn = jax.device_get(small_gradient((kernels["Xavier"][0, :64, :16], kernels["Xavier"][1, :16, :10])))[0]
assert np.allclose(equal, equal[:, :1], atol=1e-6)  # 16 units, one gradient
assert not np.allclose(drawn, drawn[:, :1], atol=1e-4)

# %% [markdown]
# ## 2. Vanishing and exploding gradients (梯度消失与梯度爆炸)
#
# The gradient (梯度) of the first layer is a product of one Jacobian a layer,
#
# $$ \frac{\partial \ell}{\partial x_0} = J_1^\top J_2^\top \cdots J_L^\top \frac{\partial \ell}{\partial x_L} ,
#    \qquad J_l^\top = \operatorname{diag}\left(\varphi'(x_{l-1})\right) W_l , $$
#
# again a power, here of layers $x_l = W_l^\top \varphi(x_{l-1})$. A sigmoid's slope is at most 1/4: thirty layers make it vanish. Cures: a ReLU with He's variance; a
# **shortcut** (捷径连接; He et al. 2016), whose Jacobian is $I + J$; **batch normalisation** (批归一化; Ioffe and Szegedy 2015),
# which divides by the deviation that the layer before has left. Too large a variance makes ReLU nets explode.
#
# A network is blocks of one kind. Their parameters lie in arrays with one more axis, the depth, made by `vmap` of `init`
# and walked along by `scan`: the program is that of one block, however deep.


# %%
class Block(nn.Module):
    """Maybe BatchNorm, an activation, a linear layer, maybe the input added: [N, 64] to [N, 64]."""

    activation: Any
    normalised: bool = False
    shortcut: bool = False

    @nn.compact
    def __call__(self, x):
        y = layers.BatchNorm(name="norm")(x, train=True) if self.normalised else x
        y = nn.Dense(x.shape[-1], kernel_init=layers.he_normal(), name="linear")(self.activation(y))
        return x + y if self.shortcut else y


def deep_loss(block, params, images, labels):
    def step(x, variables):
        return block.apply({"params": variables}, x, mutable=["batch_stats"])[0], None

    features = jax.lax.scan(step, images, params["blocks"])[0]
    return losses.cross_entropy_loss(features @ params["head"], labels).mean()


@partial(jax.jit, static_argnums=0)
def deep_run(block, gain, rows):
    """Gradient norms of the layers [steps, DEPTH] and losses [steps] of a training on rows [steps, N]."""
    labels, optimizer = jnp.asarray(digits["train"]["labels"]), optimizers.momentum(0.02)
    blocks = jax.vmap(block.init, in_axes=(0, None))(keys, flat["train"][:32])["params"]
    blocks["linear"]["kernel"] *= gain  # of He's deviation
    params = {"blocks": blocks, "head": 0.05 * jax.random.normal(jax.random.key(2), (64, 10))}

    def update(carry, row):
        params, state = carry
        loss = partial(deep_loss, block, images=flat["train"][row], labels=labels[row])
        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradients, state, params)
        norms = jax.vmap(training.layer_norms)(gradients["blocks"])["linear"]  # [DEPTH]
        return (optax.apply_updates(params, updates), state), (norms, value)

    return jax.lax.scan(update, (params, optimizer.init(params)), rows)[1]


XAVIER = 0.5**0.5  # of He's deviation, where a layer is as wide as the one before
blocks = {
    "sigmoid, Xavier": (Block(nn.sigmoid), XAVIER),
    "sigmoid, BatchNorm": (Block(nn.sigmoid, normalised=True), XAVIER),
    "sigmoid, shortcut": (Block(nn.sigmoid, shortcut=True), XAVIER),
    "ReLU, He": (Block(nn.relu), 1.0),
    "ReLU, 3 times He's deviation": (Block(nn.relu), 3.0),
}
rows = np.random.default_rng(0).integers(0, len(flat["train"]), (DEEP_STEPS, 64))
deep = {name: jax.device_get(deep_run(*chosen, rows)) for name, chosen in blocks.items()}

figure, panels = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
for (name, (norms, curve)), marker in zip(deep.items(), "vsDo^", strict=True):
    panels[0].semilogy(depths, norms[0], marker=marker, ms=4, lw=1.2, label=name)
    smooth = np.convolve(curve, np.ones(10) / 10, mode="valid")
    name += "" if np.isfinite(smooth).all() else ": no number after the first steps"
    panels[1].plot(smooth, marker=marker, markevery=len(smooth) // 6, ms=4, lw=1.5, label=name)
panels[0].set(xlabel="layer", ylabel="norm of the gradient", title=f"First gradient of {DEPTH} layers")
panels[1].axhline(np.log(10), color="black", lw=1, ls=":", label="guessing: ln 10")
panels[1].set(xlabel="step", ylabel="loss (mean of ten steps)", title="Training", ylim=(0, 5.5))
panels[1].legend(fontsize=8)
panels[0].legend(fontsize=8)
plt.show()

# %% [markdown]
# The library looks for both: `training.find_vanishing_and_exploding` names layers, and the hook `training.GradientMonitor`
# does so while a network trains.

# %%
for name, (norms, curve) in deep.items():
    by_layer = {f"layer {i}": norm for i, norm in enumerate(norms[0], start=1)}
    found = training.find_vanishing_and_exploding(by_layer, low=1e-7, high=1e3)
    end = float(np.mean(curve[-10:]))
    print(
        f"{name:30} {len(found.vanishing):2} vanish, {len(found.exploding):2} explode, loss at the end {end:.3f}"
    )
    assert bool(found.vanishing) == (name == "sigmoid, Xavier")
    assert bool(found.exploding) == (name == "ReLU, 3 times He's deviation")
    learned = end < 0.9 * np.log(10)
    assert learned == (name in ("sigmoid, BatchNorm", "sigmoid, shortcut", "ReLU, He"))

# %% [markdown]
# ## 3. Batch normalisation is two functions
#
# In training (训练模式) it normalises by the mean and variance of **the batch**, and moves the running ones,
# $r \leftarrow (1 - m)\, r + m\, b$ with the variance unbiased; in evaluation (评估模式) it normalises by the
# **running** ones. So in training an image's output depends on its neighbours in the batch, and in evaluation on itself
# alone. `train` has no default: forgetting it is the classic mistake. The three claims, asserted:

# %%
norm = layers.BatchNorm()
features = np.asarray(flat["train"] @ jax.random.normal(jax.random.key(3), (64, 16)) / 8 + 1.0)  # [N, 16]
fresh = norm.init(jax.random.key(0), features, train=False)
trained = jax.jit(lambda v, x: norm.apply(v, x, train=True, mutable=["batch_stats"]))
evaluated = jax.jit(lambda v, x: norm.apply(v, x, train=False))

one, here, there = features[:1], features[1:32], features[101:132]
batch, other = np.concatenate([one, here]), np.concatenate([one, there])  # one image, two batches
y, moved = jax.device_get(trained(fresh, batch))
assert np.allclose(y.mean(0), 0, atol=1e-5)
assert np.allclose(y.var(0), 1, atol=1e-3)
assert np.allclose(moved["batch_stats"]["mean"], 0.9 * 0 + 0.1 * batch.mean(0), atol=1e-5)
assert np.allclose(moved["batch_stats"]["var"], 0.9 * 1 + 0.1 * batch.var(0, ddof=1), atol=1e-5)
assert not np.allclose(y[0], trained(fresh, other)[0][0], atol=1e-2)
alone, among = np.asarray(evaluated(fresh, batch))[0], np.asarray(evaluated(fresh, other))[0]
assert np.allclose(alone, among, atol=1e-6)
assert not np.allclose(alone, y[0], atol=1e-2)  # the running statistics have seen nothing yet

# %% [markdown]
# Left: the running statistics forget their first values 0 and 1 at a rate of $(1-m)^t$: evaluated too early, a network
# gives nonsense. Right: one image among many random batches. Its output in training varies like $1/\sqrt N$: a
# regulariser (正则化) where batches are large, a hindrance where they are small.


# %%
def running_mean_errors(momentum, batches):
    layer = layers.BatchNorm(momentum=momentum)

    def step(stats, x):
        stats = layer.apply(fresh | {"batch_stats": stats}, x, train=True, mutable=["batch_stats"])[1][
            "batch_stats"
        ]
        return stats, jnp.linalg.norm(stats["mean"] - features.mean(0))

    return jax.lax.scan(step, fresh["batch_stats"], batches)[1]


draw = np.random.default_rng(1)
batches = features[draw.integers(0, len(features), (200, 64))]  # [200, 64, 16]
true = features.mean(0)
figure, panels = plt.subplots(1, 2, figsize=(12, 3.6), layout="constrained")
for momentum, style in ((0.1, "-"), (0.01, "--")):
    errors = jax.jit(partial(running_mean_errors, momentum))(batches)
    panels[0].semilogy(np.arange(1, 201), errors, style, label=f"running mean, m = {momentum}")
    forgotten = np.linalg.norm(true) * (1 - momentum) ** np.arange(1, 201)
    panels[0].semilogy(np.arange(1, 201), forgotten, ":", color="black", lw=1)
panels[0].set(xlabel="step", ylabel="distance from the true mean", ylim=(0.02, 6), title="Running statistics")
panels[0].legend()
spreads, batch_sizes = [], (2, 8, 128) if SMALL else (2, 4, 8, 16, 32, 64, 128)
for size in batch_sizes:
    others = features[draw.integers(0, len(features), (200, size - 1))]  # [200, size - 1, 16]
    whole = np.concatenate([np.broadcast_to(one, (200, 1, 16)), others], axis=1)
    outputs = jax.device_get(jax.vmap(trained, in_axes=(None, 0))(fresh, whole)[0])[:, 0]  # [200, 16]
    spreads.append(float(outputs.std(0).mean()))
assert spreads[-1] < spreads[-2 if SMALL else 2] / 2
panels[1].loglog(batch_sizes, spreads, "o-", label="one image, train=True")
panels[1].loglog(
    batch_sizes, spreads[-1] * np.sqrt(128 / np.array(batch_sizes)), ":", color="0.4", label="1/√N"
)
panels[1].set(
    xlabel="batch size N", ylabel="deviation of its output", title="What the neighbours do to an image"
)
panels[1].set_xticks(batch_sizes, batch_sizes)
panels[1].set_yticks((0.1, 0.2, 0.4, 0.8), (0.1, 0.2, 0.4, 0.8))
panels[1].minorticks_off()
panels[1].legend()
plt.show()

# %% [markdown]
# ## 4. Optimizers (优化器) raced on one loss surface
#
# With the gradient $g$, the learning rate (学习率) $\eta$, and running means $m$ and $v$:
#
# | | update |
# |---|---|
# | SGD (随机梯度下降) | $-\eta\, g$ |
# | momentum (动量) | $-\eta\, m$, $m \leftarrow \mu m + g$ |
# | Nesterov | $-\eta\, (g + \mu m)$: momentum that looks ahead |
# | AdaGrad | $-\eta\, g / \sqrt{\sum g^2}$: slows down for ever |
# | RMSProp | $-\eta\, g / \sqrt{v}$, $v \leftarrow \rho v + (1 - \rho) g^2$: forgets |
# | Adam | $-\eta\, \hat m / \sqrt{\hat v}$: both, with a correction of the start |
#
# The surface is Rosenbrock's banana (香蕉函数), $f = (1 - x)^2 + 20\,(y - x^2)^2$: steep across the valley, nearly flat along
# it. A race at one learning rate for all would be unfair, so each takes the best of many, the one whose
# mean of $\log f$ over the steps is least and that does not leave the picture: `vmap` over the rates, `scan`
# over the steps, one compiled program an optimizer.

# %%
STEPS, START = 200, jnp.array([-1.5, 2.0])


def banana(p):
    return (1 - p[0]) ** 2 + 20 * (p[1] - p[0] ** 2) ** 2


@partial(jax.jit, static_argnums=0)
def race(name, rates):
    """Paths [rates, STEPS + 1, 2] of an optimizer at each learning rate, and f along them."""

    def run(rate):
        optimizer = optimizers.create(name, rate)

        def step(carry, _):
            p, state = carry
            updates, state = optimizer.update(jax.grad(banana)(p), state, p)
            return (p + updates, state), p

        (end, _), path = jax.lax.scan(step, (START, optimizer.init(START)), length=STEPS)
        path = jnp.concatenate([path, end[None]])
        return path, jax.vmap(banana)(path)

    return jax.vmap(run)(rates)


rates = np.geomspace(1e-4, 1, RATES)
racers = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")
raced = {name: jax.device_get(race(name, rates)) for name in racers}
paths = {name: path for name, (path, _) in raced.items()}
heights = {name: np.where(np.isfinite(height), height, np.inf) for name, (_, height) in raced.items()}
best = {}
for name in racers:
    stays = np.abs(paths[name]).max((1, 2)) < 4
    best[name] = int(np.where(stays, np.log10(heights[name] + 1e-12).mean(1), np.inf).argmin())
for name in racers:
    end = heights[name][best[name], -1]
    print(f"{name:9} best learning rate {rates[best[name]]:.4f}, f after {STEPS} steps {end:.2e}")

figure, panels = plt.subplots(2, 3, figsize=(13, 7), sharex=True, sharey=True, layout="constrained")
xs, ys = np.meshgrid(np.linspace(-2.2, 2.2, 120), np.linspace(-1.2, 4, 120))
for axes, name in zip(panels.flat, racers, strict=True):
    axes.contourf(xs, ys, np.log10(banana((xs, ys)) + 1e-3), levels=16, cmap="bone")
    axes.plot(*paths[name][best[name]].T, ".-", color="C1", ms=4, lw=1)
    axes.plot(*START, "o", color="C0", ms=7)
    axes.plot(1, 1, "*", color="C0", ms=14)
    axes.set(title=f"{name}, η = {rates[best[name]]:.3g}", xlim=(-2.2, 2.2), ylim=(-1.2, 4))
figure.supxlabel("x")
figure.supylabel("y")
plt.show()

# %% [markdown]
# Left, how fast each comes down at its best rate; right, how much that rate matters (no point: it diverged). A wide basin on the right is
# worth more in practice than the last decimal on the left.

# %%
figure, panels = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
for name, marker, style in zip(racers, "osD^vx", ("-", "-", "--", "-", "--", "-"), strict=True):
    panels[0].semilogy(heights[name][best[name]], style, lw=1.5, label=name)
    panels[1].loglog(rates, heights[name][:, -1], style, marker=marker, ms=4, label=name)
panels[0].set(xlabel="step", ylabel="f", title="Each at its best learning rate")
panels[1].set(xlabel="learning rate", ylabel=f"f after {STEPS} steps", title="All rates", ylim=(1e-9, 1e3))
panels[1].legend(fontsize=8)
for axes in panels:
    axes.grid(alpha=0.3)
plt.show()
assert heights["momentum"][best["momentum"]].min() < heights["sgd"][best["sgd"]].min() / 10

# %% [markdown]
# Three facts to remember. On a quadratic of curvature $\lambda$, SGD converges only below $\eta = 2/\lambda$. And Adam's first
# step is $\eta$ in every coordinate, whatever the gradient's size: it needs another rate than SGD. RMSProp
# has no correction of the start: with $\rho = 0.99$ its first step is ten times $\eta$, which is what its path shows.


# %%
def descend(rate):
    return jax.lax.fori_loop(0, 100, lambda _, x: x - rate * jax.grad(lambda x: 5.0 * x**2)(x), 1.0)  # λ = 10


assert abs(descend(1.9 / 10)) < 1e-4 < 1e3 < abs(descend(2.1 / 10))
gradient = jnp.array([1e-3, -1.0, 1e3])
for optimizer, first in ((optimizers.adam(0.01), 0.01), (optimizers.rmsprop(0.01), 0.1)):
    step, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    assert np.allclose(step, -first * np.sign(gradient), rtol=1e-3)

# %% [markdown]
# ## 5. Clipping (梯度裁剪)
#
# The loss of a recurrent network has cliffs. One neuron run for fifty steps, $x \leftarrow w\, \sigma(x) + b$, asked to end
# at 0.7, is enough (Pascanu et al. 2013, *On the Difficulty of Training Recurrent Neural Networks*, figure 6): a step that
# lands on the cliff is thrown away. Clipping the **norm** (范数) of the gradient keeps its direction and bounds the step
# to $\eta\, c$; clipping each **value** turns it towards a diagonal.


# %%
def cliff(p):
    def step(x, _):
        return p[0] * jax.nn.sigmoid(x) + p[1], None

    return (jax.nn.sigmoid(jax.lax.scan(step, 0.5, length=50)[0]) - 0.7) ** 2


@partial(jax.jit, static_argnums=0)
def descent(clip_norm, start):
    optimizer = optimizers.build_optimizer("sgd", 0.6, clip_norm=clip_norm)

    def step(carry, _):
        updates, state = optimizer.update(jax.grad(cliff)(carry[0]), carry[1], carry[0])
        return (carry[0] + updates, state), carry[0]

    return jax.lax.scan(step, (start, optimizer.init(start)), length=150)[1]


ws, bs = np.meshgrid(np.linspace(3, 7, 120), np.linspace(-3.4, 0.8, 120))
cliffs = np.asarray(jax.jit(jax.vmap(cliff))(jnp.stack([ws.ravel(), bs.ravel()], -1))).reshape(ws.shape)
start = jnp.array([5.75, -2.4])
free, clipped = jax.device_get((descent(None, start), descent(0.3, start)))

gradient = jnp.array([3.0, 0.6])
by_norm, _ = optax.clip_by_global_norm(1.0).update(gradient, optax.EmptyState())
by_value, _ = optax.clip(1.0).update(gradient, optax.EmptyState())
figure, panels = plt.subplots(1, 2, figsize=(12, 4.2), width_ratios=(3, 2), layout="constrained")
filled = panels[0].contourf(ws, bs, cliffs, levels=20, cmap="cividis")
figure.colorbar(filled, ax=panels[0], label="loss")
panels[0].plot(*free.T, "x-", color="C1", ms=5, lw=1, label="free")
panels[0].plot(*clipped.T, "o-", color="white", ms=3, lw=1, label="norm clipped to 0.3")
panels[0].plot(*start, "*", color="C1", ms=12)
panels[0].set(xlabel="w", ylabel="b", xlim=(3, 7), ylim=(-3.4, 0.8), title="A cliff")
panels[0].legend(loc="upper left", facecolor="0.5")
arrows = {"gradient": gradient, "clipped by value": by_value, "clipped by norm": by_norm}
for (name, arrow), colour in zip(arrows.items(), ("0.6", "C1", "C0"), strict=True):
    panels[1].quiver(0, 0, *arrow, angles="xy", scale_units="xy", scale=1, color=colour, label=name)
panels[1].set(xlim=(-0.2, 3.2), ylim=(-0.3, 1.5), aspect="equal", title="Two ways to bound a gradient")
panels[1].legend()
plt.show()

longest = [np.linalg.norm(np.diff(path, axis=0), axis=1).max() for path in (free, clipped)]
print(f"longest step: free {longest[0]:.2f}, clipped {longest[1]:.3f}")
assert longest[1] <= 0.6 * 0.3 + 1e-5 < longest[0]
assert np.allclose(by_norm, gradient / np.linalg.norm(gradient), atol=1e-6)

# %% [markdown]
# ## 6. The learning rate: a range test, and schedules
#
# From here on the library trains: a model becomes a `Task`, a step is compiled for all devices there are, batches are
# placed on them. The **range test** (学习率范围测试; Smith 2017, section 3.3) lets the rate rise by a factor a step and
# watches the loss: it falls, is least, explodes. A tenth of the rate where it is least is a good start.


# %%
class Classifier(nn.Module):
    """Two hidden layers: images [N, 8, 8, 3] to logits [N, 10]."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, images, *, train):
        x = images[..., 0].reshape(len(images), -1)  # [N, 64], they are grey
        for name in ("hidden1", "hidden2"):
            x = nn.relu(nn.Dense(128, kernel_init=layers.he_normal_fan_in, name=name)(x))
            x = layers.Dropout(self.dropout)(x, train=train)
        return nn.Dense(10, kernel_init=layers.xavier_normal(), name="head")(x)


placement = training.make_placement("jit")


def make_task(dropout=0.0, **loss):
    loss = tasks.ClassificationLoss(**loss)
    return tasks.classification_task(Classifier(dropout), loss, num_classes=10, image_size=(8, 8))


def compile_run(task, optimizer):
    """The first state, kept on the host, and the compiled step."""
    state = placement.snapshot(placement.place(training.create_train_state(task, optimizer, seed=0)))
    step = training.make_train_step(task, optimizer, axis_name=placement.axis_name)
    return state, placement.compile_step(step)


def place(batch, *, vary=None):
    """A batch on the devices, its images as floats, each varied before if asked for."""
    images = batch["images"] if vary is None else np.stack([vary(image) for image in batch["images"]])
    return placement.shard(batch | {"images": (images - MEAN) / DEVIATION})


plain = make_task()
trial_rates = np.asarray(jax.vmap(training.rising_schedule(1e-4, 10.0, steps=100))(jnp.arange(100)))
rising = optimizers.momentum(training.rising_schedule(1e-4, 10.0, steps=100))
state, step = compile_run(plain, rising)
batches = map(place, data.ArrayBatches(digits["train"], batch_size=64, seed=0))
found = training.run_rate_range(placement.place(state), step, batches, trial_rates)
with tempfile.TemporaryDirectory() as folder:
    path = pictures.plot_rate_range(
        Path(folder) / "rates.png", found.rates, found.losses, found.smoothed, suggestion=found.suggestion
    )
    display(Image(data=path.read_bytes(), width=560))
assert 1e-3 < found.suggestion < 0.3

# %% [markdown]
# A large rate goes far, a small one arrives. A **schedule** (学习率调度) does both: first a **warm-up** (预热) where the start is
# wild, then a decay. Four networks are trained at once, `vmap` over the tables of rates, from six times
# the suggestion: all see the same batches.
#
# A constant rate keeps its noise as long as the batches disagree, and a decay takes it away. Differences as small as
# those of one run prove nothing (section 10), and a network that learns so easy a task by heart ends about alike under
# all four if it is trained for long: try `LONG = 600`.

# %%
LONG, BATCH = 200, 32
PEAK = 6 * found.suggestion
schedules = {
    "constant": optimizers.create_schedule("constant", PEAK),
    "step": optimizers.create_schedule("step", PEAK, milestones=[LONG // 2, 3 * LONG // 4]),
    "poly, power 0.9": optimizers.create_schedule("poly", PEAK, steps=LONG),
    "cosine with warm-up": optimizers.create_schedule("cosine", PEAK, steps=LONG, warmup_steps=LONG // 10),
}
tables = jnp.stack([jax.vmap(schedule)(jnp.arange(LONG)) for schedule in schedules.values()])  # [4, LONG]
rows = np.random.default_rng(3).integers(0, len(flat["train"]), (LONG, BATCH))
net, net_params = Classifier(), state.params


def net_loss(params, x, labels):
    logits = net.apply({"params": params}, x.reshape(-1, 8, 8, 1), train=False)
    return losses.cross_entropy_loss(logits, labels).mean()


@jax.jit
@jax.vmap
def train_by(table):
    optimizer = optimizers.momentum(lambda count: table[count])
    labels = jnp.asarray(digits["train"]["labels"])

    def update(carry, row):
        loss, gradients = jax.value_and_grad(net_loss)(carry[0], flat["train"][row], labels[row])
        updates, opt_state = optimizer.update(gradients, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), opt_state), loss

    (params, _), curve = jax.lax.scan(update, (net_params, optimizer.init(net_params)), rows)
    return curve, net_loss(params, flat["val"], jnp.asarray(digits["val"]["labels"]))


(curves, ends), tables = jax.device_get((train_by(tables), tables))
figure, panels = plt.subplots(1, 2, figsize=(12, 3.8), layout="constrained")
for name, table, curve, end, style in zip(
    schedules, tables, curves, ends, ("-", "--", "-.", ":"), strict=True
):
    panels[0].plot(table, style, lw=2, label=name)
    smooth = np.convolve(curve, np.ones(20) / 20, mode="valid")
    panels[1].semilogy(smooth + 1e-6, style, lw=1.5, label=f"{name}: {end:.3f} on the validation part")
panels[0].set(xlabel="step", ylabel="learning rate", title="Schedules")
panels[1].set(xlabel="step", ylabel="loss (mean of 20 steps)", title="Training by them")
panels[1].legend(loc="upper right", fontsize=8)
plt.show()
assert tables[3, 0] == 0
assert np.isclose(tables[3, LONG // 10], PEAK)
print({name: round(float(end), 3) for name, end in zip(schedules, ends, strict=True)})

# %% [markdown]
# ## 7. Gradient accumulation (梯度累积)
#
# A batch that does not fit into memory can come in parts: the mean of the gradients of four batches of 40 **is** the
# gradient of one batch of 160, so clipping, momentum and all that follows are the same. It holds to rounding, and
# nothing moves between the updates. One thing breaks it: BatchNorm, whose statistics are of 40 images, not of 160.

# %%
settings = {"clip_norm": 0.5, "weight_decay": 1e-3}
ends = {}
for parts in (1, 4):
    optimizer = optimizers.build_optimizer("momentum", 0.1, accumulate=parts, **settings)
    state, step = compile_run(plain, optimizer)
    state = placement.place(state)
    for begin in range(0, 320, 160 // parts):
        before = placement.snapshot(state.params)
        batch = {name: array[begin : begin + 160 // parts] for name, array in digits["train"].items()}
        state, _ = step(state, place(batch | {"where": np.ones(160 // parts, bool)}))
        stood = jax.tree.all(jax.tree.map(np.array_equal, before, placement.fetch(state.params)))
        assert stood == ((begin // (160 // parts) + 1) % parts != 0)
    ends[parts] = placement.snapshot(state.params)
difference = jax.tree.map(lambda a, b: np.abs(a - b).max(), ends[1], ends[4])
print(f"largest difference after two updates: {max(jax.tree.leaves(difference)):.1e}")
assert max(jax.tree.leaves(difference)) < 1e-5

whole = np.asarray(trained(fresh, features[:160])[0])
in_parts = np.concatenate([trained(fresh, part)[0] for part in np.split(features[:160], 4)])
assert np.abs(whole - in_parts).max() > 0.1

# %% [markdown]
# ## 8. Label smoothing (标签平滑)
#
# Cross entropy of a hard label has no minimum: a larger margin is always better, and the network becomes too sure. With
# targets $q_k = (1 - \epsilon)\,[k = y] + \epsilon/K$ (Szegedy et al. 2016, section 7) the best probability of the right
# class is $1 - \epsilon + \epsilon/K$, at a finite margin of logits,
#
# $$ z_y - z_k = \ln \frac{1 - \epsilon + \epsilon/K}{\epsilon/K} . $$

# %%
margins, first = np.linspace(-2, 12, 141), jnp.zeros(141, jnp.int32)
logits = jnp.asarray(margins[:, None] * np.eye(10)[0], jnp.float32)  # [141, 10]
plt.figure(figsize=(7, 3.8), layout="constrained")
for smoothing, style in ((0.0, "-"), (0.05, "--"), (0.1, "-."), (0.2, ":")):
    curve = losses.cross_entropy_loss(logits, first, label_smoothing=smoothing)
    targets = (1 - smoothing) * np.eye(10)[0] + smoothing / 10
    spread = np.broadcast_to(targets.astype(np.float32), (141, 10))
    assert np.allclose(curve, losses.soft_cross_entropy_loss(logits, spread), atol=1e-5)
    plt.plot(margins, curve, style, lw=2, label=f"ε = {smoothing}")
    if smoothing:
        margin = np.log((1 - smoothing + smoothing / 10) / (smoothing / 10))
        smoothed = partial(losses.cross_entropy_loss, labels=first[0], label_smoothing=smoothing)
        value, slope = jax.value_and_grad(smoothed)(jnp.asarray(margin * np.eye(10)[0], jnp.float32))
        assert np.abs(slope).max() < 1e-6
        plt.plot(margin, value, "o", color="black", ms=6)
plt.xlabel("margin: logit of the right class above all others")
plt.ylabel("loss")
plt.title("Smoothed labels have a best margin")
plt.legend()
plt.show()

# %% [markdown]
# ## 9. Overfitting (过拟合) and its cures
#
# Two hundred digits, and a fifth of their labels wrong, as real labels are. A network with enough parameters learns
# even the wrong ones by heart: the training loss goes to 0, the validation loss turns and rises. Cures:
#
# * **weight decay** (权重衰减): every step shrinks the weights (AdamW's decoupled form; norms and biases are left out);
# * **dropout** (随机失活; Srivastava et al. 2014): every step trains another half of the network;
# * **augmentation** (数据增强): digits turned, sheared and moved a little are digits still, and there is no end of them;
# * **label smoothing**: from above;
# * **early stopping** (早停): keep the state of the least validation loss, and stop when it has not fallen for long.

# %%
draw = np.random.default_rng(4)
of_class = [np.flatnonzero(digits["train"]["labels"] == digit) for digit in range(10)]
few = np.concatenate([draw.choice(members, 20, replace=False) for members in of_class])
few = {name: array[few] for name, array in digits["train"].items()}
wrong = draw.choice(200, 40, replace=False)
noisy = few | {"labels": few["labels"].copy()}
noisy["labels"][wrong] = (noisy["labels"][wrong] + draw.integers(1, 10, 40)) % 10
count = placement.compile_count(training.make_count_step(plain, axis_name=placement.axis_name))


def varied(image):
    """The digit, turned, sheared and moved a little."""
    for operation, most in (("rotate", 12), ("shear_x", 0.2), ("translate_x", 1.99), ("translate_y", 1.99)):
        image = data.augment_image(image, operation, draw.uniform(-most, most), interpolation="bilinear")
    return image


figure, panels = plt.subplots(2, 10, figsize=(10, 2.2), layout="constrained")
for column, index in enumerate(range(0, 200, 20)):
    panels[0, column].imshow(few["images"][index])
    panels[1, column].imshow(varied(few["images"][index]))
for axes in panels.flat:
    axes.set(xticks=[], yticks=[])
panels[0, 0].set_ylabel("digit")
panels[1, 0].set_ylabel("varied")
plt.show()


# %%
class Run(NamedTuple):
    """Scores at each look, {"step": ..., "train/loss": ...}; the variables at the end and at the least validation loss."""

    records: list
    last: Any
    best: Any


def score(variables, arrays):
    batches = map(place, data.ordered_array_batches(arrays, batch_size=128))
    return training.evaluate(count, plain.score, variables, batches, placement)[0]


def train(compiled, *, vary=None, hooks=()):
    records, best = [], {}

    def look(state):
        parts = {"train": noisy, "val": digits["val"]}
        scores = {part: score(state.variables(), arrays) for part, arrays in parts.items()}
        found = {f"{part}/{name}": value for part, values in scores.items() for name, value in values.items()}
        if found["val/loss"] < min((record["val/loss"] for record in records), default=np.inf):
            best["variables"] = placement.snapshot(state.variables())
        records.append({"step": int(training.host_values(state.step)), **found})
        return found

    batches = map(partial(place, vary=vary), data.ArrayBatches(noisy, batch_size=40, seed=0))
    steps = 5 * EPOCHS
    hooks = [training.Evaluate(look, every=20, last=steps), *hooks]
    progress = training.fit(placement.place(compiled[0]), compiled[1], batches, hooks, steps=steps)
    return Run(records, placement.snapshot(progress.state.variables()), best["variables"])


adam = optimizers.build_optimizer("adam", 3e-3)
decayed = optimizers.build_optimizer("adamw", 3e-3, weight_decay=1.0)
cures = {
    "nothing": ((plain, adam), None),
    "weight decay 1": ((plain, decayed), None),
    "dropout 0.5": ((make_task(dropout=0.5), adam), None),
    "augmentation": ((plain, adam), varied),
    "label smoothing 0.2": ((make_task(label_smoothing=0.2), adam), None),
    "all four": ((make_task(dropout=0.3, label_smoothing=0.1), decayed), varied),
}
if SMALL:
    cures = {name: cures[name] for name in ("nothing", "augmentation", "all four")}
compiled = {}
for setting, _ in cures.values():
    if setting not in compiled:
        compiled[setting] = compile_run(*setting)
runs = {name: train(compiled[setting], vary=vary) for name, (setting, vary) in cures.items()}

# %%
figure, panels = plt.subplots(
    2, len(runs), figsize=(2.6 * len(runs) + 1, 5), sharex=True, sharey="row", layout="constrained"
)
for column, (name, run) in enumerate(runs.items()):
    steps = [record["step"] for record in run.records]
    turn = min(run.records, key=lambda record: record["val/loss"])["step"]
    for axes, what in zip(panels[:, column], ("loss", "accuracy"), strict=True):
        axes.plot(steps, [record[f"train/{what}"] for record in run.records], "--", label="training")
        axes.plot(steps, [record[f"val/{what}"] for record in run.records], label="validation")
        axes.axvline(turn, color="0.5", lw=1, ls=":", label="least validation loss")
        axes.grid(alpha=0.3)
    panels[0, column].set(title=name, ylim=(0, 2.5))
    panels[1, column].set(xlabel="step", ylim=(0.4, 1.03))
panels[0, 0].set_ylabel("loss")
panels[1, 0].set_ylabel("accuracy")
panels[0, -1].legend(fontsize=8)
plt.show()

# %% [markdown]
# The test part is looked at once, now. Early stopping needs no run of its own: it is the state at the dotted line. The
# calibration error (校准误差) says how far confidence and accuracy are apart; the loss is the plain cross entropy.

# %%
print(f"{'':20} {'at the end':>28}   {'at the least validation loss':>28}")
print(f"{'':20}" + 2 * f" {'accuracy':>9} {'loss':>7} {'calibration':>11} ")
tested = {}
for name, run in runs.items():
    tested[name] = [score(placement.place(variables), digits["test"]) for variables in (run.last, run.best)]
    cells = [f"{s['accuracy']:9.1%} {s['loss']:7.3f} {s['calibration_error']:11.3f} " for s in tested[name]]
    print(f"{name:20} " + " ".join(cells))
last = runs["nothing"].records[-1]
least = min(record["val/loss"] for record in runs["nothing"].records)
assert last["train/accuracy"] > 0.98  # the wrong labels, too
assert last["val/loss"] > 1.1 * least
assert tested["augmentation"][1]["loss"] < tested["nothing"][1]["loss"]
assert tested["nothing"][1]["loss"] < tested["nothing"][0]["loss"]

# %% [markdown]
# The hook that stops a run early is `training.EarlyStopping`; it sees what `training.Evaluate` finds.

# %%
stopper = training.EarlyStopping("val/loss", patience=2, mode="min")
stopped = train(compiled[cures["nothing"][0]], hooks=[stopper])
print(f"stopped after step {stopped.records[-1]['step']} of {5 * EPOCHS}")
assert stopped.records[-1]["step"] < 5 * EPOCHS
assert stopped.records == runs["nothing"].records[: len(stopped.records)]  # the same numbers until then

# %% [markdown]
# ## 10. Cross-validation (交叉验证)
#
# How strong should the decay be, if there are two hundred digits and no more to validate on? Cut them into $k$ **folds** (折),
# train on all but one, score on that one, for each in turn. Every digit is validated on once, by a network that has not
# seen it. The mean over the folds is the estimate, their spread (离散程度) says what it is worth: a difference that is much
# smaller than the spread is none. Folds of stratified (分层) cuts have equal shares of each class.
#
# The folds are of one size, so they are one more axis of one array: `vmap` over folds and over strengths trains all
# networks in one program. Here we can look up the truth as well: the digits that are not among the two hundred.

# %%
FOLDS = 5
folds = data.stratified_folds(few["labels"], FOLDS, rng=np.random.default_rng(5))
kept = np.stack([part for part, _ in folds])  # [FOLDS, 160]
held = np.stack([part for _, part in folds])  # [FOLDS, 40]
strengths = np.geomspace(1e-3, 0.3, 3 if SMALL else 7)
few_x = jnp.asarray((few["images"][..., 0].reshape(-1, 64) - MEAN) / DEVIATION)
few_y, unseen_x = jnp.asarray(few["labels"]), jnp.concatenate([flat["val"], flat["test"]])
unseen_y = jnp.asarray(np.concatenate([digits["val"]["labels"], digits["test"]["labels"]]))
assert sorted(held.ravel()) == list(range(200))
assert (np.sort(few["labels"][held], axis=1) == np.repeat(np.arange(10), 4)).all()


def accuracy(params, x, labels):
    logits = net.apply({"params": params}, x.reshape(-1, 8, 8, 1), train=False)
    return jnp.mean(logits.argmax(-1) == labels)


def cross_validate(strength, kept, held):
    """Accuracy on the held-out digits and on unseen ones."""
    optimizer = optax.chain(optax.add_decayed_weights(strength), optimizers.momentum(0.02))

    def update(i, carry):
        rows = jax.random.choice(jax.random.key(i), kept, (40,), replace=False)
        gradients = jax.grad(net_loss)(carry[0], few_x[rows], few_y[rows])
        updates, state = optimizer.update(gradients, carry[1], carry[0])
        return optax.apply_updates(carry[0], updates), state

    params, _ = jax.lax.fori_loop(0, FOLDED_STEPS, update, (net_params, optimizer.init(net_params)))
    return accuracy(params, few_x[held], few_y[held]), accuracy(params, unseen_x, unseen_y)


over_folds = jax.vmap(cross_validate, in_axes=(None, 0, 0))
estimates, truths = jax.device_get(
    jax.jit(jax.vmap(over_folds, in_axes=(0, None, None)))(strengths, kept, held)
)

means, spreads = estimates.mean(1), estimates.std(1, ddof=1)  # of a sample
plt.figure(figsize=(7.5, 4), layout="constrained")
plt.plot(strengths, estimates, ".", color="0.6", ms=6, label=["one fold", *[None] * (FOLDS - 1)])
plt.errorbar(strengths, means, spreads, fmt="o-", capsize=4, label="mean and deviation of the folds")
plt.plot(strengths, truths.mean(1), "s--", label=f"truth: {len(unseen_y)} other digits")
plt.xscale("log")
plt.xlabel("strength of the L2 penalty")
plt.ylabel("accuracy")
plt.title(f"{FOLDS} folds of {len(few_y)} digits, {estimates.size} networks in one program")
plt.legend()
plt.show()
for strength, mean, spread, truth in zip(strengths, means, spreads, truths.mean(1), strict=True):
    print(f"strength {strength:.4f}: {mean:.1%} ± {spread:.1%} by the folds, {truth:.1%} in truth")
chosen = int(means.argmax())
assert abs(means[chosen] - truths[chosen].mean()) < 3 * max(spreads[chosen], 0.02)

# %% [markdown]
# `python train/classification.py` does all of this from the command line: `--help` lists its options.
#
# References: those in the text, and Kohavi 1995, *A Study of Cross-Validation and Bootstrap*; Goyal et al. 2017, *Accurate,
# Large Minibatch SGD* (warm-up); Kingma and Ba 2015, *Adam*; Loshchilov and Hutter 2019, *Decoupled Weight Decay
# Regularization*; Guo et al. 2017, *On Calibration of Modern Neural Networks*.
