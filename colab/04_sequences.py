# %% [markdown]
# # Sequences: recurrent networks, language models, word vectors (序列模型)
#
# What is learned here: the equations of RNN, GRU and LSTM (循环神经网络, 门控循环单元, 长短期记忆网络) and
# their pure functions; batches of sequences of different lengths; a race of the three over growing
# distances, and why the plain one loses it; truncated back-propagation through time (截断的随时间反向传播,
# truncated BPTT); a character language model (语言模型) that writes; word vectors (词向量); reading lines of
# digits with CTC.
#
# Two to five minutes on two CPU cores; runs unchanged on one TPU chip, a GPU, or several of them. Nothing
# is downloaded: texts are the documentation that ships with Python, digits are those of scikit-learn.

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
import functools
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from jaxvision import core, data, layers, metrics, ops, pictures, sequence, tasks, training
from jaxvision.losses import cross_entropy_loss, l2_loss, sum_term

SMALL = bool(os.environ.get("SMALL"))  # the tests' size: seconds, and nothing is learned well
jax.config.update(
    "jax_disable_most_optimizations", SMALL
)  # then what compiles fast is better than what runs fast
jax.config.update("jax_default_matmul_precision", "highest")  # or a TPU's rounding would hide what is equal
plt.style.use("tableau-colorblind10")
plt.rcParams["figure.dpi"] = 100
print(jax.devices())

# %% [markdown]
# ## 1. Three cells
#
# A recurrent cell (循环单元) reads one step $x_t$ and its own state $h_{t-1}$, and makes the next state
# $h_t$. The same parameters serve every step, so the network takes sequences of any length.
#
# **RNN** (循环神经网络; Elman 1990, *Finding Structure in Time*):
#
# $$h_t = \tanh(x_t W_x + h_{t-1} W_h + b)$$
#
# **LSTM** (长短期记忆网络; Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).
# Three gates (门), numbers from 0 to 1, decide what is written to the cell state (细胞状态) $c$, what is
# kept, and what is shown:
#
# $$i, f, o = \sigma(x_t W_x + h_{t-1} W_h + b) \qquad g = \tanh(x_t W_x + h_{t-1} W_h + b)$$
# $$c_t = f \, c_{t-1} + i \, g \qquad h_t = o \tanh(c_t)$$
#
# **GRU** (门控循环单元; Cho et al. 2014) has two gates and no second state:
#
# $$r, z = \sigma(x_t W_x + h_{t-1} W_h + b) \qquad n = \tanh(x_t W_x + b + r \, (h_{t-1} W_h + b))$$
# $$h_t = (1 - z) \, n + z \, h_{t-1}$$
#
# The sums $c_t = f c_{t-1} + \dots$ and $h_t = z h_{t-1} + \dots$ are the point: with a gate near 1 the
# state is carried over many steps unchanged, and so is its gradient.

# %% the LSTM step by step, and as one function
x = jax.random.normal(jax.random.key(0), (4, 12, 3))  # [N, T, C]: 4 sequences of 12 steps of 3 numbers
net = layers.LSTM(features=8)
variables = net.init(jax.random.key(1), x, train=False)
params = ops.LSTMParams(**variables["params"]["layer0"])  # the module's parameters, for the pure function
print({name: value.shape for name, value in params._asdict().items() if value is not None})


def lstm_step(params, x, state):
    """The equations above, for one step."""
    gates = x @ params.input_kernel + params.input_bias
    gates += state.hidden @ params.recurrent_kernel + params.recurrent_bias
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(f) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return ops.LSTMState(jax.nn.sigmoid(o) * jnp.tanh(cell), cell)


state, by_hand = ops.LSTMState(jnp.zeros((4, 8)), jnp.zeros((4, 8))), []
for t in range(x.shape[1]):
    state = lstm_step(params, x[:, t], state)
    by_hand.append(state.hidden)
by_hand = jnp.stack(by_hand, axis=1)

by_function, last = ops.lstm(params, x, None)  # one compiled scan over time, with a gradient of its own
by_module, (last_of_module,) = net.apply(variables, x, train=False)
assert jnp.allclose(by_hand, by_function, atol=1e-6) and jnp.allclose(by_hand, by_module, atol=1e-6)
assert jnp.allclose(last.cell, last_of_module.cell)
print("step by step = function = module:", by_function.shape)

