# %% [markdown]
# # Many devices: one program, shared (多设备并行)
#
# What is learned here: where arrays lie; one training step placed in four ways (one device, a sharded
# `jit`, `pmap`, FSDP, 全分片数据并行) with the same result; what the compiler lets devices send each other;
# synced and local batch normalisation (批归一化); and what saves memory: sharded state, accumulation
# (梯度累积), bfloat16 (脑浮点), recomputation (重计算), donation (内存捐赠). At the end: what a TPU does
# differently, and how to start several processes.
#
# One to three minutes on two CPU cores. On a TPU or GPU it takes what devices there are, and one will do; a
# CPU is split into eight virtual devices (虚拟设备), which make nothing faster but behave like eight.
# Nothing is downloaded.

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

# %% settings
import os

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")  # must be said before JAX starts: restart to change it

import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision import backbones, core, data, layers, tasks, training, zoo

SMALL = bool(os.environ.get("SMALL"))  # the tests' size
jax.config.update("jax_default_matmul_precision", "highest")  # or a TPU's rounding would hide what is equal
plt.style.use("tableau-colorblind10")
plt.rcParams["figure.dpi"] = 100
DEVICES = jax.devices()
N = len(DEVICES)
print(N, "devices:", DEVICES)

# %% [markdown]
# ## 1. Where arrays lie
#
# A mesh (设备网格) names the axes of an arrangement of devices; here it has one axis, `data`. A sharding
# (分片) says how the axes of an array go over the axes of the mesh: a batch is cut along its first axis,
# parameters are copied to every device (replicated, 复制), or cut as well. The array stays one array to the
# program.

# %% three layouts
mesh = training.make_placement("jit").mesh
LAYOUTS = {
    "a batch: cut along N": PartitionSpec("data"),
    "parameters: a copy each": PartitionSpec(),
    "FSDP: cut along the second axis": PartitionSpec(None, "data"),
}
SIDE = 8 if 8 % N == 0 else N
blank = np.zeros((SIDE, SIDE))
arrays = {name: jax.device_put(blank, NamedSharding(mesh, spec)) for name, spec in LAYOUTS.items()}
jax.debug.visualize_array_sharding(arrays["a batch: cut along N"])

figure, panels = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
for axes, (name, array) in zip(panels, arrays.items(), strict=True):
    owners = np.zeros((SIDE, SIDE))
    for shard in array.addressable_shards:
        owners[shard.index] = 0 if array.is_fully_replicated else shard.device.id
    shards = array.addressable_shards[:1] if array.is_fully_replicated else array.addressable_shards
    everywhere = f"all {N} devices" if N > 1 else "the one device"
    axes.imshow(owners, cmap="tab10" if N <= 10 else "tab20", vmin=0, vmax=9 if N <= 10 else 19)
    for shard in shards:
        rows, columns = (slice(*part.indices(SIDE)) for part in shard.index)
        middle = (columns.start + columns.stop - 1) / 2, (rows.start + rows.stop - 1) / 2
        text = everywhere if array.is_fully_replicated else str(shard.device.id)
        axes.annotate(text, middle, ha="center", va="center", color="white", fontsize=9)
    axes.set(title=name, xticks=[], yticks=[])
    axes.title.set_fontsize(10)
plt.show()

# %% [markdown]
# ## 2. One step, four placements
#
# A training step is a pure function `(state, batch) -> (state, metrics)`. A placement decides where it
# runs:
#
# * **one device**: nothing to share;
# * **jit** (the default): the batch is sharded, the program is that of one device on the whole batch, and
#   the compiler adds the communication (通信);
# * **pmap**: one program a device on its part of the batch; the step itself sums gradients (梯度) over the
#   axis `data`;
# * **FSDP** (Rajbhandari et al. 2020, *ZeRO*, stage 3): as jit, and each device holds only
#   a part of every large array of parameters and of the optimizer's state.
#
# Data parallelism (数据并行) must not change what is learned: after five steps all four have the same
# parameters. The last example of each batch is padding and does not count, so devices have different
# numbers of examples; dividing by each device's own number would be wrong.

