# %% [markdown]
# # A functional tour (函数式导览)
#
# What a library of pure functions (纯函数) is like: layers (层), losses and metrics under `jit`, `grad` and `vmap`; shapes
# without any arithmetic; what a neuron sees, in theory and in effect; what a network costs; and what is different from
# PyTorch. Every claim below is asserted, so this notebook is a test as well.
#
# One to two minutes on a CPU. One device is enough (CPU, GPU or TPU), and nothing is downloaded.

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
import itertools
import os
import tempfile
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import sklearn.metrics
from IPython.display import Image, display
from scipy.signal import correlate2d
from scipy.special import softmax
from sklearn.datasets import load_sample_image

from jaxvision import core, inspect, layers, losses, metrics, ops, zoo

SMALL = bool(os.environ.get("SMALL"))  # set by the tests: the same claims of fewer and smaller things
NETWORK = "resnet18" if SMALL else "resnet50"
DRAWS = 4 if SMALL else 48  # random networks that an effective receptive field is the mean of
DEPTHS = (2, 8) if SMALL else (1, 2, 4, 8, 16, 24)

# A TPU multiplies in bfloat16 unless told otherwise. Here numbers are compared with references.
jax.config.update("jax_default_matmul_precision", "highest")
print(jax.devices())

# %% [markdown]
# ## 1. A layer is two pure functions
#
# A module (模块) is a description: how many features, which size of kernel (卷积核). It holds no numbers. Its two functions are
#
# * `init(key, x) -> variables`: draws the parameters (参数), from a random key (随机密钥) that you give;
# * `apply(variables, x) -> y`: computes.
#
# Both are pure: the result depends on the arguments alone, and nothing else is changed. So the same key gives the same
# parameters, on every machine, and there is no hidden state to save, to reset or to forget.
# Images are `[N, H, W, C]`, channels last.

# %%
photo = load_sample_image("flower.jpg")[60:380, 150:470] / 255.0  # [320, 320, 3], ships with scikit-learn
image = ops.resize(jnp.asarray(photo, jnp.float32)[None], (32, 32), antialias=True)  # [1, 32, 32, 3]

layer = layers.Conv(8, 3, padding=1)
variables = layer.init(jax.random.key(0), image)
features = layer.apply(variables, image)
print("variables:", jax.tree.map(jnp.shape, variables), " features:", features.shape)

assert jax.tree.all(jax.tree.map(jnp.array_equal, variables, layer.init(jax.random.key(0), image)))
assert not jnp.array_equal(
    variables["params"]["kernel"], layer.init(jax.random.key(1), image)["params"]["kernel"]
)

# %% [markdown]
# ## 2. `jit`, `grad`, `vmap`: functions of functions
#
# Because `apply` is a function, what JAX does with functions works for every layer, loss and metric here:
#
# | transform | gives | |
# |---|---|---|
# | `jax.jit(f)` | the same function, compiled (编译) for the shapes it meets | fast |
# | `jax.grad(f)` | the gradient (梯度) with respect to the first argument | training |
# | `jax.vmap(f)` | the function over one more axis (向量化) | batches of anything, also of parameters |
#
# The mean of squares of a convolution (卷积) is quadratic in its parameters, so a central difference of any step gives the
# exact slope. The gradient must agree.


# %%
def energy(variables, image):
    return jnp.mean(layer.apply(variables, image) ** 2)


def energy_at(t):
    return energy(jax.tree.map(lambda p, d: p + t * d, variables, direction), image)


direction = jax.tree.map(lambda p: jax.random.normal(jax.random.key(1), p.shape), variables)
gradients = jax.jit(jax.grad(energy))(variables, image)
slope = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradients, direction)))
measured = (energy_at(1.0) - energy_at(-1.0)) / 2
print(f"slope by the gradient {slope:.6f}, by a difference {measured:.6f}")
assert jnp.allclose(slope, measured, rtol=1e-4)

# %% [markdown]
# `vmap` over the **parameters** makes an ensemble: five layers drawn at once, applied at once. `vmap` of `grad` over the
# **images** gives each image its own gradient, which a sum over the batch hides.