# %% [markdown]
# Functions and modules are pure, so `jit`, `grad` and `vmap` (编译, 求导, 向量化) apply to them. Python
# runs the function below once, to trace (追踪) it; the second call uses the compiled program.

# %% jit, grad, vmap
traced = []


@jax.jit
def loss(params, x):
    traced.append(x.shape)
    return jnp.square(ops.lstm(params, x, None)[0]).mean()


loss(params, x), loss(params, 2 * x)
assert traced == [(4, 12, 3)], "the second call does not trace again"
gradients = jax.grad(loss)(params, x)
one_by_one = jax.vmap(lambda sequence: ops.lstm(params, sequence[None], None)[0][0])(x)
assert jnp.allclose(one_by_one, by_function, atol=1e-6)
for name, cell in {"RNN": layers.RNN(8), "GRU": layers.GRU(8), "LSTM": layers.LSTM(8)}.items():
    shapes = jax.eval_shape(lambda key, cell=cell: cell.init(key, x, train=False), jax.random.key(0))
    print(f"{name:5} {core.count_parameters(shapes):5} parameters for 3 inputs and 8 units")

# %% [markdown]
# ## 2. Sequences of different lengths
#
# A batch is one array, so shorter sequences are padded (填充). A mask (掩码) says which steps are real. The
# layer must then give each sequence exactly what it would get alone: the last state is the one at its own
# end, and the reverse direction starts at its own end. Here the padding is filled with `nan` to show that
# nobody reads it.

# %% padded equals unpadded
lengths, longest = [9, 5, 5], 9
sequences = [jax.random.normal(jax.random.key(n), (n, 3)) for n in lengths]
padded = jnp.stack([jnp.pad(s, ((0, longest - len(s)), (0, 0)), constant_values=jnp.nan) for s in sequences])
where = ops.sequence_mask(lengths, longest)  # bool [N, T]
net = layers.LSTM(features=8, bidirectional=True)
variables = net.init(jax.random.key(0), jnp.zeros_like(padded), train=False)
apply = jax.jit(lambda x, where: net.apply(variables, x, where=where, train=False))
outputs, states = apply(padded, where)
for n, (sequence_alone, length) in enumerate(zip(sequences, lengths, strict=True)):
    alone, alone_states = apply(sequence_alone[None], None)
    assert jnp.allclose(outputs[n, :length], alone[0], atol=1e-6)
    assert all(
        jnp.allclose(s.cell[n], a.cell[0], atol=1e-6) for s, a in zip(states, alone_states, strict=True)
    )
assert not outputs[~where].any(), "behind its end a sequence gives zeros"
gradient = jax.grad(lambda x: apply(x, where)[0].sum())(padded)
assert jnp.isfinite(gradient).all() and not gradient[~where].any()
means = ops.sequence_mean(outputs, where=where)  # of the real steps alone: a vector a sequence
print("padded = unpadded; mean over time:", means.shape)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.6), layout="constrained")
left.imshow(where, cmap="cividis", aspect="auto")
left.set(title="mask: bright steps are real", xlabel="step", ylabel="sequence", yticks=range(3))
shown = right.imshow(outputs[..., :8].mean(-1), cmap="cividis", aspect="auto")
right.set(title="mean output of the forward direction", xlabel="step", yticks=range(3))
figure.colorbar(shown, ax=right)
plt.show()

# %% [markdown]
# ## 3. A race: the adding problem
#
# The adding problem (加法问题; Hochreiter and Schmidhuber 1997, section 5.4): each step has a random number
# from 0 to 1 and a mark. Two steps are marked, one in each half; the answer, asked at the end, is the sum
# of the two marked numbers. Who ignores the marks and says 1 has a mean squared error of 1/6. The longer
# the sequence, the further back the first mark.
#
# All three cells get the same number of units, the same optimizer, the same batches and the same number of
# steps. (An LSTM has four times the parameters of an RNN with as many units.) The LSTM starts with a bias
# of 1 at its forget gates, as is usual (Jozefowicz et al. 2015).

# %% the task, for the library's training loop
UNITS, BATCH = 32, 64
DISTANCES = (8,) if SMALL else (10, 40, 100)
STEPS = 30 if SMALL else 1000


class Adder(nn.Module):
    """Any recurrent network, and one number from its last output."""

    cell: nn.Module

    @nn.compact
    def __call__(self, x, *, train):
        outputs, _ = self.cell(x, train=train)
        return nn.Dense(1)(outputs[:, -1])[:, 0]


