# %% [markdown]
# # Convolution explained (卷积详解)
#
# Every variant of the convolution drawn or animated, its arithmetic checked against the operation: correlation and
# convolution, padding, stride, dilation, groups, depthwise, 1x1, transposed, 1-D and 3-D, pooling and unpooling, patches.
# Then what a convolution promises, equivariance (等变性), how strides and borders break it, and how far it sees.
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
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display
from scipy.signal import convolve2d, correlate2d
from sklearn.datasets import load_sample_image

from jaxvision import inspect, layers, ops
from jaxvision.pictures import Grid, draw_grid, grid_animation

SMALL = bool(os.environ.get("SMALL"))  # set by the tests: the same claims, shorter animations, fewer settings
SIDE = 2 if SMALL else 3  # of the outputs that are animated, a frame a pixel
SHIFTS = range(0, 5, 2) if SMALL else range(9)

# A TPU multiplies in bfloat16 unless told otherwise. Here numbers are compared with references.
jax.config.update("jax_default_matmul_precision", "highest")
print(jax.devices())

photo = jnp.asarray(load_sample_image("china.jpg")[60:380, 160:480].mean(-1) / 255, jnp.float32)  # a temple
photo = ops.resize(photo[None, :, :, None], (96, 96), antialias=True)  # [1, 96, 96, 1]


def plane(x):
    """The first channel of the first image, [H, W]."""
    return np.asarray(x[0, ..., 0])


def show_grids(*grids):
    widths = [grid.values.shape[1] for grid in grids]
    heights = max(grid.values.shape[0] for grid in grids)
    size = (0.45 * sum(widths) + 0.8 * len(grids), 0.45 * heights + 0.5)
    panels = plt.subplots(1, len(grids), figsize=size, width_ratios=widths, layout="constrained")[1]
    for axes, grid in zip(panels, grids, strict=True):
        draw_grid(axes, grid)
    plt.show()


