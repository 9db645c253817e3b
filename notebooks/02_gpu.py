# %% [markdown]
# # One model, on a CPU and on a GPU
#
# A GPU is asked for by one word, `device="cuda"`; the model, its derivatives and its numbers stay
# what they are. This notebook compiles one training step for both, looks at everything that the
# planner decided differently, and goes down from there: driver, kernel, PTX, machine code.
#
# 1. [One model](#1.-One-model)
# 2. [What the planner changed](#2.-What-the-planner-changed): blocks, tiles, meetings
# 3. [The same memory](#3.-The-same-memory)
# 4. [The driver](#4.-The-driver): a training loop that is one kernel, or many
# 5. [A kernel as text](#5.-A-kernel-as-text)
# 6. [PTX](#6.-PTX)
# 7. [Machine code](#7.-Machine-code)
# 8. [Training](#8.-Training)
#
# To compile for a GPU takes neither a GPU nor its driver nor CUDA's toolkit: LLVM has a back end
# that writes PTX, and `llvmlite` brings it along. So this notebook runs to its end on any machine.
# Where there is a GPU it trains on it; where there is none it says so.

# %%
import collections
import re

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import ToolchainError
from gradloom.runtime.cuda import cubins, driver
from gradloom.settings import settings

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})


def tidy(text):
    """Lines as `cell:3`, where Jupyter gives a cell a long number."""
    return re.sub(r"\d{6,}\.py", "cell", text)


GPU = driver.count() > 0
HERE = {"device": "cuda"} if GPU else {"target": "cuda-ptx:sm_90"}
if GPU:
    print(f"This machine has a GPU ({driver.device().name}): section 8 trains on it.")
else:
    print("This machine has no GPU. Everything is compiled for a Hopper (sm_90), and not run.")

# %% [markdown]
# ## 1. One model
#
# Handwritten digits, 8 x 8 pixels, a hidden layer of 128 and ten classes; Adam. There is one loss,
# and two training steps made of it. The second differs by one word: `device="cuda"` where there is
# a GPU, and otherwise `target=`, which compiles for a GPU elsewhere.

# %%
pixels, labels = load_digits(return_X_y=True)
pixels, labels = (pixels / 16).astype("float32"), labels.astype("int32")
BATCH, BATCHES = 64, 28
xs = pixels[: BATCH * BATCHES].reshape(BATCHES, BATCH, 64)
ys = labels[: BATCH * BATCHES].reshape(BATCHES, BATCH)

rng = np.random.default_rng(0)
first = {
    "w1": rng.normal(0, 1 / 8, (64, 128)).astype("float32"),
    "b1": np.zeros(128, "float32"),
    "w2": rng.normal(0, 1 / 11, (128, 10)).astype("float32"),
    "b2": np.zeros(10, "float32"),
}


def loss(params, x, y):
    hidden = gnp.tanh(x @ params["w1"] + params["b1"])
    return gl.nn.softmax_cross_entropy(hidden @ params["w2"] + params["b2"], y).mean()


on_cpu = gl.train_step(loss, gl.optim.adam(1e-2))
on_gpu = gl.train_step(loss, gl.optim.adam(1e-2), **HERE)

example = on_cpu.init(first), xs[0], ys[0]
cpu = on_cpu.program(*example)
gpu = on_gpu.program(on_gpu.init(first), *example[1:])
print(f"CPU: {len(cpu.plan.kernels)} kernels, compiled in {sum(cpu.seconds.values()):.1f} s")
print(f"GPU: {len(gpu.plan.kernels)} kernels, compiled in {sum(gpu.seconds.values()):.1f} s")
assert cpu.traced.text() == gpu.traced.text()

# %% [markdown]
# Both began with the same graph, to the letter: tracing, differentiation and simplification know of
# no device. Fusion does not either: both have the same kernels, which compute the same values.
#
# ## 2. What the planner changed
#
# A CPU's team has a few workers, each of which goes through many rows with long vectors. A GPU has
# hundreds of *blocks* of 256 threads, each of which wants a small piece. To the planner a block is
# what a worker is: each stage of a kernel has a number of *items*, a worker or a block takes a
# range of them, and where one reads what another wrote, all meet. What differs is what an item is.
#
# - Of elementwise loops an item is an element, or some that lie together.
# - Of rows that are summed up, such as a softmax, an item is a row: for one thread, or for the 32
#   of a *warp*, or for all of a block, whichever the row's length asks for.
# - Of a matrix product an item is a *tile* of the result, which a block computes from two panels in
#   its shared memory, each thread with a piece of it in registers. What follows the product element
#   by element is done to the tile before it is written: there is one stage where a CPU has two.