# %% a small residual network on scikit-learn's digits
BATCH, STEPS = 32, 5
digits = data.digit_images("train")
images = (
    np.stack([digits[n]["image"] for n in range(BATCH * STEPS)]).astype(np.float32) / 127.5 - 1
)  # [.., 8, 8, 3]
labels = np.array([digits[n]["label"] for n in range(BATCH * STEPS)], np.int32)
batches = [
    {"images": part, "labels": label, "where": np.arange(BATCH) < BATCH - 1}
    for part, label in zip(np.split(images, STEPS), np.split(labels, STEPS), strict=True)
]


def make_task(axis_name=None, *, norm=None, dtype=None):
    norm = norm or functools.partial(layers.BatchNorm, axis_name=axis_name)
    backbone = backbones.CifarResNet((1, 1), (16, 32), norm=norm, dtype=dtype)
    model = backbones.PooledClassifier(backbone, num_classes=10, feature="c2", dtype=dtype)
    return tasks.classification_task(
        model, tasks.ClassificationLossOptions().build(10), num_classes=10, image_size=(8, 8)
    )


def run(placement, task, *, optimizer=None, batches=batches):
    """Some steps; the compiled step, the state at the end as numpy arrays, the losses."""
    optimizer = optimizer or optax.sgd(0.05, momentum=0.9)
    state = placement.place(training.create_train_state(task, optimizer, seed=0))
    step = training.compile_step(task, optimizer, placement)
    losses = []
    for batch in batches:
        state, metrics = step(state, placement.shard(batch))
        losses.append(float(np.ravel(training.host_values(metrics["loss"]))[0]))
    return step, placement.fetch(state), losses


def difference(tree, other):
    """The largest difference of two trees of numpy arrays."""
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max()), tree, other)))


# %% the same parameters
PLACEMENTS = {
    "one device": training.make_placement("jit", devices=DEVICES[:1]),
    "jit": training.make_placement("jit"),
    "pmap": training.make_placement("pmap"),
    "fsdp": training.make_placement("fsdp"),
}
steps, states = {}, {}
for name, placement in PLACEMENTS.items():
    steps[name], states[name], losses = run(placement, make_task(placement.axis_name))
    apart = difference(states[name].params, states["one device"].params)
    print(f"{name:10} losses {np.round(losses, 4).tolist()}, parameters differ by {apart:.1e}")
    assert apart < 1e-4
    assert difference(states[name].model_state, states["one device"].model_state) < 1e-4

# %% [markdown]
# ## 3. What devices send
#
# The compiled program tells: an all-reduce (全归约) sums arrays over the devices, an all-gather (全收集)
# puts parts together, a reduce-scatter (归约分散) sums and leaves each device its part. With rings, an
# all-reduce of $b$ bytes on $n$ devices makes each send $2 \frac{n-1}{n} b$ (Patarasuk and Yuan 2009).
# Gradients must be summed, whatever is done; batch normalisation adds some small sums in the middle of the
# network.

# %% collectives
gradient_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(states["one device"].params))
print(
    f"parameters: {core.count_parameters(states['one device'].params):,}, gradients {gradient_bytes:,} bytes"
)
sent = {}
for name, step in steps.items():
    found = training.count_collectives(step.program_text(), num_devices=N)
    kinds = sorted({collective.kind for collective in found})
    counts = {kind: sum(collective.kind == kind for collective in found) for kind in kinds}
    sent[name] = sum(training.sent_bytes(collective, N) for collective in found)
    print(f"{name:10} sends {sent[name]:9,.0f} bytes a device and step: {counts or 'nothing'}")