def show_images(pictures, *, size=2.4, **options):
    figsize = (size * len(pictures), size + 0.5)
    panels = plt.subplots(1, len(pictures), figsize=figsize, layout="constrained")[1]
    for axes, (title, picture) in zip(panels, pictures.items(), strict=True):
        axes.imshow(picture, interpolation="nearest", **options)
        axes.set_title(title, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    plt.show()


# %% [markdown]
# ## 1. What networks call convolution is a correlation
#
# The kernel (卷积核) $k$ slides over the image $x$, and at each place the products are added up. Mathematics flips the
# kernel in a convolution (卷积), and does not in a cross-correlation (互相关):
#
# $$ \text{correlation: } y_i = \sum_u x_{i+u}\, k_u \qquad\qquad \text{convolution: } y_i = \sum_u x_{i-u}\, k_u . $$
#
# Deep learning computes the first and calls it the second. It makes no difference to a network, which learns the kernel,
# flipped or not; it does to whoever carries a kernel over from signal processing. An impulse (脉冲) shows it: it gives
# the flipped kernel. The references are SciPy's two functions.

# %%
impulse = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(1.0)
kernel = jnp.arange(1.0, 10.0).reshape(3, 3, 1, 1)  # [kh, kw, in, out]
correlation = ops.convolution(impulse, kernel, padding=1)
convolution = ops.convolution(impulse, kernel[::-1, ::-1], padding=1)
assert np.array_equal(plane(correlation), correlate2d(plane(impulse), kernel[..., 0, 0], mode="same"))
assert np.array_equal(plane(convolution), convolve2d(plane(impulse), kernel[..., 0, 0], mode="same"))
show_grids(
    Grid(plane(impulse), title="an impulse"),
    Grid(np.asarray(kernel[..., 0, 0]), title="kernel"),
    Grid(plane(correlation), title="correlation (ops.convolution)"),
    Grid(plane(convolution), title="with the kernel flipped"),
)

# %% [markdown]
# A kernel is a question asked at every place: is it brighter to the right? A layer asks many questions at once, one an
# output channel (通道). Six of them by hand:

# %%
questions = {
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "mean": np.full((3, 3), 1 / 9),
    "brighter to the right": np.outer([1, 2, 1], [-1, 0, 1]),
    "brighter below": np.outer([-1, 0, 1], [1, 2, 1]),
    "unlike its neighbours": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "sharpened": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
}
bank = jnp.stack([jnp.asarray(k, jnp.float32) for k in questions.values()], -1)[:, :, None]  # [3, 3, 1, 6]
framed = jnp.pad(photo, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")  # zeros would be an edge all around
answers = ops.convolution(framed, bank)  # [1, 96, 96, 6]
to_the_right = correlate2d(plane(framed), bank[..., 0, 2], mode="valid")
assert np.allclose(answers[0, ..., 2], to_the_right, atol=1e-5)
show_images({name: answers[0, ..., i] for i, name in enumerate(questions)}, cmap="gray")

# %% [markdown]
# ## 2. Padding (填充), stride (步幅), dilation (空洞)
#
# Three numbers say where the window goes: $p$ zeros around the image, a step of $s$, and taps that are $d$ apart. On an
# axis of $n$ pixels a kernel of $k$ taps gives
#
# $$ m = \left\lfloor \frac{n + 2p - d(k-1) - 1}{s} \right\rfloor + 1 $$
#
# outputs. Output $i$ is the sum of $x_{s i + d u - p}\, k_u$ over $u$: that is asserted for every frame of the animations.
# Grey cells are padding; first with a stride of 2 and padding, then with a dilation of 2.


# %%
def animate(size, kernel, *, strides=1, padding=0, dilation=1):
    """A frame for each place of the window: padded image, kernel, output so far."""
    x = np.random.default_rng(0).integers(0, 4, (size, size))
    image, weights = jnp.asarray(x, jnp.float32)[None, :, :, None], jnp.asarray(kernel, jnp.float32)
    options = {"strides": strides, "padding": padding, "dilation": dilation}
    y = plane(ops.convolution(image, weights[:, :, None, None], **options))
    assert y.shape == ops.convolution_output_size((size, size), 3, **options)
    padded, border = np.pad(x, padding), np.pad(np.zeros(x.shape, bool), padding, constant_values=True)
    frames = []
    for place, (i, j) in enumerate(np.ndindex(y.shape)):
        marked, now = np.zeros(padded.shape, bool), np.arange(y.size).reshape(y.shape)
        marked[np.ix_(*(strides * at + dilation * np.arange(3) for at in (i, j)))] = True
        assert y[i, j] == (padded[marked].reshape(3, 3) * kernel).sum()
        seen = Grid(np.where(now <= place, y, np.nan), now == place, title=f"{size} pixels give {len(y)}")
        title = f"stride {strides}, padding {padding}, dilation {dilation}"
        frames.append([Grid(padded, marked, border, title), Grid(kernel, title="kernel"), seen])
    return grid_animation(frames)


cross = np.array([[0, 1, 0], [1, -2, 1], [0, 1, 0]])
display(Image(data=animate(2 * SIDE - 1, cross, strides=2, padding=1), format="gif"))
display(Image(data=animate(SIDE + 4, cross, dilation=2), format="gif"))

# %% [markdown]
# How much padding? **Valid**: none, and $m = n - k + 1$. **Same**: $p = (k-1)/2$ keeps the size at stride 1. **Full**:
# $p = k - 1$, every place where the kernel meets the image. With a stride, TensorFlow's "SAME" pads as little as gives
# $\lceil n/s \rceil$ outputs, and the odd zero at the **end**; PyTorch's networks pad both sides alike. The sizes agree,
# the places do not: weights that were trained with one see the image a pixel off with the other.

# %%
length, taps = 8, 3
signal = jax.random.normal(jax.random.key(0), (1, length, 1))
weights = jax.random.normal(jax.random.key(1), (taps, 1, 1))
choices = {
    "valid": (((0, 0),), 1),
    "same": (((1, 1),), 1),
    "full": (((2, 2),), 1),
    "stride 2, both sides alike (PyTorch)": (((1, 1),), 2),
    '"SAME" with stride 2 (TensorFlow)': (ops.ceil_padding((length,), (taps,), strides=(2,)), 2),
}
outputs = {}
figure, panels = plt.subplots(1, 5, figsize=(15, 3), sharey=True, layout="constrained")
for axes, (name, (padding, stride)) in zip(panels, choices.items(), strict=True):
    outputs[name] = ops.convolution(signal, weights, strides=(stride,), padding=padding)[0, :, 0]
    for i in range(len(outputs[name])):
        places = stride * i - padding[0][0] + np.arange(taps)
        inside = (places >= 0) & (places < length)
        axes.plot(places, np.full(taps, i), color="C0", lw=3, alpha=0.4)
        axes.plot(places[inside], np.full(inside.sum(), i), "o", color="C0", ms=5)
        axes.plot(places[~inside], np.full((~inside).sum(), i), "x", color="C1", ms=6)
    axes.axvspan(-0.5, length - 0.5, color="0.93", zorder=0)
    axes.set_title(f"{name}\n{length} pixels give {len(outputs[name])}", fontsize=9)
    axes.set_xticks(range(-2, 10, 2))
    axes.set_xlabel("pixel (× is padding)")
panels[0].set_ylabel("output")
plt.show()
torch_like, tensorflow_like = list(outputs.values())[3:]
assert torch_like.shape == tensorflow_like.shape
assert not jnp.allclose(torch_like, tensorflow_like)

# %% [markdown]
# Dilation sees far for nothing, but not every pixel: the gradient (梯度) of an output with respect to the image tells
# which pixels it uses, and in how many ways. Three layers of dilation 2 leave holes, the gridding effect (网格效应; Wang et
# al. 2018, *Understanding Convolution for Semantic Segmentation*, section 3.2). Dilations 1, 2, 3 see as far, and everything.


# %%
def ways(dilations, size=15):
    """In how many ways each pixel reaches the output in the middle of 3x3 layers [size, size]."""

    def middle(x):
        for d in dilations:
            x = ops.convolution(x, jnp.ones((3, 3, 1, 1)), padding=d, dilation=d)
        return x[0, size // 2, size // 2, 0]

    return plane(jax.jit(jax.grad(middle))(jnp.zeros((1, size, size, 1))))


counted = {}
for dilations in ((1, 1, 1), (2, 2, 2), (1, 2, 3)):
    (field, _) = ops.receptive_field([ops.Window(3, padding=d, dilation=d) for d in dilations]).size
    paths = ways(dilations)
    used = int((paths > 0.5).sum())
    counted[f"dilations {dilations}: {used} of {field}x{field} pixels"] = paths
    assert used == {(1, 1, 1): 49, (2, 2, 2): 49, (1, 2, 3): 169}[dilations]
show_images(counted, size=3.4, cmap="cividis")

# %% [markdown]
# ## 3. Groups (分组), depthwise (逐深度), 1x1 (逐点)
#
# A dense convolution mixes all channels at every tap: $k^2 C C'$ weights. In $g$ groups each output sees the channels of
# its own group: $k^2 C C' / g$. With $g = C$ each channel is alone, a depthwise convolution; and a 1x1 convolution sees
# one pixel and all channels, a matrix product a pixel. The two after each other are a depthwise separable convolution
# (深度可分离卷积; Howard et al. 2017, *MobileNets*, section 3.1), which costs $1/C' + 1/k^2$ of the dense one.
#
# What an output channel reads, asked of the Jacobian (雅可比矩阵) at one place:

# %%
CHANNELS = 8
variants = {
    "dense 3x3": layers.Conv(CHANNELS, 3, padding=1, use_bias=False),
    "2 groups": layers.Conv(CHANNELS, 3, padding=1, groups=2, use_bias=False),
    "depthwise": layers.DepthwiseConv(3, padding=1, use_bias=False),
    "1x1": layers.Conv(CHANNELS, 1, use_bias=False),
    "depthwise, 1x1": nn.Sequential(
        [layers.DepthwiseConv(3, padding=1, use_bias=False), layers.Conv(CHANNELS, 1, use_bias=False)]
    ),
}
x = jax.random.normal(jax.random.key(2), (1, 5, 5, CHANNELS))
read, cost = {}, {}
for name, layer in variants.items():
    weights = layer.init(jax.random.key(3), x)
    slopes = jax.jit(jax.jacrev(lambda x, w, layer=layer: layer.apply(w, x)[0, 2, 2]))(x, weights)[:, 0]
    total = inspect.total(inspect.summarize(layer, x))
    cost[name] = total.parameters
    assert total.macs == 5 * 5 * total.parameters  # no bias: each weight is used once an output pixel
    pixels = int((jnp.abs(slopes).max((0, 3)) > 1e-6).sum())  # of slopes [out, 5, 5, in]
    read[f"{name}\n{total.parameters} weights, {pixels} pixel(s)"] = jnp.abs(slopes).max((1, 2))
show_images(read, cmap="Greys", vmin=0, vmax=0.6)
print("rows: outputs, columns: the inputs that they read")
assert list(cost.values()) == [9 * 64, 9 * 64 // 2, 9 * 8, 64, 9 * 8 + 64]
assert np.isclose(cost["depthwise, 1x1"] / cost["dense 3x3"], 1 / CHANNELS + 1 / 9)

# %% [markdown]
# Both equalities hold to the digit: a 1x1 convolution **is** a matrix product over the channels, and a separable one is
# the dense one whose kernel is a product, $K_{uvco} = D_{uvc} P_{co}$. It is cheap because most kernels are no product.

# %%
spatial = jax.random.normal(jax.random.key(4), (3, 3, 1, CHANNELS))
pointwise = jax.random.normal(jax.random.key(5), (1, 1, CHANNELS, 4))
by_matrix = x @ pointwise[0, 0]
assert jnp.allclose(ops.convolution(x, pointwise), by_matrix, atol=1e-5)
in_two_steps = ops.convolution(ops.convolution(x, spatial, padding=1, groups=CHANNELS), pointwise)
product = spatial[:, :, 0, :, None] * pointwise  # [3, 3, 8, 4]
assert jnp.allclose(in_two_steps, ops.convolution(x, product, padding=1), atol=1e-4)

# %% [markdown]
# ## 4. A convolution is a matrix
#
# In two ways. **Patches (图像块) times kernel**, im2col: lay the pixels under the window in a row, one row a place, and
# multiply by the kernel as a matrix. That is how a convolution becomes fast. **One large matrix $A$**: it is linear in
# the image, $\operatorname{vec}(y) = A \operatorname{vec}(x)$, and each row holds the same weights, moved on (a Toeplitz
# matrix). A dense layer of this size would have as many weights as the picture has cells.

# %%
kernel = jax.random.normal(jax.random.key(6), (3, 3, CHANNELS, 4))
patches = ops.unfold(x, 3, strides=2, padding=1)  # [1, 3, 3, 9 * 8]
assert jnp.allclose(
    patches @ kernel.reshape(-1, 4), ops.convolution(x, kernel, strides=2, padding=1), atol=1e-4
)

ramp = jnp.arange(1.0, 4.0)


def as_matrix(kernel, size, **options):
    """The matrix of a convolution of images of one channel, outputs by inputs, and the function."""
    function = jax.jit(lambda v: ops.convolution(v.reshape(1, *size, 1), kernel, **options).ravel())
    return np.asarray(jax.jacfwd(function)(jnp.zeros(np.prod(size)))), function


ramp2 = jnp.arange(1.0, 10.0).reshape(3, 3, 1, 1)
matrices = {}
for name, settings in {
    "1-D: 12 to 12": (ramp.reshape(3, 1, 1), (12,), {"padding": ((1, 1),)}),
    "1-D, stride 2: 12 to 6": (ramp.reshape(3, 1, 1), (12,), {"padding": ((1, 1),), "strides": (2,)}),
    "2-D: 6x6 to 6x6": (ramp2, (6, 6), {"padding": 1}),
    "2-D, stride 2: 6x6 to 3x3": (ramp2, (6, 6), {"padding": 1, "strides": 2}),
}.items():
    matrices[name], function = as_matrix(settings[0], settings[1], **settings[2])
    v = jax.random.normal(jax.random.key(7), (matrices[name].shape[1],))
    assert np.allclose(matrices[name] @ v, function(v), atol=1e-4)
show_images(matrices, size=3.2, cmap="cividis")

# %% [markdown]
# ## 5. Transposed convolution (转置卷积)
#
# The transpose $A^\top$ of that matrix goes from small to large, with the same kernel. It is what carries gradients back
# through a convolution, and a layer of its own: each input pixel lays its multiple of the kernel down, $s$ pixels further
# than its neighbour's. It is the **adjoint** (伴随), not the inverse:
#
# $$ \langle A x,\, y \rangle = \langle x,\, A^\top y \rangle \quad \text{for all } x, y, \qquad
#    n = (m - 1) s - 2p + d(k - 1) + 1 + \text{extra} . $$
#
# Several sizes $n$ become one $m$ at a stride; `output_padding`, the extra, says which was meant.

# %%
settings = [
    (3, 1, 1, 1, 7),
    (3, 2, 1, 1, 8),
    (4, 2, 1, 1, 8),
    (2, 2, 0, 1, 7),
    (3, 3, 0, 2, 10),
    (5, 2, 2, 1, 9),
]
for k, s, p, d, n in settings[1:5:2] if SMALL else settings:
    options = {"strides": s, "padding": p, "dilation": d}
    (m, _) = ops.convolution_output_size((n, n), k, **options)
    extra = n - ops.transposed_convolution_output_size((m, m), k, **options)[0]
    keys = jax.random.split(jax.random.key(n), 3)
    x, y = jax.random.normal(keys[0], (2, n, n, 3)), jax.random.normal(keys[1], (2, m, m, 4))
    kernel = jax.random.normal(keys[2], (k, k, 3, 4))
    forward, pull = jax.vjp(lambda x, k=kernel, o=options: ops.convolution(x, k, **o), x)
    back = ops.transposed_convolution(y, kernel.swapaxes(2, 3), output_padding=extra, **options)
    assert back.shape == x.shape
    assert jnp.allclose(jnp.vdot(forward, y), jnp.vdot(x, back), rtol=1e-3, atol=1e-3)
    assert jnp.allclose(pull(y)[0], back, atol=1e-4)  # what grad computes
    print(f"kernel {k} stride {s} padding {p} dilation {d}: {n} -> {m} -> {n}, output_padding {extra}")

# %% [markdown]
# Animated with a stride of 2: the kernels overlap where 3 is no multiple of 2, and some pixels get more than others.

# %%
ones = jnp.ones((3, 3, 1, 1))
small = jnp.asarray(np.random.default_rng(1).integers(1, 5, (1, SIDE, SIDE, 1)), jnp.float32)
sums = plane(ops.transposed_convolution(small, ones, strides=2))
order, laid, frames = np.arange(SIDE**2).reshape(SIDE, SIDE), np.zeros(sums.shape), []
for place, (i, j) in enumerate(np.ndindex(SIDE, SIDE)):
    marked = np.zeros(sums.shape, bool)
    marked[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] = True
    laid = laid + marked * small[0, i, j, 0]
    title = f"{SIDE} pixels give {len(sums)}: stride 2, kernel of ones"
    frames.append([Grid(plane(small), order == place, title="image"), Grid(laid, marked, title=title)])
assert np.array_equal(laid, sums)
display(Image(data=grid_animation(frames), format="gif"))

# %% [markdown]
# That is the checkerboard (棋盘格伪影; Odena et al. 2016, *Deconvolution and Checkerboard Artifacts*, Distill): an image of
# ones and a kernel of ones show how often each pixel is written. Cures: a kernel size that the stride divides, or
# resize first and convolve then.

# %%
flat = jnp.ones((1, 6, 6, 1))
boards = {
    f"kernel {k}, stride 2": plane(ops.transposed_convolution(flat, jnp.ones((k, k, 1, 1)), strides=2))
    for k in (3, 5, 4)
}
larger = ops.resize(flat, (12, 12), method="nearest")
boards["resize, then 3x3"] = plane(ops.convolution(larger, jnp.ones((3, 3, 1, 1))))
show_images(boards, size=2.8, cmap="cividis", vmin=0)
uneven = {name: float(board[4:-4, 4:-4].std() / board[4:-4, 4:-4].mean()) for name, board in boards.items()}
print("unevenness away from the border:", {name: round(value, 3) for name, value in uneven.items()})
assert [value > 0.1 for value in uneven.values()] == [True, True, False, False]

# %% [markdown]
# ## 6. One, two and three axes
#
# The kernel's rank says over what it slides: sequences `[N, T, C]`, images `[N, H, W, C]`, video `[N, T, H, W, C]`. A
# **causal** (因果) convolution of a sequence pads at the front alone, so that no output sees the future; the gradient
# proves it. A kernel over time sees motion, and nothing where all stands still.

# %%
time = jnp.linspace(0, 4 * jnp.pi, 200)
noisy = jnp.sin(time) + 0.4 * jax.random.normal(jax.random.key(8), time.shape)
mean15 = jnp.full((15, 1, 1), 1 / 15)


@jax.jit
def causal(v):
    return ops.convolution(v[None, :, None], mean15, padding=((14, 0),))[0, :, 0]


centred = ops.convolution(noisy[None, :, None], mean15, padding=((7, 7),))[0, :, 0]
future = jnp.triu(jax.jacfwd(causal)(noisy), 1)  # slopes of output t in inputs after t
assert jnp.abs(future).max() < 1e-6
assert jnp.allclose(causal(noisy)[14:], centred[7:-7], atol=1e-5)  # the same means, seven steps later
plt.figure(figsize=(9, 3), layout="constrained")
plt.plot(time, noisy, color="0.75", label="signal")
plt.plot(time, centred, "--", label="mean of 15, centred")
plt.plot(time, causal(noisy), label="mean of 15, causal: later")
plt.xlabel("time")
plt.ylabel("value")
plt.legend(loc="lower left")
plt.show()

square = np.zeros((1, 5, 16, 16, 1), np.float32)
for t in range(5):
    square[0, t, 5:10, 2 * t : 2 * t + 5] = 1  # moves to the right
    square[0, t, 12:15, 12:15] = 0.5  # stands
change = jnp.array([-1.0, 1.0]).reshape(2, 1, 1, 1, 1)  # [kt, kh, kw, in, out]
motion = ops.convolution(jnp.asarray(square), change)  # [1, 4, 16, 16, 1]
assert motion.shape[1:4] == ops.convolution_output_size((5, 16, 16), (2, 1, 1))
assert jnp.abs(motion[0, :, 12:15, 12:15]).max() < 1e-6
video = {f"image {t}": square[0, t, ..., 0] for t in (0, 2, 4)}
show_images(video | {f"change after {t}": motion[0, t, ..., 0] for t in (0, 3)}, cmap="gray", vmin=-1, vmax=1)

# %% [markdown]
# ## 7. Pooling and unpooling (池化与反池化)
#
# Max pooling keeps the largest pixel of each window. Its index says where that was: unpooling puts it back there, zeros
# elsewhere (Zeiler and Fergus 2014, section 2.1; SegNet's decoder does it). Mean pooling is a depthwise convolution with
# equal weights, no more.

# %%
x = jnp.asarray(np.random.default_rng(2).permutation(16).reshape(1, 4, 4, 1), jnp.float32)
best, index = ops.max_pool_with_indices(x, 2)
back = ops.max_unpool(best, index, 4)
assert (plane(x).ravel()[plane(index)] == plane(best)).all()
assert jnp.array_equal(ops.max_pool(back, 2), best)
quarter = jnp.full((2, 2, 1, 1), 0.25)
assert jnp.allclose(ops.average_pool(photo, 2), ops.convolution(photo, quarter, strides=2), atol=1e-6)
show_grids(
    Grid(plane(x), plane(back) > 0, title="image"),
    Grid(plane(best), title="maxima"),
    Grid(plane(index), title="their indices"),
    Grid(plane(back), plane(back) > 0, title="unpooled"),
)

best, index = ops.max_pool_with_indices(photo, 4)
pooled = {"photograph": photo, "max 4x4": best, "mean 4x4": ops.average_pool(photo, 4)}
pooled |= {
    "root of the squares' sum": ops.lp_pool(photo, 4, p=2.0),
    "unpooled": ops.max_unpool(best, index, 96),
}
show_images({name: plane(picture) for name, picture in pooled.items()}, cmap="gray")

# %% [markdown]
# ## 8. Patches and pixels
#
# Two more equalities, often met. The patch embedding of a vision transformer (Dosovitskiy et al. 2021, section 3.1) is a
# convolution whose stride is its kernel. And a transposed convolution whose stride is its kernel is a 1x1 convolution
# and a **pixel shuffle** (像素重排; Shi et al. 2016, section 2.2): channels become blocks of pixels.

# %%
colours = jax.random.normal(jax.random.key(9), (1, 8, 8, 3))
embed = jax.random.normal(jax.random.key(10), (4, 4, 3, 5))
tokens = ops.extract_patches(colours, 4) @ embed.reshape(-1, 5)  # [1, 4, 5]
assert jnp.allclose(tokens, ops.convolution(colours, embed, strides=4).reshape(1, 4, 5), atol=1e-4)

up = jax.random.normal(jax.random.key(11), (2, 2, 3, 5))  # [kh, kw, in, out]
to_blocks = up.transpose(2, 3, 0, 1).reshape(1, 1, 3, 5 * 2 * 2)  # channels in the order (out, kh, kw)
shuffled = ops.pixel_shuffle(ops.convolution(colours, to_blocks), 2)
assert jnp.allclose(shuffled, ops.transposed_convolution(colours, up, strides=2), atol=1e-4)
channels = jnp.arange(1.0, 5.0).reshape(1, 1, 1, 4) + 10 * jnp.arange(1.0, 4.0).reshape(1, 1, 3, 1)
show_grids(
    *(Grid(np.asarray(channels[0, ..., i]), title=f"channel {i}") for i in range(4)),
    Grid(plane(ops.pixel_shuffle(channels, 2)), title="shuffled"),
)

# %% [markdown]
# ## 9. Equivariance, and how it breaks
#
# Let $T_d$ move an image by $d$ pixels. A convolution at stride 1 has $f(T_d x) = T_d f(x)$: **translation equivariance**
# (平移等变性). What it knows of a cat on the left it knows of a cat on the right. It holds exactly if the image goes
# round (circular padding). Zero padding tells the border from the middle, and the error creeps in by one pixel a layer.


# %%
def three_layers(x, mode):
    for key in jax.random.split(jax.random.key(12), 3):
        kernel = jax.random.normal(key, (3, 3, x.shape[-1], 6)) / jnp.sqrt(9.0 * x.shape[-1])
        x = jax.nn.relu(ops.convolution(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode), kernel))
    return x


moved, errors = jnp.roll(photo, 8, axis=2), {}
for mode, name in (("wrap", "circular padding"), ("constant", "zero padding")):
    features = jax.jit(three_layers, static_argnums=1)
    error = jnp.abs(features(moved, mode) - jnp.roll(features(photo, mode), 8, axis=2)).max((0, 3))
    errors[f"{name}: largest error {float(error.max()):.3f}"] = error
circular, zeros = errors.values()
assert circular.max() < 1e-5
assert zeros.max() > 0.01
assert zeros[:, 11:-3].max() < 1e-5  # exact beyond three pixels of the seam, which lies at 0 and, moved, at 8
assert zeros[:, :3].max() > 0.01
show_images(
    {"moved by 8 (half as bright)": plane(moved) / 2} | errors, size=3.2, cmap="magma", vmin=0, vmax=0.5
)

# %% [markdown]
# A **stride** $s$ samples every $s$-th place, so only shifts by multiples of $s$ move the output by whole places; after
# any other shift the outputs are other numbers. The mean over all places should be **invariant** (平移不变性), and with
# circular padding it is, unless a stride skips pixels. Max pooling is no cure: `0 0 1 1 0 0 1 1` pools to `0 1 0 1`, and
# moved by one pixel to `1 1 1 1` (Zhang 2019, *Making Convolutional Networks Shift-Invariant Again*, section 3). A blur
# before the sampling is, mostly.

# %%
blur = jnp.outer(row := jnp.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16, row)[:, :, None, None]
edges = jax.random.normal(jax.random.key(13), (3, 3, 1, 16))


@jax.jit
def mean_features(x):
    """Means over all places of 16 features, sampled in several ways."""
    x = jax.nn.relu(ops.convolution(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap"), edges))
    ring = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="wrap")
    smooth = ops.convolution(ring, jnp.tile(blur, (1, 1, 1, 16)), groups=16)
    ways = {"stride 1": x, "stride 2": x[:, ::2, ::2], "stride 4": x[:, ::4, ::4]}
    ways |= {"max pooling 4x4": ops.max_pool(x, 4), "blur, then stride 4": smooth[:, ::4, ::4]}
    return {name: ops.global_average_pool(features) for name, features in ways.items()}


still = mean_features(photo)
changes = {
    name: [] for name in ("stride 1", "stride 2", "stride 4", "max pooling 4x4", "blur, then stride 4")
}
assert changes.keys() == still.keys()
for shift in SHIFTS:
    for name, means in mean_features(jnp.roll(photo, shift, axis=2)).items():
        changes[name].append(float(jnp.linalg.norm(means - still[name]) / jnp.linalg.norm(still[name])))
pairs = jnp.array([0.0, 0, 1, 1, 0, 0, 1, 1])[None, :, None]
assert ops.max_pool(pairs, (2,)).ravel().tolist() == [0, 1, 0, 1]
assert ops.max_pool(jnp.roll(pairs, 1, axis=1), (2,)).ravel().tolist() == [1, 1, 1, 1]
at = {name: dict(zip(SHIFTS, values, strict=True)) for name, values in changes.items()}
assert max(changes["stride 1"]) < 1e-5
assert at["stride 2"][2] < 1e-5 < at["stride 4"][2]  # 2 is a multiple of 2, and none of 4
assert at["stride 4"][4] < 1e-5
assert at["blur, then stride 4"][2] < at["stride 4"][2] / 2

plt.figure(figsize=(8, 3.5), layout="constrained")
for (name, values), marker in zip(changes.items(), "os^Dv", strict=True):
    plt.plot(SHIFTS, 100 * np.array(values), marker=marker, label=name)
plt.xticks(SHIFTS)
plt.xlabel("image moved by (pixels)")
plt.ylabel("change of the mean features (%)")
plt.title("What a stride does to invariance")
plt.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# ## 10. How far it sees: receptive fields (感受野)
#
# Stacks of 3x3 layers grow the field by 2 pixels a layer. Strides (or poolings) multiply what every later layer adds;
# dilations that double do the same without losing places. `ops.receptive_field` has the formula,
# `inspect.receptive_fields` follows any network's own program: for each stack both are asked. How much of the field
# counts is another matter: see notebook 01, section 8.

# %%
stacks = {
    "3x3": lambda i: [ops.Window(3, padding=1)],
    "two 3x3, then pooling 2x2 (VGG)": lambda i: [ops.Window(3, padding=1)] * 2 + [ops.Window(2, strides=2)],
    "3x3, stride 2": lambda i: [ops.Window(3, strides=2, padding=1)],
    "3x3, dilation 1, 2, 4, ...": lambda i: [ops.Window(3, padding=2**i, dilation=2**i)],
}


def run_stack(x, windows):
    for k, stride, padding, dilation in windows:
        kernel = jnp.ones((k, k, 1, 1))
        x = ops.convolution(x, kernel, strides=stride, padding=padding, dilation=dilation)
    return x


plt.figure(figsize=(7.5, 4), layout="constrained")
for (name, part), marker in zip(stacks.items(), "os^D", strict=True):
    fields, windows = [1], []
    for i in range(6):
        windows += part(i)
        fields.append(ops.receptive_field(windows).size[0])
    image = jax.ShapeDtypeStruct((1, 256, 256, 1), jnp.float32)
    assert inspect.receptive_fields(lambda x, w=windows: run_stack(x, w), image) == (fields[-1],) * 2
    look = (
        {"marker": marker, "ms": 10, "mfc": "none", "ls": "--"} if "dilation" in name else {"marker": marker}
    )
    plt.semilogy(range(7), fields, base=2, label=f"{name}: {fields[-1]} pixels", **look)
plt.xlabel("repetitions")
plt.ylabel("receptive field (pixels in a row)")
plt.yticks(2 ** np.arange(9), 2 ** np.arange(9))
plt.title("Growth of the receptive field")
plt.grid(alpha=0.3)
plt.legend()
plt.show()

# %% [markdown]
# ## The arithmetic on one page
#
# An axis of $n$ pixels, $C$ to $C'$ channels, $k \times k$ taps, padding $p$, stride $s$, dilation $d$, $g$ groups:
#
# | | output $m$ | weights | multiply-accumulates (乘加运算) |
# |---|---|---|---|
# | convolution | $\lfloor (n + 2p - d(k-1) - 1)/s \rfloor + 1$ | $k^2 C C' / g$ | $m^2 k^2 C C' / g$ |
# | depthwise, then 1x1 | the same | $k^2 C + C C'$ | $m^2 (k^2 C + C C')$ |
# | transposed | $(n-1)s - 2p + d(k-1) + 1 + \text{extra}$ | $k^2 C C' / g$ | $n^2 k^2 C C' / g$ |
# | pooling | as a convolution | 0 | 0 |
#
# References: Dumoulin and Visin 2016, *A guide to convolution arithmetic for deep learning*; Araujo, Norris and Sim 2019,
# *Computing Receptive Fields of Convolutional Neural Networks*, Distill; and those in the text.