# %%
def shares(program):
    """By kernel: how many pieces its stages are cut into, and how large these are."""
    return {
        kernel.name: "; ".join(
            f"{-(-s.extent // s.grain)} x {s.grain}" if s.grain else "one" for s in kernel.stages
        )
        for kernel in program.plan.kernels
    }


of_cpu, of_gpu = shares(cpu), shares(gpu)
columns = [("kernel", *of_gpu), ("of a CPU", *(of_cpu.get(n, "") for n in of_gpu))]
columns.append(("of a GPU", *of_gpu.values()))
widths = [max(map(len, column)) for column in columns]
for row in zip(*columns, strict=True):
    print("  ".join(f"{word:{width}}" for word, width in zip(row, widths, strict=True)))

tiles = {n: f.tile for n, f in gpu.gpu.plan.functions.items() if hasattr(f, "tile")}
print("\nTiles of the products:")
for name, tile in tiles.items():
    print(f"  {name:36} {tile}")
assert tiles

# %% [markdown]
# Pieces are written as `count x size`: rows of a product for a CPU's worker, tiles for a block;
# elements for both elsewhere. All the tiles of one product are computed at the same time, one by
# each block, so a small product is better cut into many small tiles than into a few that are fast.
#
# How much there is in each kernel: on the left operations, on the right bytes read and written. Two
# products and the update are nearly all of it, and all of it is little for a GPU, which is why the
# planner counts meetings, and why section 4 has one kernel instead of ten.

# %%
names = [kernel.name for kernel in gpu.plan.kernels]
flops = [kernel.flops for kernel in gpu.plan.kernels]
moved = [
    sum(gpu.plan.buffers[b].type.nbytes for side in kernel.touched() for b in side)
    for kernel in gpu.plan.kernels
]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
for axis, values, title in ((axes[0], flops, "operations"), (axes[1], moved, "bytes")):
    axis.barh(names, np.array(values) / sum(values), color="#64748b")
    axis.set_xlabel(f"share of all {sum(values):,} {title}")
axes[0].invert_yaxis()
figure.tight_layout()
plt.show()

# %% [markdown]
# ## 3. The same memory
#
# Every intermediate value has its place in one *arena*, and two share bytes when their lives do not
# meet. A kernel that runs on many blocks ends for all of them before the next begins, as on a CPU's
# team, so lives are the same, and so is the arena.

# %%
table = str(on_gpu.memory()).splitlines()
print(tidy("\n".join([*table[:2], *(line for line in table if re.search(r" arena +\w+\[", line))])))
for word, step in (("CPU", on_cpu), ("GPU", on_gpu)):
    used = step.memory()
    print(f"{word}: {used.arena_bytes:,} bytes; without sharing {used.separate_bytes:,}")
assert on_gpu.memory().arena_bytes < 0.6 * on_gpu.memory().separate_bytes
IPython.display.display(IPython.display.SVG(tidy(on_gpu.draw().arena)))

# %% [markdown]
# ## 4. The driver
#
# A program's *driver* is a short text in a small part of Python: it finds each buffer and calls the
# stages, in order, inside of the loop over batches. The CPU's is compiled by LLVM and run by every
# worker of the team. The GPU's is the same text, and there are three ways to run it:
#
# - **One kernel.** All blocks run the driver as it stands; `share` gives each its range of a
#   stage's items, and `meet` is a barrier of the whole grid. A `run` of thousands of steps is one
#   launch, which is *cooperative*: all blocks must be on the GPU at once, or they would wait for
#   ever.
# - **A graph.** The driver is cut where all meet, and what lies between is a kernel; the GPU is
#   given them once, as a graph that is launched for each pass, or repeats itself.
#   `GRADLOOM_DISABLE=persistent` asks for that.
# - **Launches.** The host launches each of these kernels by itself: `persistent,graphs`.