assert sent["one device"] == 0
assert N == 1 or sent["jit"] >= 2 * (N - 1) / N * gradient_bytes
figure, axes = plt.subplots(figsize=(6, 2.4), layout="constrained")
axes.barh(list(sent), [size / 2**10 for size in sent.values()])
axes.axvline(
    2 * (N - 1) / N * gradient_bytes / 2**10, color="0.3", linestyle="--", label="one sum of the gradients"
)
axes.invert_yaxis()
axes.set(title=f"sent by each of {N} devices in a step", xlabel="KiB")
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# FSDP gathers the large arrays where the network needs them. Its gradients go by reduce-scatter where the
# compiler makes one of an all-reduce and a cut; that of a CPU leaves the all-reduce.
#
# Virtual CPU devices do not overlap communication and computing, and XLA's CPU compiler joins fewer
# collectives than that of a TPU, so counts differ there; sizes are what matters.
#
# ## 4. Synced and local batch normalisation
#
# Batch normalisation uses the statistics of the batch. With pmap each device sees its part only:
# with few examples a device, local statistics are noisy, and the result depends on the number of devices.
# Synced (同步) statistics are those of the whole batch, and equal one device's. Under a sharded jit they
# are so without a word.

# %% synced equals one device, local does not
local_step, local, _ = run(PLACEMENTS["pmap"], make_task(None))
apart = {
    "synced": difference(states["pmap"].model_state, states["one device"].model_state),
    "local": difference(local.model_state, states["one device"].model_state),
}
print(f"running statistics against one device on the whole batch, {BATCH // N} examples a device:", apart)
assert apart["synced"] < 1e-4
assert N == 1 or apart["local"] > 10 * apart["synced"]
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
for (name, state), mark in zip({"local": local, "synced": states["pmap"]}.items(), ("^", "x"), strict=True):
    pairs = zip(*map(jax.tree.leaves, (state.model_state, states["one device"].model_state)), strict=True)
    distances = np.concatenate([np.abs(a - b) / np.abs(b).max() for a, b in pairs])
    axes.semilogy(np.sort(distances).clip(1e-9), mark, markersize=3, label=name)
title = f"running means and variances after {STEPS} steps: distance from one device's"
axes.set(title=title, xlabel="statistics, sorted", ylabel="relative difference")
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## 5. Memory: FSDP
#
# Adam keeps two more numbers for each parameter, so a state is three times the parameters. Copied, each
# device holds all of it; under FSDP its share. What that would be for networks of the zoo (模型库) needs no
# device, only shapes: `jax.eval_shape`.


# %% bytes per device
def bytes_per_device(shapes, count):
    """Of a training state on so many devices: ``{path: shape}``, cut as FSDP cuts it."""
    total = 0
    for path, leaf in core.flatten_paths(shapes).items():
        spec = training.shard_spec(path, leaf.shape, count=count, axis_name="data", rules=(), least=4096)
        total += leaf.size * leaf.dtype.itemsize / (count if "data" in spec else 1)
    return total


figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
for name in ("resnet50",) if SMALL else ("resnet50", "vit_b_16", "vgg16"):
    model = zoo.create(name)
    task = tasks.classification_task(
        model, tasks.ClassificationLossOptions().build(1000), num_classes=1000, image_size=(224, 224)
    )
    shapes = jax.eval_shape(lambda task=task: training.create_train_state(task, optax.adam(1e-3), seed=0))
    counts = [1, 2, 4, 8, 16, 32, 64]
    sizes = [bytes_per_device(shapes, count) / 2**20 for count in counts]
    print(f"{name:9} {sizes[0]:8.1f} MiB on one device, {sizes[3]:7.1f} MiB on each of 8")
    assert sizes[3] < 0.15 * sizes[0]
    axes.loglog(counts, sizes, "o-", label=f"{name}, FSDP")
    axes.axhline(sizes[0], color=axes.lines[-1].get_color(), linestyle=":", label=f"{name}, copied")