# %%
five = jax.vmap(layer.init, in_axes=(0, None))(jax.random.split(jax.random.key(2), 5), image)
outputs = jax.vmap(layer.apply, in_axes=(0, None))(five, image)  # [5, 1, 32, 32, 8]
third = jax.tree.map(lambda p: p[2], five)
print("kernels of five layers:", five["params"]["kernel"].shape, " outputs:", outputs.shape)
assert jnp.allclose(outputs[2], layer.apply(third, image), atol=1e-5)

batch = jnp.concatenate([image, jnp.flip(image, 1), 0.1 * image])  # [3, 32, 32, 3]
of_each = jax.vmap(jax.grad(energy), in_axes=(None, 0))(variables, batch[:, None])
norms = [float(jnp.linalg.norm(kernel)) for kernel in of_each["params"]["kernel"]]
print("gradient norm of each image:", np.round(norms, 5))
together = jax.grad(energy)(variables, batch)
assert jax.tree.all(
    jax.tree.map(lambda each, all: jnp.allclose(each.mean(0), all, atol=1e-5), of_each, together)
)

# %% [markdown]
# ## 3. Traced once, run often
#
# `jit` runs the Python code once for each combination of shapes and dtypes, with tracers (追踪器) in the place of arrays,
# and compiles what it saw. Afterwards the Python code is not run any more. A `print` or an `append` in it happens at
# tracing alone; here we use that to count.

# %%
traces = []


@jax.jit
def compiled(variables, image):
    traces.append(image.shape)
    return layer.apply(variables, image)


compiled(variables, image)
compiled(variables, 2 * image)  # new values: nothing is traced
print("after two calls:", traces)
assert traces == [(1, 32, 32, 3)]
compiled(variables, image[:, :16])  # a new shape: traced and compiled again
assert traces == [(1, 32, 32, 3), (1, 16, 32, 3)]

# %% [markdown]
# ## 4. Shapes without arithmetic
#
# `jax.eval_shape` traces a function and computes nothing: the shapes (形状) of a ResNet's parameters take no memory. Their
# number must be the published one (torchvision's model page: 11,689,512 and 25,557,032; 1.81 and 4.09 billion
# multiply-accumulates, 乘加运算, for an image of 224 x 224 pixels). `inspect.summarize` counts both by tracing.

# %%
network = zoo.create(NETWORK)
photograph = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
shapes = jax.eval_shape(lambda key, x: network.init(key, x, train=False), jax.random.key(0), photograph)
count = core.count_parameters(shapes["params"])
rows = inspect.summarize(network, photograph, train=False)
print(f"{NETWORK}: {count:,} parameters, {inspect.total(rows).macs / 1e9:.2f} billion multiply-accumulates")
published = {"resnet18": (11_689_512, 1.81), "resnet50": (25_557_032, 4.09)}[NETWORK]
assert (count, round(inspect.total(rows).macs / 1e9, 2)) == published
assert inspect.total(rows).parameters == count

# %%
with tempfile.TemporaryDirectory() as folder:
    path = inspect.plot_summary(Path(folder) / "summary.png", rows, title=NETWORK)
    display(Image(data=path.read_bytes(), width=1000))

# %% [markdown]
# The arithmetic is there for those who want it. With padding (填充) $p$ on both sides, stride (步幅) $s$, dilation (空洞)
# $d$ and a kernel of $k$ taps, $n$ pixels become
#
# $$ m = \left\lfloor \frac{n + 2p - d(k-1) - 1}{s} \right\rfloor + 1 . $$
#
# `ops.convolution_output_size` is this formula, `eval_shape` of the operation is the truth: they agree. Padding is
# always given in numbers. "SAME" means different things in different libraries once there is a stride.

# %%
for size, kernel, stride, padding, spread in itertools.product((9, 12), (1, 3), (1, 2, 3), (0, 2), (1, 2)):
    x, k = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, size, 7, 2), (kernel, 1, 2, 4)))
    options = {"strides": (stride, 1), "padding": (padding, 0), "dilation": (spread, 1)}
    traced = jax.eval_shape(lambda x, k, options=options: ops.convolution(x, k, **options), x, k).shape
    assert traced[1:3] == ops.convolution_output_size((size, 7), (kernel, 1), **options)