def adding_batch(rng, distance):
    values, marks = rng.random((BATCH, distance)), np.zeros((BATCH, distance))
    places = rng.integers(0, distance // 2, (BATCH, 2)) + np.array([0, distance // 2])
    np.put_along_axis(marks, places, 1.0, axis=1)
    x = np.stack([values, marks], axis=-1).astype(np.float32)  # [N, T, 2]
    return {"x": x, "sum": (values * marks).sum(1).astype(np.float32)}


def adding_task(cell):
    model = Adder(cell)

    def loss(params, model_state, batch, key):
        errors = l2_loss(model.apply({"params": params}, batch["x"], train=True), batch["sum"])
        return {"error": sum_term(errors)}, model_state

    return training.Task(
        init=lambda key: model.init(key, jnp.zeros((1, 2, 2)), train=False),
        loss=loss,
        predict=lambda variables, x: model.apply(variables, x, train=False),
        counts=lambda variables, batch: loss(variables["params"], {}, batch, None)[0]["error"],
        score=lambda term: {"error": float(term.mean())},
    )


# %% [markdown]
# The training loop (训练循环) is the library's, in every notebook and script: a `Task` of pure functions, a
# placement (one device or many), a compiled step, and hooks. `train` below keeps the loss of every step.


# %% train
class Losses(training.Hook):
    """Keeps the loss of each step, on the device until somebody looks."""

    def __init__(self):
        self.values = []

    def after_step(self, progress):
        self.values.append(progress.metrics["loss"])


def train(task, batches, *, steps, rate, seed=0):
    """Trains on all devices; returns the variables as numpy arrays, and the loss of each step."""
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(rate, steps))
    )
    placement = training.make_placement("jit")
    state = placement.place(training.create_train_state(task, optimizer, seed=seed))
    step = placement.compile_step(training.make_train_step(task, optimizer))
    losses = Losses()
    batches = data.prefetch_to_device(batches, placement.shard)
    progress = training.fit(state, step, batches, [losses], steps=steps)
    return placement.fetch(progress.state).variables(), np.array(jax.device_get(losses.values))


def endless_adding(distance, seed=0):
    rng = np.random.default_rng(seed)
    while True:
        yield adding_batch(rng, distance)


# %% the race
CELLS = {
    "RNN": layers.RNN(UNITS),
    "GRU": layers.GRU(UNITS),
    "LSTM": layers.LSTM(UNITS, forget_bias=1.0),
}
curves, trained, errors = {}, {}, {}
for distance in DISTANCES:
    tests = adding_batch(np.random.default_rng(99), distance)
    for name, cell in CELLS.items():
        task = adding_task(cell)
        trained[name], curves[name, distance] = train(task, endless_adding(distance), steps=STEPS, rate=1e-2)
        errors[name, distance] = task.score(jax.jit(task.counts)(trained[name], tests))["error"]
    print(
        f"length {distance:3}:",
        {name: round(errors[name, distance], 4) for name in CELLS},
        "(1/6 is guessing)",
    )
assert all(np.isfinite(curve).all() for curve in curves.values())