axes.set_xticks(counts, counts)
axes.set(title="training state with Adam", xlabel="devices", ylabel="MiB on each")
axes.legend(fontsize=7, ncols=2)
plt.show()
memory = {name: steps[name].memory for name in ("jit", "fsdp")}
for name, use in memory.items():
    print(f"the small network, {name}: parameters {use.params:,} bytes a device, optimizer {use.optimizer:,}")
assert N == 1 or memory["fsdp"].params < memory["jit"].params

# %% [markdown]
# ## 6. Memory: accumulation, bfloat16, recomputation, donation
#
# **Accumulation**: four small batches and one update from the mean of their gradients are one
# batch of four times the size, if nothing in the network looks over the batch. So here the norm is a group
# normalisation (组归一化).

# %% four small batches = one large batch
group_norm = functools.partial(layers.GroupNorm, num_groups=4)
task = make_task(norm=group_norm)
large = {**batches[0], "where": np.ones(BATCH, bool)}
parts = [{name: np.split(array, 4)[n] for name, array in large.items()} for n in range(4)]
one = PLACEMENTS["one device"]
accumulate = optax.MultiSteps(optax.sgd(0.1), every_k_schedule=4).gradient_transformation()
part_step, in_parts, _ = run(one, task, optimizer=accumulate, batches=parts)
large_step, at_once, _ = run(one, task, optimizer=optax.sgd(0.1), batches=[large])
apart = difference(in_parts.params, at_once.params)
print(f"4 x {BATCH // 4} examples against {BATCH}: parameters differ by {apart:.1e}")
print(f"activations: {part_step.memory.temporaries:,} against {large_step.memory.temporaries:,} bytes")
assert apart < 1e-6

# %% [markdown]
# **bfloat16** has the exponent of float32 and 8 bits of precision (精度) instead of 24: half the
# bytes, no loss scaling, and the format that a TPU multiplies in. Products are computed in it; parameters,
# norm statistics, logits and losses stay float32, for small updates would be lost: $256 + 1 = 256$.

# %% bfloat16
assert jnp.bfloat16(256) + jnp.bfloat16(1) == jnp.bfloat16(256), "a sum of many small numbers gets stuck"
narrow = make_task(dtype=jnp.bfloat16)
variables = states["one device"].variables()
logits = {
    name: np.asarray(jax.jit(each.predict)(variables, batches[0]["images"]))
    for name, each in (("float32", make_task()), ("bfloat16", narrow))
}
assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(variables))
assert logits["bfloat16"].dtype == np.float32
worst = np.abs(logits["bfloat16"] - logits["float32"]).max() / np.abs(logits["float32"]).max()
agree = (logits["bfloat16"].argmax(-1) == logits["float32"].argmax(-1)).mean()
print(f"logits differ by {worst:.4f} of the largest; the same class for {agree:.0%} of the images")
assert worst < 0.1

# %% [markdown]
# **Recomputation** (rematerialisation; Chen et al. 2016). The backward pass needs what the forward
# pass computed. `training.rematerialise` keeps only what goes into each block and computes the inside
# again: about a third more computing, less memory, the same gradients.
#
# What a function keeps for its gradient are the arrays inside of what `jax.vjp` returns; their shapes are
# known without running anything. (What a compiled program then holds at once, the compiler decides. A CPU's
# may compute again early and save little.)

# %% bytes kept for the backward pass, with and without
deep = backbones.PooledClassifier(backbones.CifarResNet((6,), (16,)), num_classes=10, feature="c1")
task = tasks.classification_task(
    deep, tasks.ClassificationLossOptions().build(10), num_classes=10, image_size=(32, 32)
)
state = jax.eval_shape(lambda: training.create_train_state(task, optax.sgd(0.1), seed=0))
shapes = {
    "images": jax.ShapeDtypeStruct((64, 32, 32, 3), jnp.float32),
    "labels": jax.ShapeDtypeStruct((64,), jnp.int32),
    "where": jax.ShapeDtypeStruct((64,), bool),
}