stems = {"AlexNet": (11, 4, 2), "VGG": (3, 1, 1), "ResNet": (7, 2, 3), "ViT-B/16": (16, 16, 0)}
for name, (kernel, stride, padding) in stems.items():
    (rows_out, _) = ops.convolution_output_size((224, 224), kernel, strides=stride, padding=padding)
    print(f"{name:9s} kernel {kernel:2d}  stride {stride:2d}  padding {padding}:  224 -> {rows_out}")

# %% [markdown]
# ## 5. Losses (损失函数) are unreduced
#
# A loss gives one number an element; the mean is yours to take, so that masks, class weights and sums over devices are
# no special cases. Cross entropy (交叉熵) of logits $x$ and class $y$ is $\ell = -\log \operatorname{softmax}(x)_y$, with
# gradient $\operatorname{softmax}(x) - e_y$. Here against scikit-learn, and against that formula. Label 255 is void
# (忽略): no loss, no gradient. Label smoothing (标签平滑; Szegedy et al. 2016, section 7) and Dice loss (Dice损失; Milletari et
# al. 2016, *V-Net*, section 3) against their definitions.

# %%
logits = 3 * jax.random.normal(jax.random.key(3), (8, 5))
labels = jnp.array([0, 1, 2, 3, 4, 1, 255, 255])
entropy = jax.jit(partial(losses.cross_entropy_loss, ignore_index=255))
loss = entropy(logits, labels)
print("one loss an element:", np.round(loss, 3))

p = softmax(np.asarray(logits[:6], np.float64), axis=1)
truth = np.eye(5)[np.asarray(labels[:6])]
reference = sklearn.metrics.log_loss(labels[:6], p, labels=range(5))
assert np.isclose(losses.masked_mean(loss, where=labels != 255), reference, rtol=1e-5)

slopes = jax.jit(jax.grad(lambda x: entropy(x, labels).sum()))(logits)
assert np.allclose(slopes[:6], p - truth, atol=1e-6)
assert not slopes[6:].any()

smoothed = jax.jit(partial(losses.cross_entropy_loss, label_smoothing=0.1))(logits[:6], labels[:6])
assert np.allclose(smoothed, -((0.9 * truth + 0.1 / 5) * np.log(p)).sum(1), rtol=1e-5)

dice = jax.jit(partial(losses.dice_loss, squared=True, smooth=0.0))(logits[None, :6], labels[None, :6])
assert np.allclose(dice[0], 1 - 2 * (p * truth).sum(0) / (p**2 + truth**2).sum(0), rtol=1e-5)  # one a class

# %% [markdown]
# `vmap(grad(loss))` gives a loss's slope at every point: what pulls, and how hard. Focal loss (Lin et al. 2017,
# equation 4) hardly pulls at what is right already; Huber loss (1964) pulls no harder at an outlier (离群点) than at an
# error of 1.

# %%
steps = jnp.linspace(-4, 4, 161)
positive, zero = jnp.ones(()), jnp.zeros(())
curves = {
    "logit of a positive": {
        "cross entropy": lambda x: losses.binary_cross_entropy_loss(x, positive),
        "focal, γ = 2": lambda x: losses.binary_focal_loss(x, positive, alpha=None, gamma=2.0),
    },
    "error": {
        "L2": lambda x: losses.l2_loss(x, zero),
        "L1": lambda x: losses.l1_loss(x, zero),
        "Huber, δ = 1": lambda x: losses.huber_loss(x, zero),
    },
}
figure, panels = plt.subplots(2, 2, figsize=(10, 6), sharex=True, layout="constrained")
for column, (axis, functions) in zip(panels.T, curves.items(), strict=True):
    for (name, function), style in zip(functions.items(), ("-", "--", ":"), strict=False):
        values, slopes = jax.jit(jax.vmap(jax.value_and_grad(function)))(steps)
        column[0].plot(steps, values, style, label=name)
        column[1].plot(steps, slopes, style, label=name)
    column[1].set_xlabel(axis)
    column[0].legend()
    column[0].set_title("a positive (y = 1)" if "logit" in axis else "regression")
for row, name in zip(panels, ("loss", "slope (gradient)"), strict=True):
    row[0].set_ylabel(name)
    row[1].set_ylim((0, 8) if name == "loss" else (-4, 4))
plt.show()