# %% curves
figure, axes = plt.subplots(
    1, len(DISTANCES), figsize=(4 * len(DISTANCES), 3.2), layout="constrained", squeeze=False
)
for panel, distance in zip(axes[0], DISTANCES, strict=True):
    for name in CELLS:
        curve = curves[name, distance]
        window = max(len(curve) // 40, 1)
        smooth = np.convolve(curve, np.ones(window) / window, mode="valid")
        panel.semilogy(np.arange(len(smooth)) + window, smooth, "--" if name == "RNN" else "-", label=name)
    panel.axhline(1 / 6, color="0.5", linestyle="--", linewidth=1, label="says 1")
    panel.set(title=f"adding problem, length {distance}", xlabel="step")
axes[0, 0].set_ylabel("mean squared error")
axes[0, 0].legend()
plt.show()

# %% [markdown]
# ## 4. Why: the gradient over distance
#
# How much does the last output depend on an input $k$ steps before? The chain rule (链式法则) multiplies
# one Jacobian a step:
#
# $$\frac{\partial h_T}{\partial h_{T-k}} = \prod_{t} \operatorname{diag}(1 - h_t^2) \, W_h^\top$$
#
# In an RNN its size falls like $\lambda^k$ where the recurrent kernel shrinks vectors: the gradient
# vanishes (梯度消失), or explodes (梯度爆炸) where it stretches them (Bengio et al. 1994; Pascanu et al.
# 2013). Along the cell state of an LSTM the factor is the forget gate $f$ (遗忘门) alone. With a forget
# bias of $b$ it starts near $\sigma(b)$: 0.73 for $b = 1$, which also dies out over 100 steps, and
# $1 - 1/T$ for $b = \ln(T - 1)$, which does not (Tallec and Ollivier 2018, *Can recurrent neural networks
# warp time?*).

# %% gradients of the last output
LENGTH = 20 if SMALL else 100


@functools.partial(jax.jit, static_argnums=0)
def reach(cell, variables):
    """Norm of the last output's gradient by each input, ``[T]``, a mean over sequences."""
    x = jax.random.uniform(jax.random.key(7), (16, LENGTH, 2))
    gradients = jax.grad(lambda x: cell.apply(variables, x, train=False)[0][:, -1].sum())(x)
    return jnp.linalg.norm(gradients, axis=-1).mean(0)


FRESH = {
    "RNN": layers.RNN(UNITS),
    "GRU": layers.GRU(UNITS),
    "LSTM, forget bias 1": layers.LSTM(UNITS, forget_bias=1.0),
    "LSTM, forget bias ln T": layers.LSTM(UNITS, forget_bias=float(np.log(LENGTH - 1))),
}
before = {}
for name, cell in FRESH.items():
    variables = cell.init(jax.random.key(3), jnp.zeros((1, 2, 2)), train=False)
    before[name] = reach(CELLS[name.split(",")[0]], variables)  # a bias is a parameter, not the cell
after = {name: reach(cell, {"params": trained[name]["params"]["cell"]}) for name, cell in CELLS.items()}

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
for panel, curves_of, title in (
    (left, before, "before training"),
    (right, after, "after the adding problem"),
):
    for name, norms in curves_of.items():
        panel.semilogy(np.arange(len(norms))[::-1], np.maximum(norms, 1e-20), label=name)
    panel.set(title=title, xlabel="steps between input and last output", ylim=(1e-16, 10))
    panel.legend(fontsize=8)
left.set_ylabel("norm of the gradient")
plt.show()

kept = {name: float(norms[0] / norms[-1]) for name, norms in before.items()}
print("gradient of the first input, as a share of the last one's:", {k: f"{v:.1e}" for k, v in kept.items()})
assert kept["RNN"] < 1e-3 < kept["LSTM, forget bias ln T"]

# %% does it help?
far = DISTANCES[-1]
opened = adding_task(layers.LSTM(UNITS, forget_bias=float(np.log(far - 1))))
found, _ = train(opened, endless_adding(far), steps=STEPS, rate=1e-2)
error = opened.score(jax.jit(opened.counts)(found, adding_batch(np.random.default_rng(99), far)))["error"]
print(f"length {far}: LSTM with a forget bias of 1 {errors['LSTM', far]:.4f}, of ln T {error:.4f}")

# %% [markdown]
# ## 5. Truncated back-propagation through time
#
# A text of a million characters does not fit through one gradient. Truncated BPTT (Williams and Peng 1990)
# cuts it in windows: the state goes on from window to window, the gradient does
# not. `ops.scan_windows` does that inside of one compiled program; the values are those of one long run.

# %% windows
WINDOW, TOTAL = 16, 64
x = jax.random.normal(jax.random.key(0), (1, TOTAL, 2))
params = ops.LSTMParams(**variables["params"]["layer0"])  # of the LSTM with a forget bias of ln T above
start = ops.LSTMState(jnp.zeros((1, UNITS)), jnp.zeros((1, UNITS)))


def whole(x):
    return ops.lstm(params, x, start)[0]


def in_windows(x):
    return ops.scan_windows(lambda state, part: ops.lstm(params, part, state), start, x, window=WINDOW)[0]


assert jnp.allclose(whole(x), in_windows(x), atol=1e-6), "the same values"
norms = {}
for name, run in (("whole sequence", whole), (f"windows of {WINDOW}", in_windows)):
    gradient = jax.grad(lambda x, run=run: run(x)[0, TOTAL - 5].sum())(x)
    norms[name] = np.asarray(jnp.linalg.norm(gradient[0], axis=-1))
assert not norms[f"windows of {WINDOW}"][: TOTAL - WINDOW].any(), "no gradient from before the window"
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
for (name, values), style in zip(norms.items(), ("-", "--"), strict=True):
    axes.plot(values, style, label=name)
for edge in range(WINDOW, TOTAL, WINDOW):
    axes.axvline(edge - 0.5, color="0.7", linewidth=0.8)
axes.set(title=f"gradient of output {TOTAL - 5} by each input", xlabel="step of the input", ylabel="norm")
axes.legend()
plt.show()

# %% [markdown]
# ## 6. A character language model
#
# A language model gives, at every place, a probability to each possible next character. It is
# trained by the cross entropy (交叉熵) of the character that comes. In bits a character (每字符比特数) that
# is also the length of the text if it were compressed with the model.
#
# The text is documentation that ships with Python: nothing is downloaded. Rows of a batch go through the
# text side by side, window after window; the state of each row is part of the training state.

# %% text
LARGER = "argparse asyncio collections concurrent email http json logging unittest urllib xml"
modules = ("json", "csv") if SMALL else LARGER.split()
text = data.index_text(data.python_documentation(modules=modules), data.tokenize_characters)
alphabet = data.Vocabulary.build(text.counts(), min_count=2 if SMALL else 20, specials=(data.UNKNOWN,))
tokens = text.pack(alphabet).tokens
held_out, learned = tokens[: len(tokens) // 20], tokens[len(tokens) // 20 :]
print(
    f"{len(learned):,} characters to train on, {len(held_out):,} to test on, {len(alphabet)} different ones"
)
print("".join(alphabet.decode(learned[2000:2300])))

# %% train the language model
ROWS, SPAN, HIDDEN = (8, 16, 32) if SMALL else (32, 64, 160)
model = sequence.LanguageModel(len(alphabet), features=HIDDEN, num_layers=1, cell="lstm")
task = tasks.language_model_task(model, batch_size=ROWS, characters=True)
windows = data.TextWindows(learned, batch_size=ROWS, window=SPAN)
variables, curve = train(task, windows, steps=20 if SMALL else 700, rate=1e-2)
params = {"params": variables["params"]}


@jax.jit
def bits(params, tokens):
    """Bits a character of a text ``[L]``, read from its begin in one row."""
    logits, _ = model.apply(params, tokens[None, :-1], train=False)
    return cross_entropy_loss(logits, tokens[None, 1:]).mean() / jnp.log(2.0)


shares = np.bincount(learned, minlength=len(alphabet)) + 1.0
single = -np.log2(shares / shares.sum())[held_out].mean()
bits_held_out = float(bits(params, jnp.asarray(held_out)))
print(f"held-out text: {bits_held_out:.2f} bits a character; by frequencies alone {single:.2f}; "
      f"all equally likely {np.log2(len(alphabet)):.2f}")  # fmt: skip
assert bits_held_out < np.log2(len(alphabet))
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
axes.plot(curve / np.log(2), label="training, a window each")
axes.axhline(bits_held_out, linestyle="--", color="0.3", label="held-out text, at the end")
axes.axhline(single, linestyle=":", color="0.3", label="frequencies alone")
axes.set(title="character language model", xlabel="step", ylabel="bits a character")
axes.legend()
plt.show()

# %% [markdown]
# **Sampling** (采样). Draw a character, feed it back, draw the next: one compiled scan. The temperature
# (温度) divides the logits: below 1, likely characters become more likely.

# %% sample
prompt = jnp.asarray(alphabet.encode("Return the "))[None]
for temperature in (0.8,) if SMALL else (0.4, 0.8, 1.2):
    drawn = sequence.sample_tokens(
        model,
        params,
        jax.random.key(0),
        prompt,
        length=60 if SMALL else 240,
        temperature=temperature,
        banned=(0,),
    )
    print(f"--- temperature {temperature}\nReturn the " + "".join(alphabet.decode(drawn[0].tolist())))

# %% [markdown]
# ## 7. Word vectors
#
# word2vec (Mikolov et al. 2013, *Distributed Representations of Words and Phrases*): a word's
# vector should tell which words stand around it. Skip-gram (跳字模型) with negative sampling (负采样) makes
# the product of a word with its neighbour large, and with $k$ noise words small:
#
# $$\log \sigma(v_w \cdot u_c) + \sum_{i=1}^{k} \log \sigma(-v_w \cdot u_{n_i})$$
#
# The tables are trained by sparse updates inside one compiled loop over a chunk of the text.

# %% train word vectors
modules = ("argparse", "collections", "logging", "socket", "datetime") if SMALL else None  # None: all of it
documents = data.python_documentation(modules=modules)
text = data.index_text(documents, data.tokenize_words, sentences=data.split_sentences)
words = data.Vocabulary.build(text.counts(), min_count=5)
packed = text.pack(words)
word_model = sequence.Word2Vec(len(words), features=32 if SMALL else 64, window=5)
corpus = sequence.word_corpus(word_model, *packed, words.counts, chunk_size=4096 if SMALL else 32768)
print(f"{corpus.num_words:,} words, {len(words):,} different ones, {len(corpus.starts)} chunks")
chunk_size = corpus.chunk_size


@jax.jit
def learn(tables, corpus, chunk, key, rate):
    result = sequence.train_chunk(word_model, tables, corpus, chunk, key, rate, chunk_size=chunk_size)
    return result.tables, result.loss / result.pairs


tables, losses = word_model.init(jax.random.key(0)), []
chunks = list(range(len(corpus.starts))) * (2 if SMALL else 12)
for number, chunk in enumerate(chunks):
    rate = 0.05 * (1 - number / len(chunks))
    tables, pair_loss = learn(tables, corpus, jnp.int32(chunk), jax.random.key(number), jnp.float32(rate))
    losses.append(pair_loss)
losses = np.array(jax.device_get(losses))
print(f"loss of a pair: {losses[0]:.3f} -> {losses[-1]:.3f}")
assert losses[-1] < losses[0]

# %% neighbours
space = sequence.WordSpace(words, np.asarray(tables["input"]))
for word in ("int", "file", "exception", "socket", "minutes", "first"):
    if word in words:
        print(f"{word:10}", ", ".join(f"{near} {cosine:.2f}" for near, cosine in space.nearest(word, k=6)))

# %% [markdown]
# Words of one theme should be nearer to each other than to words of other themes. Left: a map of some words
# by t-SNE (t分布随机邻域嵌入; van der Maaten and Hinton 2008), coloured by theme. Right: their cosines
# (余弦相似度).

# %% map
THEMES = {
    "types": "int float integer string list tuple dict bytes",
    "files": "file path directory filename open read write",
    "errors": "exception error raise raised exceptions traceback",
    "time": "date time hour minute second timezone datetime",
    "network": "socket server client connection address port host",
}
chosen = [(word, theme) for theme, line in THEMES.items() for word in line.split() if word in words]
names, themes = zip(*chosen, strict=True)
vectors = np.asarray(tables["input"])[[words.index(name) for name in names]]
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
cosines = vectors @ vectors.T
if SMALL:
    places = pictures.principal_plane(vectors)
else:
    from sklearn.manifold import TSNE

    places = TSNE(perplexity=8, metric="cosine", init="random", random_state=0).fit_transform(vectors)
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
for theme in THEMES:
    here = np.array([t == theme for t in themes])
    left.scatter(*places[here].T, s=20, label=theme)
for name, place in zip(names, places, strict=True):
    left.annotate(name, place, xytext=(3, 3), textcoords="offset points", fontsize=8)
left.set(title="a map of word vectors", xticks=[], yticks=[])
left.margins(0.12)
left.legend(fontsize=8)
shown = right.imshow(cosines, cmap="cividis", vmin=0, vmax=1)
right.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
right.set_yticks(range(len(names)), names, fontsize=7)
right.set_title("cosines")
figure.colorbar(shown, ax=right)
plt.show()

same = np.array(themes)[:, None] == np.array(themes)
other = ~np.eye(len(names), dtype=bool)
inside, outside = cosines[same & other].mean(), cosines[~same].mean()
print(f"mean cosine within a theme {inside:.2f}, between themes {outside:.2f}")
assert inside > outside

# %% [markdown]
# ## 8. Reading without knowing where: CTC
#
# A line of handwritten digits, read column by column (逐列). We know what is written, not in which column.
# CTC (连接时序分类; Graves et al. 2006, *Connectionist Temporal Classification*) adds a blank (空白) label
# and sums the probability of all paths that read as the text once repeats are merged and blanks dropped:
#
# $$p(y \mid x) = \sum_{\pi : \, \mathcal{B}(\pi) = y} \; \prod_t p(\pi_t \mid x)$$

# %% strings of digits
DIGITS, WIDTH = 4, 48


class Reader(nn.Module):
    """Columns of a picture as a sequence, read in both directions; scores of the blank and ten digits."""

    @nn.compact
    def __call__(self, images, *, train):
        columns = images[..., 0].swapaxes(1, 2)  # [N, W, H]
        outputs, _ = layers.LSTM(64, num_layers=1, bidirectional=True)(columns, train=train)
        return nn.Dense(11)(outputs)  # [N, W, 11]


def digit_lines(split, seed):
    """Batches of pictures ``[N, 8, W, 1]`` with 1 to 4 digits, each a little apart from the one before."""
    source, rng = data.digit_images(split), np.random.default_rng(seed)
    glyphs = np.stack([source[n]["image"][..., 0] for n in range(len(source))]) / 255.0
    values = np.array([source[n]["label"] for n in range(len(source))])
    while True:
        images, labels = np.zeros((32, 8, WIDTH, 1), np.float32), np.full((32, DIGITS), -1, np.int32)
        for image, label in zip(images, labels, strict=True):
            left = 0
            for place in range(rng.integers(1, DIGITS + 1)):
                left += rng.integers(0, 4)
                chosen = rng.integers(len(glyphs))
                image[:, left : left + 8, 0] = glyphs[chosen]
                label[place], left = values[chosen] + 1, left + 8
        yield {"images": images, "labels": labels, "where": np.ones(32, bool)}


reader_task = tasks.text_recognition_task(Reader(), image_size=(8, WIDTH))
reader, curve = train(reader_task, digit_lines("train", 0), steps=20 if SMALL else 1500, rate=1e-2)
assert np.isfinite(curve).all()

# %% what it reads
lines = digit_lines("test", 1)
tests = [next(lines) for _ in range(4)]
images, labels = (np.concatenate([batch[name] for batch in tests]) for name in ("images", "labels"))
logits = jax.jit(reader_task.predict)(reader, images)
read = jax.jit(ops.ctc_greedy_decode)(logits)  # the best label of each column, merged
longest = np.argsort(-(labels > 0).sum(1), kind="stable")[:3]
# Beam search (束搜索): the most probable texts, over all their paths.
searched = ops.ctc_beam_search(logits[longest], beam_size=8)


def spell(row):
    return "".join(str(label - 1) for label in np.asarray(row) if label > 0)


right = np.mean([spell(found) == spell(true) for found, true in zip(read.labels, labels, strict=True)])
wrong = metrics.edit_distance(read.labels, read.lengths, labels, (labels > 0).sum(1)).sum()
print(f"lines without an error: {right:.2f}; wrong digits: {wrong / (labels > 0).sum():.3f}")


figure, axes = plt.subplots(2, 3, figsize=(11, 3.6), layout="constrained", height_ratios=(1, 2))
for place, n in enumerate(longest):
    axes[0, place].imshow(images[n, ..., 0], cmap="gray_r", aspect="auto")
    best, beam, truth = spell(read.labels[n]), spell(searched.labels[place, 0]), spell(labels[n])
    axes[0, place].set_title(f"reads {best!r}, beam {beam!r}, truth {truth!r}", fontsize=9)
    axes[0, place].set(xticks=[], yticks=[])
    axes[1, place].imshow(jax.nn.softmax(logits[n]).T, cmap="cividis", aspect="auto", vmin=0, vmax=1)
    axes[1, place].set(xlabel="column", yticks=range(11))
    axes[1, place].set_yticklabels(["blank", *range(10)], fontsize=7)
axes[1, 0].set_ylabel("label")
plt.show()

# %% [markdown]
# ## To go on
#
# * `train/language_model.py`, `train/word2vec.py`, `train/text_recognition.py`,
#   `train/text_classification.py` and `train/sequence_tagging.py` train on your own files, on any number of
#   devices, with checkpoints.
# * `layers.LSTM` also has peepholes, projections, layer normalisation and variational dropout.
# * `ops.crf_decode` (条件随机场) tags sequences; `layers.MultiHeadAttention` (注意力) looks at all steps at
#   once.