# %%
print(tidy(gpu.driver[gpu.driver.index("    for done in") :]))
meetings = {"CPU": cpu.driver.count("meet(control"), "GPU": gpu.driver.count("meet(control")}
print("places where all meet:", meetings)

with settings(disable=("persistent",)):
    in_launches = gl.train_step(loss, gl.optim.adam(1e-2), **HERE)
    launched = in_launches.program(in_launches.init(first), *example[1:])
entries = {
    form: re.findall(r"\.entry (\w+)", program.gpu.ptx.text)
    for form, program in (("one kernel", gpu), ("launches", launched))
}
for form, kernels in entries.items():
    print(f"{form}: {len(kernels)} kernels: {', '.join(kernels)[:70]}")
assert entries["one kernel"] == ["persistent"]
assert len(entries["launches"]) > 5

# %% [markdown]
# Which form a program takes the planner estimates, from figures for a barrier and for a launch; it
# says so in `explain()`, whose head is below, with what each launch takes.

# %%
print(tidy(on_gpu.explain().partition("\n\nkernel ")[0]))

# %% [markdown]
# Each item is computed in one place, and each sum has a fixed order. So the bits of the result do
# not depend on the number of blocks.
#
# ## 5. A kernel as text
#
# `source()` gives every stage as plain loops that run uncompiled, under `pdb` if you like. Here is
# the one that follows the second product: logits, softmax, cross entropy, and the cotangent of the
# logits, which the reverse sweep begins with, row by row.

# %%
functions = re.split(r"\n\n\n(?=#|@|def )", on_gpu.source())
rows = next(text for text in functions if "np.exp(" in text)
print(tidy(rows))

# %% [markdown]
# `kernels()` gives them as a GPU has them, in Python for Numba's CUDA target. The same stage: a row
# for each warp, whose 32 threads share it; what each of them has is added up in a fixed order. By
# default LLVM makes the kernels, which needs no toolchain; with `GRADLOOM_CUDA_COMPILER=numba-cuda`
# Numba compiles this text in their place.

# %%
name = re.search(r"def (\w+)\(", rows)[1]
kernels = re.split(r"\n\n+(?=@cuda)", on_gpu.kernels())
print(tidy(next(text for text in kernels if f"def {name}(" in text)))

# %% [markdown]
# ## 6. PTX
#
# PTX is the language that NVIDIA's driver and assembler take, for a machine with as many registers
# as one likes. It is what the tests of gradloom execute, by an interpreter that runs every thread
# of every block and reports what goes wrong between them. Which instructions are there?

# %%
ptx = on_gpu.ptx()


def counted(text, pattern, most=12):
    """The commonest instructions of a text."""
    return collections.Counter(re.findall(pattern, text, re.M)).most_common(most)


print(f"{len(ptx.splitlines()):,} lines")
for name, count in counted(ptx, r"^\t(?:@!?%p\d+ )?([a-z][\w.]*)\s"):
    print(f"  {count:5} {name}")
assert "fma.rn.f32" in ptx

# %% [markdown]
# `fma.rn.f32` is a multiplication with an addition, of a product's registers; `ld.shared` and
# `st.shared` pass numbers from thread to thread within a block, around `bar.sync`. And this is the
# barrier of the whole grid: a fence, so that all that this block has written can be seen; one more
# that has arrived; the last one lets all others go on.

# %%
lines = ptx.splitlines()
barrier = next(n for n, text in enumerate(lines) if re.search(r"\batom\.", text))
print("\n".join(lines[barrier - 6 : barrier + 18]))
assert any("fence" in text for text in lines)

# %% [markdown]
# ## 7. Machine code
#
# `nvJitLink`, which `pip install "gradloom[cuda-ptx]"` brings, turns PTX into a *cubin* for one
# generation of GPUs. That is where registers are given out. A thread may have 255 of them; what
# does not fit is *spilled* to memory: bytes a thread, in the last column.