def kept_bytes(task):
    """Bytes that go from the forward to the backward pass."""

    def backward(state, batch):
        def loss(params):
            terms, _ = task.loss(params, state.model_state, batch, jax.random.key(0))
            return sum(term.mean() for term in terms.values())

        return jax.vjp(loss, state.params)[1]

    arrays = jax.tree.leaves(jax.eval_shape(backward, state, shapes))
    return sum(array.size * array.dtype.itemsize for array in arrays)


all_kept, blocks_kept = kept_bytes(task), kept_bytes(training.rematerialise(task))
print(f"for the backward pass: {all_kept / 2**20:.0f} MiB, recomputing blocks {blocks_kept / 2**20:.0f} MiB")
assert blocks_kept < 0.5 * all_kept
plain, again = (
    jax.jit(training.make_gradients(each)) for each in (make_task(), training.rematerialise(make_task()))
)
placed = training.create_train_state(make_task(), optax.sgd(0.1), seed=0)
assert difference(plain(placed, batches[0]), again(placed, batches[0])) < 1e-5, "the same gradients"

# %% [markdown]
# **Donation**. The new state may lie where the old one did: the caller gives the buffers away,
# and must not use them again.

# %% the old state is gone
optimizer = optax.sgd(0.05)
state = one.place(training.create_train_state(make_task(), optimizer, seed=0))
step = one.compile_step(training.make_train_step(make_task(), optimizer))  # donates its first argument
new, _ = step(state, one.shard(batches[0]))
kernel = state.params["backbone"]["stem_conv"]["kernel"]
assert kernel.is_deleted() and not new.params["backbone"]["stem_conv"]["kernel"].is_deleted()
print("the old kernel's buffer belongs to the new state:", kernel.is_deleted())

# %% [markdown]
# **Prefetch** (预取). Batches are put on the devices while the step before still runs. A position that is
# saved must count the batches handed out, not those read ahead, or a resumed run misses some.

# %% read ahead, and resume without a gap
source = data.ArrayBatches({"images": images, "labels": labels}, batch_size=BATCH, seed=0)
ahead = data.prefetch_to_device(source, PLACEMENTS["jit"].shard, depth=2)
for _ in range(3):
    next(ahead)
position = ahead.get_state()
print("handed out 3, read", source.get_state()["next_batch"], "- to be saved:", position["next_batch"])
expected = np.asarray(next(ahead)["labels"])
again = data.ArrayBatches({"images": images, "labels": labels}, batch_size=BATCH, seed=0)
again.set_state(position)
assert position["next_batch"] == 3 and np.array_equal(next(again)["labels"], expected)

# %% [markdown]
# ## 7. What a TPU does differently
#
# **The matrix unit** (矩阵乘法单元, MXU; Jouppi et al. 2020, *A Domain-Specific Supercomputer for Training
# Deep Neural Networks*) of TPU v2 to v5 multiplies tiles of 128 x 128. A matrix that does not fill its
# tiles is padded, and the padding is multiplied too. Arrays are also kept in tiles, of 8 x 128 numbers in
# float32. So the last two axes count: an axis of 3 channels, were it last, would take 128.