# %% [markdown]
# ## 6. Metrics (指标) are counts that add up
#
# First count, then add the counts of all batches (and devices, and hosts), then score once. A mean of the batches'
# scores is another number, and depends on how the data were cut into batches. The confusion matrix (混淆矩阵) is the
# count; mean IoU (平均交并比) is a score of it. The reference is scikit-learn on everything at once.

# %%
rng = np.random.default_rng(0)
labels = rng.choice(4, size=(12, 16, 16), p=(0.7, 0.2, 0.08, 0.02))
predictions = np.where(rng.random(labels.shape) < 0.25, rng.integers(0, 4, labels.shape), labels)
count_batch = jax.jit(lambda labels, predictions: metrics.confusion_matrix(labels, predictions, 4))

total = np.zeros((4, 4), np.int64)
batch_scores = []
for start in range(0, 12, 3):
    counts = count_batch(labels[start : start + 3], predictions[start : start + 3])
    total += np.asarray(counts, np.int64)
    batch_scores.append(float(metrics.mean_iou(counts)))
score = float(metrics.mean_iou(total))
print(f"mean IoU: {score:.4f} of the added counts, {np.mean(batch_scores):.4f} as the mean of four batches")

flat = labels.ravel(), predictions.ravel()
assert (total == sklearn.metrics.confusion_matrix(*flat)).all()
assert np.isclose(score, sklearn.metrics.jaccard_score(*flat, average="macro"))
assert not np.isclose(score, np.mean(batch_scores), atol=1e-4)

# %% [markdown]
# ## 7. State is an argument and a result
#
# Batch normalisation (批归一化; Ioffe and Szegedy 2015) has running statistics. In training, `apply` **returns** the new
# ones; those passed in stay what they were. In evaluation it reads them. Dropout (随机失活) draws from the key that you
# pass: the same key, the same zeros; and in evaluation it needs none. `train` has no default: it is always said.