# %%
table = {}
for arch in ("sm_80", "sm_90", "sm_120"):
    for form, disabled in (("one kernel", ()), ("launches", ("persistent",))):
        with settings(disable=disabled):
            there = gl.train_step(loss, gl.optim.adam(1e-2), target=f"cuda-ptx:{arch}")
            text = there.ptx(there.init(first), *example[1:])
        try:
            table[arch, form] = cubins.linked([text], arch).resources
        except ToolchainError as error:
            print(f"{arch}: not assembled: {str(error).splitlines()[0]}")

print(f"{'':8}{'':12}{'kernels':>8}{'registers':>11}{'spilled':>9}")
for (arch, form), kernels in table.items():
    most = max(k.registers for k in kernels.values())
    spilled = max(k.spill_stores for k in kernels.values())
    print(f"{arch:8}{form:12}{len(kernels):8}{most:11}{spilled:9}")
    assert most <= 255
    assert spilled < 1024

# %% [markdown]
# The one kernel has as many registers as its hungriest stage takes, and the driver's own besides;
# of the many each has what it needs. In exchange there is nothing between two stages of the one
# kernel but a barrier.
#
# The machine code itself, SASS, is NVIDIA's own; `nvdisasm` (`pip install nvidia-cuda-nvdisasm`)
# shows it as text. The dozen lines below the table are the inside of a product.

# %%
try:
    sass = on_gpu.sass()
except ToolchainError as error:
    sass = ""
    print(f"No machine code to show: {str(error).splitlines()[0]}")
if sass:
    for name, count in counted(sass, r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)"):
        print(f"  {count:5} {name}")
    assert re.search(r"\bFFMA\b", sass)
    lines = [text.rstrip() for text in sass.splitlines()]
    busy = [sum("FFMA" in text for text in lines[n : n + 12]) for n in range(len(lines))]
    densest = busy.index(max(busy))
    print("\n".join(lines[densest : densest + 12]))

# %% [markdown]
# `FFMA` is the multiply-add of float32, `LDS` and `LDG` load from shared and from global memory
# (with `.128`, four numbers at once), `MUFU` is the unit for exponentials and roots.
#
# Products of float32 are computed in float32, unless they are asked to be less exact: with
# `precision="tensorfloat32"` or `"bfloat16"` their operands are rounded and tensor cores multiply
# them, by instructions that are called `HMMA`.

# %%
for precision in ("highest", "tensorfloat32", "bfloat16"):
    there = gl.train_step(loss, gl.optim.adam(1e-2), **HERE, precision=precision)
    state = there.init(first)
    text = there.ptx(state, *example[1:])
    kinds = sorted(set(re.findall(r"mma\.sync\.\S+", text)))
    print(f"{precision:14} {text.count('mma.sync'):4} mma.sync {' '.join(kinds)}")
    assert bool(kinds) == (precision != "highest")

# %% [markdown]
# ## 8. Training
#
# Where there is a GPU, the same run on both: data and weights go there once, and all steps are one
# call. Where there is none, the CPU trains alone, by the same graph and the same plan.

# %%
EPOCHS = 10


def train(step):
    state = step.init(first)
    losses = []
    for _ in range(EPOCHS):
        state, found = step.run(state, xs, ys)
        losses.append(np.asarray(found))
    return state.params, np.concatenate(losses)


curves = {"CPU": train(on_cpu)}
if GPU:
    curves["GPU"] = train(on_gpu)
    np.testing.assert_allclose(curves["GPU"][1], curves["CPU"][1], rtol=1e-2, atol=1e-3)
    print("The GPU learned what the CPU learned.")
else:
    print("This machine has no GPU: this curve is the CPU's.")

figure, axis = plt.subplots(figsize=(7, 3))
for word, (_, losses) in curves.items():
    axis.plot(losses, label=word, linewidth=1)
axis.set_yscale("log")
axis.yaxis.set_major_formatter("{x:g}")
axis.set_xlabel("step")
axis.set_ylabel("loss")
axis.legend()
plt.show()

for word, (params, _) in curves.items():
    hidden = np.tanh(pixels @ params["w1"] + params["b1"])
    right = (hidden @ params["w2"] + params["b2"]).argmax(1) == labels
    print(f"{word}: {right.mean():.1%} of the digits are recognised")
    assert right.mean() > 0.97