# %% the share of useful work and memory
def filled(size, tile):
    """The share of its tiles that an axis fills."""
    return size / (-(-size // tile) * tile)


channels = np.arange(1, 513)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
left.plot(channels, [filled(c, 128) ** 2 for c in channels])
left.set(
    title="a 1x1 convolution C to C on 128 x 128 tiles",
    xlabel="channels C",
    ylabel="share of useful products",
)
left.set_xticks(range(0, 513, 128))
right.plot(channels, [1 / filled(c, 128) for c in channels])
right.set(title="bytes of [.., 8, C], C last, against C numbers", xlabel="channels C", yscale="log")
right.set_xticks(range(0, 513, 128))
plt.show()
for c in (3, 16, 64, 100, 128, 130, 256):
    useful, larger = filled(c, 128) ** 2, 1 / filled(c, 128)
    print(f"{c:4} channels: {useful:6.1%} of the products useful, memory x {larger:.1f}")
assert filled(128, 128) == 1 and filled(129, 128) < 0.51

# %% [markdown]
# **Precision.** Unless told otherwise, a TPU multiplies float32 matrices in one pass of bfloat16, and adds
# in float32. `jax.default_matmul_precision("highest")` asks for real float32, in several passes. On a CPU
# both are the same.

# %% precision of a product
a, b = jax.random.normal(jax.random.key(0), (2, 256, 256))
exact = np.asarray(a, np.float64) @ np.asarray(b, np.float64)
for precision in ("bfloat16", "highest"):
    with jax.default_matmul_precision(precision):
        error = np.abs(np.asarray(a @ b) - exact).max() / np.abs(exact).max()
    print(f"{jax.default_backend()}, {precision:8}: largest error {error:.1e} of the largest entry")
rounded = jnp.matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)
print(
    f"one bfloat16 pass, written out: {np.abs(np.asarray(rounded) - exact).max() / np.abs(exact).max():.1e}"
)

# %% [markdown]
# **Static shapes** (静态形状). A compiled program has fixed shapes. Another length is another program, and
# on a TPU compiling takes longer than here, up to minutes for a large network. So: pad to a few buckets,
# drop or pad the last batch, and let nothing recompile (重新编译) unseen. The library's compiled step
# refuses another shape and names it.

# %% recompilation
traced = []


@jax.jit
def masked_sum(x, length):
    traced.append(x.shape)
    return jnp.where(jnp.arange(x.shape[0]) < length, x, 0).sum()


lengths = [5, 9, 12, 7, 16]
for length in lengths:
    masked_sum(jnp.ones(length), length)
each, traced[:] = len(traced), []
for length in lengths:
    assert masked_sum(jnp.pad(jnp.ones(length), (0, 16 - length)), length) == length
print(f"{len(lengths)} lengths: {each} programs; padded to 16: {len(traced)} new one(s), "
      f"{16 * len(lengths) / sum(lengths) - 1:.0%} more work")  # fmt: skip
assert each == 5 and len(traced) <= 1

state = training.create_train_state(make_task(), optax.sgd(0.05, momentum=0.9), seed=0)
try:
    half = {name: array[: BATCH // 2] for name, array in batches[0].items()}
    steps["jit"](PLACEMENTS["jit"].place(state), PLACEMENTS["jit"].shard(half))
    raise AssertionError("another shape went through")
except training.RecompilationError as error:
    print("refused:", str(error)[:150], "...")

# %% [markdown]
# ## 8. Several processes, and going on after a stop
#
# A pod (TPU Pod) has several hosts; each runs the same script, reads its own share of every batch, and all
# meet in the collectives. The scripts under `train/` find each other by Slurm, Open MPI, the environment of
# a TPU pod, or three options. To try it on one machine, the launcher starts two processes with four virtual
# devices each:
#
# ```
# python -m jaxvision.training.launch -n 2 --devices-per-process 4 train/classification.py --run.steps 100
# ```
#
# On two hosts (the same command on each, but for the last number), on Slurm, and on all hosts of a Cloud
# TPU pod:
#
# ```
# python train/classification.py --run.coordinator HOST0:1234 --run.processes 2 --run.process-id 0
# srun -N 2 python train/classification.py
# gcloud compute tpus tpu-vm ssh POD --worker=all \
#     --command="python train/classification.py --run.distributed on"
# ```
#
# A run that is stopped (Ctrl-C, SIGTERM of a preempted machine) saves first. It goes on with the same
# numbers, also on another number of devices or in another placement, for a checkpoint (检查点) is the state
# alone:
#
# ```
# python train/classification.py --resume runs/digits-cifar_resnet20-1
# python train/classification.py --resume runs/digits-cifar_resnet20-1 --run.parallel fsdp
# ```
#
# To save memory there: `--run.parallel fsdp`, `--optimizer.accumulate 4`, `--model.bfloat16`,
# `--run.remat`.