# %%
norm, x = layers.BatchNorm(momentum=0.1), 3 + 2 * jax.random.normal(jax.random.key(4), (16, 8, 8, 2))
before = norm.init(jax.random.key(0), x, train=False)
y, updates = norm.apply(before, x, train=True, mutable=["batch_stats"])
print("running mean before", before["batch_stats"]["mean"], "and after", updates["batch_stats"]["mean"])
assert jnp.allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
assert jnp.allclose(y.var((0, 1, 2)), 1, atol=1e-3)
assert not before["batch_stats"]["mean"].any()  # nothing was changed in place
assert jnp.allclose(updates["batch_stats"]["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-4)

drop, ones = layers.Dropout(0.5), jnp.ones((4, 6))
draws = [drop.apply({}, ones, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 0, 1)]
assert jnp.array_equal(draws[0], draws[1])
assert not jnp.array_equal(draws[0], draws[2])
assert jnp.array_equal(drop.apply({}, ones, train=False), ones)

# %% [markdown]
# ## 8. What does a neuron see? Receptive fields (感受野)
#
# In **theory** a feature depends on $r = 1 + \sum_l d_l (k_l - 1) j_l$ pixels in a row, where $j_l$ is the product of the
# strides below layer $l$ (Araujo, Norris and Sim 2019). `inspect.receptive_fields` follows any network's program and
# gives that number, with branches, poolings and all.
#
# In **effect** the pixels in the middle count far more. The gradient of one feature with respect to the image says how
# much each pixel counts (Luo et al. 2016, *Understanding the Effective Receptive Field in Deep Convolutional Neural
# Networks*). For random weights its squares spread like a random walk (随机游走): every layer adds the variance of a
# uniform step over its taps,
#
# $$ \sigma^2 = \sum_l (d_l\, j_l)^2\, \frac{k_l^2 - 1}{12} , $$
#
# so the effective size grows as the **square root** of the depth, while the theoretical one grows with the depth.


# %%
def chain(windows):
    """Convolutions of 8 features with a ReLU each; a window is (kernel, stride, dilation)."""
    convs = [layers.Conv(8, k, s, d * (k // 2), d, use_bias=False) for k, s, d in windows]
    return nn.Sequential([part for conv in convs for part in (conv, nn.relu)])


def influence(network, size):
    """How much each pixel counts for the feature in the middle: squared gradients [size, size], of sum 1."""

    def squares(key):
        weights_key, image_key = jax.random.split(key)
        image = jax.random.normal(image_key, (1, size, size, 3))
        weights = network.init(weights_key, image)

        def middle(image):
            y = network.apply(weights, image)
            return y[0, y.shape[1] // 2, y.shape[2] // 2].sum()

        return (jax.grad(middle)(image)[0] ** 2).sum(-1)  # [size, size]

    keys = jax.random.split(jax.random.key(5), DRAWS)
    mean = jax.jit(lambda keys: jax.lax.map(squares, keys).mean(0))(keys)
    return np.asarray(mean / mean.sum())


def spread(influence):
    """Standard deviation along the rows, in pixels."""
    rows, pixels = influence.sum(1), np.arange(len(influence))
    return np.sqrt((rows * (pixels - rows @ pixels) ** 2).sum())


def walk(windows):
    """The same in theory."""
    jumps = np.cumprod([1, *(s for _, s, _ in windows)])[:-1]
    return np.sqrt(sum((d * j) ** 2 * (k * k - 1) / 12 for (k, _, d), j in zip(windows, jumps, strict=True)))


# %% [markdown]
# Solid: the field in theory. Dashed: two standard deviations. The last two pictures are equal, and that is no accident:
# with the same weights, a net with dilations 1, 2, 4, 8 computes at **every** pixel what the net with strides computes
# at every eighth. So dilation (also: *à trous*, with holes) gives dense maps with the field of a strided net (Yu and
# Koltun 2016; Chen et al. 2018, *DeepLab*, section 3.1).

# %%
nets = {
    "6 layers 3x3": [(3, 1, 1)] * 6,
    "3 layers 5x5": [(5, 1, 1)] * 3,
    "dilations 1, 2, 4, 8": [(3, 1, d) for d in (1, 2, 4, 8)],
    "strides 2, 2, 2, 1": [(3, s, 1) for s in (2, 2, 2, 1)],
}
SIZE = 48
pictures = {}
figure, panels = plt.subplots(1, 4, figsize=(14, 4), layout="constrained")
for axes, (name, windows) in zip(panels, nets.items(), strict=True):
    network, shape = chain(windows), jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    weights = jax.eval_shape(network.init, jax.random.key(0), shape)
    field = inspect.receptive_fields(lambda x, w, net=network: net.apply(w, x), shape, weights)
    assert field == ops.receptive_field([ops.Window(k, s, d * (k // 2), d) for k, s, d in windows]).size

    pictures[name] = seen = influence(network, SIZE)
    touched = np.argwhere(seen > 1e-10 * seen.max())  # a GPU's convolution may round a zero
    low, high = touched.min(0), touched.max(0)
    assert (high - low + 1 <= field).all()  # not one pixel beyond the theory
    assert np.isclose(spread(seen), walk(windows), rtol=0.3 if SMALL else 0.1)

    axes.imshow(np.sqrt(seen), cmap="cividis")
    axes.add_patch(plt.Rectangle(low - 0.5, *(high - low + 1), fill=False, color="white", lw=1.5))
    circle = plt.Circle((low + high) / 2, 2 * spread(seen), fill=False, color="white", lw=1.5, ls="--")
    axes.add_patch(circle)
    axes.set_title(f"{name}\nin theory {field[0]} pixels, 2σ = {2 * spread(seen):.1f}", fontsize=11)
    axes.set_xlabel("pixels")
plt.show()
assert np.allclose(*list(pictures.values())[2:], atol=1e-6)

# %% [markdown]
# Now the depth. Twice as many layers see twice as far in theory, but only $\sqrt 2$ times as far in effect. That is why
# networks have strides and dilations.

# %%
sizes, spreads, expected = [], [], []
for depth in DEPTHS:
    windows = [(3, 1, 1)] * depth
    sizes.append(ops.receptive_field([ops.Window(3, padding=1)] * depth).size[0])
    spreads.append(4 * spread(influence(chain(windows), 2 * max(DEPTHS) + 3)))
    expected.append(4 * walk(windows))
assert np.allclose(spreads, expected, rtol=0.3 if SMALL else 0.15)

plt.figure(figsize=(6.5, 4), layout="constrained")
plt.loglog(DEPTHS, sizes, "s-", label="in theory: 2 n + 1")
plt.loglog(DEPTHS, expected, "k--", label=r"random walk: $4\sigma = 4\sqrt{2n/3}$")
plt.loglog(DEPTHS, spreads, "o", color="C1", label="measured by gradients: 4σ")
plt.xticks(DEPTHS, DEPTHS)
plt.yticks([2, 5, 10, 20, 50], [2, 5, 10, 20, 50])
plt.minorticks_off()
plt.xlabel("layers n (3x3, stride 1)")
plt.ylabel("pixels in a row")
plt.title("Receptive field: what can count, and what does")
plt.grid(alpha=0.3)
plt.legend()
plt.show()

# %% [markdown]
# ## 9. What does a network cost?
#
# A row a layer: shape, parameters, multiply-accumulates (MACs; a FLOP count is twice that), memory of the activations
# (激活), receptive field. For a convolution of $C$ to $C'$ channels these are $k^2 C C' + C'$ parameters and
# $H' W' k^2 C C'$ MACs; a batch normalisation has $2 C'$ parameters.

# %%
stem = nn.Sequential(
    [
        layers.Conv(16, 3, padding=1),
        nn.relu,
        layers.Conv(32, 3, strides=2, padding=1),
        nn.relu,
        layers.DepthwiseConv(3, padding=1),
        layers.Conv(64, 1),
        lambda x: ops.global_average_pool(x),
        nn.Dense(10),
    ]
)
rows = inspect.summarize(stem, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
print(inspect.format_table(rows))

second = rows[1]
assert second.outputs == ((1, 16, 16, 32),)
assert second.parameters == 3 * 3 * 16 * 32 + 32
assert second.macs == 16 * 16 * 3 * 3 * 16 * 32
assert second.receptive_field == (5, 5)

# %% [markdown]
# ## 10. What is different from PyTorch
#
# | | PyTorch | here |
# |---|---|---|
# | parameters | live in the module | a tree of arrays, passed to `apply` |
# | running statistics | changed in place by `forward` | returned by `apply(..., mutable=["batch_stats"])` |
# | train or eval | `model.train()`, a hidden flag | `train=True`, an argument without default |
# | random numbers | one global generator | a key an operation; the same key gives the same numbers |
# | gradient | `loss.backward()` fills `p.grad` | `jax.grad(loss)(params)` returns a tree |
# | optimizer | changes the parameters | `update` returns new ones (Optax) |
# | layout (内存布局) | images `[N, C, H, W]`, kernels `[out, in, kh, kw]` | `[N, H, W, C]`, `[kh, kw, in, out]` |
# | padding, BatchNorm | | as PyTorch: explicit padding, momentum 0.1 is the weight of the new batch |
# | several devices | `DistributedDataParallel` | the same step under a sharded `jit`, or under `pmap` (notebook 06) |
#
# A weight of PyTorch is moved, not flipped: `weight.transpose(2, 3, 1, 0)`. Here is a weight in PyTorch's layout, and
# the cross-correlation that PyTorch calls convolution, computed by SciPy.

# %%
torch_weight = np.random.default_rng(1).normal(size=(4, 3, 5, 5))  # [out, in, kh, kw]
kernel = jnp.asarray(torch_weight, jnp.float32).transpose(2, 3, 1, 0)  # [kh, kw, in, out]
ours = ops.convolution(image, kernel, padding=2)[0]  # [32, 32, 4]
pixels = np.asarray(image[0], np.float64)
theirs = [sum(correlate2d(pixels[..., c], w[c], mode="same") for c in range(3)) for w in torch_weight]
assert np.allclose(ours, np.stack(theirs, -1), atol=1e-4)

# %% [markdown]
# ## What to keep
#
# 1. `init` draws, `apply` computes; state goes in and comes out.
# 2. `jit` compiles for a shape; the Python code runs once a shape.
# 3. `grad` and `vmap` work for everything, since everything is a function.
# 4. Losses are unreduced, metrics are counts: both add up over batches, devices and hosts.
# 5. A feature sees less than theory allows: the square root of the depth, not the depth.
#
# Next: 07 takes the convolution apart, 02 trains a classifier, 06 uses many devices.
