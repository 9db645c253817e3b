# %% [markdown]
# # Back-propagation from first principles
#
# Back-propagation is the chain rule, applied from the end to the beginning, with every partial
# result kept and none computed twice. That is all of it. This notebook starts with a function of
# one number and a pencil, and ends with a trained network whose whole training loop is one native
# function, and it checks every claim on the way: each number that is worked out by hand is compared
# with the engine's.
#
# 1. [One number](#1.-One-number): the chain rule on a graph of three nodes
# 2. [Why backwards](#2.-Why-backwards-and-what-it-needs): what one reverse sweep costs, and what it
#    must remember
# 3. [A hidden layer by hand](#3.-A-hidden-layer-by-hand)
# 4. [XOR](#4.-XOR-learned)
# 5. [Errors on their way down](#5.-Errors-on-their-way-down) a deep network
# 6. [Inside the compiled loop](#6.-Inside-the-compiled-loop)
# 7. [Handwritten digits](#7.-Handwritten-digits)
#
# You need NumPy and the derivative of a sine. Models are written with `gradloom.numpy`, which has
# NumPy's names; arrays that go in and come out are ordinary NumPy arrays.

# %%
import io
import itertools
import linecache
import pdb
import re
import statistics
import time
import types

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import gradloom as gl
import gradloom.numpy as gnp

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})


def tidy(text):
    """Text without colours, and lines as `cell:3`, where Jupyter gives a cell a long number."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return re.sub(r"\d{6,}\.py", "cell", plain)


def picture(svg):
    IPython.display.display(IPython.display.SVG(tidy(svg)))


# %% [markdown]
# ## 1. One number
#
# $$y = e^{\sin(x^2)}$$
#
# Nobody computes this in one go, neither you nor a machine. There are three steps, each with one
# operation:
#
# $$u = x^2 \qquad v = \sin u \qquad y = e^v$$
#
# When `gl.jit` is called for the first time it runs the Python function once, with a stand-in
# instead of the number, and writes down which operations were asked for. What it has then is a
# *graph*: a box for each operation, an arrow for each value that goes from one into another. Below,
# `v0` is $x$; `v1` is $u$, since $x^2$ is recorded as $x \cdot x$; `v2` is $v$, and `v3` is $y$.


# %%
def f(x):
    return gnp.exp(gnp.sin(x**2))


compiled = gl.jit(f)
x = 1.2
compiled(x)
picture(compiled.draw().graph)

# %% [markdown]
# First **forward**, one node after another, with the number in place:

# %%
u = x**2
v = np.sin(u)
y = np.exp(v)
print(f"x = {x}\nu = x^2    = {u:.6f}\nv = sin(u) = {v:.6f}\ny = exp(v) = {y:.6f}")
np.testing.assert_allclose(compiled(x), y, rtol=1e-14)

# %% [markdown]
# Each step has a *local* derivative: by how much does its result move for each unit that its
# operand moves? It is a matter of this one step; what comes before and after does not enter.
#
# $$\frac{du}{dx} = 2x \qquad \frac{dv}{du} = \cos u \qquad \frac{dy}{dv} = e^v = y$$
#
# The last one is a gift: the derivative of the exponential is its own result, which we have
# already.

# %%
du_dx = 2 * x
dv_du = np.cos(u)
dy_dv = y
print(f"du/dx = {du_dx:.6f}\ndv/du = {dv_du:.6f}\ndy/dv = {dy_dv:.6f}")

# %% [markdown]
# Now **backward**. Write $\bar a$ for $dy/da$, how much the *final* result moves with the node $a$;
# it is called the *cotangent* of $a$ (also adjoint, or error signal). The last node moves with
# itself one to one, so $\bar y = 1$. From there the chain rule needs one multiplication a step:
#
# $$\bar v = \bar y \, \frac{dy}{dv} \qquad \bar u = \bar v \, \frac{dv}{du} \qquad
#   \bar x = \bar u \, \frac{du}{dx}$$

# %%
y_bar = 1.0
v_bar = y_bar * dy_dv
u_bar = v_bar * dv_du
x_bar = u_bar * du_dx
print(f"y_bar = {y_bar:.6f}\nv_bar = {v_bar:.6f}\nu_bar = {u_bar:.6f}\nx_bar = {x_bar:.6f}")

# %% [markdown]
# And the engine? `gl.grad(f)` is a function that does just this.

# %%
slope = gl.grad(f)
print(f"by hand {x_bar:.15f}\nengine  {float(slope(x)):.15f}")
np.testing.assert_allclose(slope(x), x_bar, rtol=1e-13)

# %% [markdown]
# The reverse sweep is made of operations like any others, so it can be drawn too. The boxes of the
# first picture are all here again. Note where the reverse sweep reads from the forward one: the
# cosine takes $u$, the first product takes $y$, the second takes $x$. And $2x\,\bar u$ is computed
# as $x \bar u + x \bar u$: squaring is a product whose two operands happen to be the same node,
# each pulls back its own share, and **shares that meet at a node are added**. That one rule is what
# the chain rule for several variables says, and the only thing about graphs that a chain does not
# have.

# %%
compiled_slope = gl.jit(slope)
compiled_slope(x)
picture(compiled_slope.draw().graph)

# %% [markdown]
# Since the gradient is a graph of ordinary operations, it has a gradient itself. By hand the
# product rule gives, with $c = \cos x^2$ and $s = \sin x^2$,
#
# $$y' = 2x\,c\,y \qquad y'' = y \left( 4x^2 c^2 + 2c - 4x^2 s \right)$$

# %%
curvature = gl.grad(gl.grad(f))
by_hand = y * (4 * x**2 * np.cos(u) ** 2 + 2 * np.cos(u) - 4 * x**2 * np.sin(u))
print(f"by hand {by_hand:.12f}\nengine  {float(curvature(x)):.12f}")
np.testing.assert_allclose(curvature(x), by_hand, rtol=1e-12)

# %% [markdown]
# For the picture we want the slope at many points at once. The gradient of a *sum* over points does
# it: each point enters only its own term, so all the other terms have derivative zero.

# %%
points = np.linspace(-2.6, 2.6, 400)
first = gl.grad(lambda p: gnp.sum(f(p)))
second = gl.grad(lambda p: gnp.sum(first(p)))
slopes, curvatures = first(points), second(points)

figure, axes = plt.subplots(1, 3, figsize=(11, 2.8))
for axis, values, title in zip(
    axes, (f(points), slopes, curvatures), ("$y$", "$y'$", "$y''$"), strict=True
):
    axis.axhline(0, color="0.8", lw=0.8)
    axis.plot(points, values)
    axis.set(title=title, xlabel="$x$")
axes[0].plot(x, y, "o", color="C3", ms=5)
axes[0].axline((x, y), slope=x_bar, color="C3", lw=0.9)
axes[0].set_ylim(0, 3)
plt.tight_layout()
plt.show()

# The slope is what a small step says it is.
h = 1e-6
np.testing.assert_allclose(slopes, (f(points + h) - f(points - h)) / (2 * h), rtol=1e-6, atol=1e-7)
np.testing.assert_allclose(
    curvatures, (first(points + h) - first(points - h)) / (2 * h), rtol=1e-6, atol=1e-6
)

# %% [markdown]
# ## 2. Why backwards, and what it needs
#
# ### The cost
#
# The chain rule is a product of local derivatives, and products may be taken from either end. From
# the front one asks: *if this input moves, how does everything after it move?* That is one sweep
# **for each input**. From the back one asks: *how does this result move with everything before it?*
# That is one sweep **for each result**. A loss is one result of a million parameters. This is the
# whole reason for going backwards.
#
# Take $y = \sum \tanh(B \tanh(A x))$ with $x$ in $\mathbb{R}^n$, and count multiplications in the
# matrix products, of which there is nothing else of that size.


# %%
class Counter:
    """Products of a matrix and a vector, counted."""

    multiplications = 0

    def product(self, matrix, vector):
        self.multiplications += matrix.size
        return matrix @ vector


def forward_mode(count, a, b, x):
    """One sweep from the front for each input: value and tangent side by side."""
    gradient = []
    for tangent in np.eye(len(x)):
        p, p_dot = np.tanh(count.product(a, x)), count.product(a, tangent)
        p_dot = (1 - p**2) * p_dot
        q, q_dot = np.tanh(count.product(b, p)), count.product(b, p_dot)
        gradient.append(np.sum((1 - q**2) * q_dot))
    return np.array(gradient)


def reverse_mode(count, a, b, x):
    """One sweep forward for the values, one back for all inputs together."""
    p = np.tanh(count.product(a, x))
    q = np.tanh(count.product(b, p))
    q_bar = np.ones_like(q)
    p_bar = count.product(b.T, (1 - q**2) * q_bar)
    return count.product(a.T, (1 - p**2) * p_bar)


def two_layers(x, a, b):
    return gnp.sum(gnp.tanh(b @ gnp.tanh(a @ x)))


rng = np.random.default_rng(0)
print("   n     value alone       one reverse sweep        n forward sweeps")
for n in (4, 16, 64, 256):
    a, b = rng.normal(size=(2, n, n)) / np.sqrt(n)
    x_n = rng.normal(size=n)
    back, front = Counter(), Counter()
    one_sweep, many_sweeps = reverse_mode(back, a, b, x_n), forward_mode(front, a, b, x_n)
    np.testing.assert_allclose(one_sweep, many_sweeps, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gl.grad(two_layers)(x_n, a, b), one_sweep, rtol=1e-10, atol=1e-12)
    alone = 2 * n * n
    assert back.multiplications == 2 * alone
    assert front.multiplications == 2 * n * alone
    counts = back.multiplications, front.multiplications
    shown = (f"{count:13,} ({count // alone:3} x)" for count in counts)
    print(f"{n:4} {alone:13,}", *shown, sep="   ")

# %% [markdown]
# The reverse sweep costs as much as the value, whatever $n$ is; all $n$ derivatives together cost
# twice the value alone. (For a matrix that is itself a parameter there is a third product, so
# training costs three times the forward pass. The bound for any function whatever is four to five
# times its operations: Baur and Strassen 1983; Griewank and Walther, *Evaluating Derivatives*,
# chapter 4.)
#
# ### The price: memory
#
# Look again at `reverse_mode`. Its first line backwards needs $q$, its second $p$. The sweep runs
# through the program in the opposite order, so what was computed *first* is needed *last*, and must
# be kept until then. What has to be kept depends on the operation:
#
# | operation | its reverse rule | needs from the forward sweep |
# |---|---|---|
# | $z = x + y$ | $\bar x = \bar z,\ \bar y = \bar z$ | nothing |
# | $z = 3x$, a sum, a transpose, a slice | $\bar x = 3 \bar z$, ... | nothing: *linear* |
# | $z = x\,y$, $Z = XW$ | $\bar x = \bar z\, y,\ \bar y = x\, \bar z$ | the *other* operand |
# | $z = \tanh x$, $z = e^x$ | $\bar x = (1 - z^2) \bar z$, $\bar x = z \bar z$ | its own result |
# | $z = \sin x$, $z = x^2$ | $\bar x = \cos(x)\, \bar z$, $\bar x = 2x\, \bar z$ | its operand |
# | $z = \max(x, 0)$ | $\bar x = \bar z$ where $x > 0$, else 0 | one bit: was $x > 0$? |
#
# A linear step has the same local derivative wherever it is evaluated, so its part of the reverse
# sweep could run before, after or without the forward sweep. A nonlinear one ties the two orders
# together: its value has to exist before its cotangent can pass.
#
# The engine plans this before anything runs. All values of a program live in one block of memory,
# the *arena*; each has a place in it from the step that computes it to the last step that reads it,
# and two that are never alive at the same time may share a place. Take $x W_1 W_2 \cdots$,
# differentiated by $x$, without an activation, with $\tanh$, and with relu:


# %%
def layers(activation):
    def total(x, weights):
        for w in weights:
            x = activation(x @ w)
        return gnp.sum(x)

    return gl.jit(gl.grad(total))


size = 64
depths = (2, 4, 8, 16)
activations = {"none (linear)": lambda z: z, "relu": gl.nn.relu, "tanh": gnp.tanh}
needed = {
    name: [
        layers(act).memory(np.ones((size, size)), [np.eye(size)] * depth).arena_bytes
        for depth in depths
    ]
    for name, act in activations.items()
}

figure, axis = plt.subplots(figsize=(5.5, 3))
for name, counts in needed.items():
    axis.plot(depths, np.array(counts) / 1024, "o-", label=name)
axis.set(xlabel="layers", ylabel="arena (KiB)", title="memory of one gradient", ylim=0)
axis.legend(frameon=False)
plt.show()

one = size * size * 8  # bytes of one float64 layer
growth = {name: (c[-1] - c[-2]) / (depths[-1] - depths[-2]) / one for name, c in needed.items()}
for name, share in growth.items():
    print(f"{name:14} each layer more takes {share:.3f} of the bytes of its values")
assert growth["none (linear)"] < 0.01 < growth["relu"] < 0.2 < 0.9 < growth["tanh"] < 1.1

# %% [markdown]
# Just as the table says. Linear layers keep nothing, however many there are: the gradient by $x$
# needs only the weights, which are there anyhow. Each relu keeps one truth value, a byte a number.
# Each $\tanh$ keeps 8 bytes a number. That is $1 - z^2$, computed while $z$ was at hand, so $z$
# itself can go as soon as the next layer has read it.
#
# The next picture is the arena of the $\tanh$ network with six layers. Time, in kernels, runs to
# the right, addresses go up, a box is a value from its birth to its last use. The long boxes are
# what the forward sweep keeps for the reverse sweep, and you can see back-propagation as a shape:
# first computed, last used.

# %%
six = layers(gnp.tanh)
example = np.ones((size, size)), [np.eye(size)] * 6
report = six.memory(*example)
picture(six.draw().arena)
print(f"arena {report.arena_bytes:,} bytes, of {report.separate_bytes:,} side by side")
assert report.arena_bytes < report.separate_bytes
longest = max(
    (buffer for buffer in report.buffers if buffer.space == "arena"),
    key=lambda buffer: buffer.dies - buffer.born,
)
print(f"alive for the longest time: {longest.name}, kernels {longest.born} to {longest.dies}")
assert longest.name.startswith("subtract")

# %% [markdown]
# ## 3. A hidden layer by hand
#
# A network with one hidden layer, on a batch of $N$ rows $X$ with targets $T$:
#
# $$Z = X W_1 + b_1 \qquad H = \tanh Z \qquad P = H W_2 + b_2 \qquad
#   L = \frac{1}{N K} \sum_{n,k} (P_{nk} - T_{nk})^2$$
#
# Backwards, step by step. A cotangent always has the shape of what it belongs to, and that alone
# nearly fixes the formulas.
#
# 1. The loss: $\bar P = \frac{2}{NK} (P - T)$.
# 2. The product $P = H W_2$. Since $P_{nk} = \sum_j H_{nj} W_{jk}$, the weight $W_{jk}$ moves every
#    row $n$ by $H_{nj}$. Shares are added: $\bar W_{jk} = \sum_n H_{nj} \bar P_{nk}$, that is $\bar
#    W_2 = H^\top \bar P$. In the same way $\bar H = \bar P\, W_2^\top$.
# 3. The bias is one row, *broadcast* over all $N$. One number used $N$ times collects $N$ shares:
#    the reverse of a broadcast is a **sum**, $\bar b_2 = \sum_n \bar P_n$.
# 4. The activation: $\delta = \bar Z = \bar H \odot (1 - H^2)$, from the result $H$ that was kept.
# 5. The first product, as in 2: $\bar W_1 = X^\top \delta$ and $\bar b_1 = \sum_n \delta_n$.
#
# This $\delta$ is the error signal of the layer, and $X^\top \delta$ is the formula of the
# textbooks: what came in, times what went wrong.

# %%
rng = np.random.default_rng(1)
rows, inputs, hidden, outputs = 32, 5, 7, 3
X, T = rng.normal(size=(rows, inputs)), rng.normal(size=(rows, outputs))
params = {
    "w1": rng.normal(size=(inputs, hidden)),
    "b1": rng.normal(size=hidden),
    "w2": rng.normal(size=(hidden, outputs)),
    "b2": rng.normal(size=outputs),
}

# forward
Z = X @ params["w1"] + params["b1"]
H = np.tanh(Z)
P = H @ params["w2"] + params["b2"]
L = np.mean((P - T) ** 2)
# backward
P_bar = 2 * (P - T) / (rows * outputs)
H_bar = P_bar @ params["w2"].T
delta = H_bar * (1 - H**2)
by_hand = {
    "w1": X.T @ delta,
    "b1": delta.sum(axis=0),
    "w2": H.T @ P_bar,
    "b2": P_bar.sum(axis=0),
}


def squared_loss(params, x, t):
    h = gnp.tanh(x @ params["w1"] + params["b1"])
    return gnp.mean((h @ params["w2"] + params["b2"] - t) ** 2)


value, gradient = gl.value_and_grad(squared_loss)(params, X, T)
np.testing.assert_allclose(value, L, rtol=1e-12)
for name in params:
    far = np.abs(gradient[name] - by_hand[name]).max()
    print(f"{name}: shape {gradient[name].shape}, largest difference {far:.1e}")
    np.testing.assert_allclose(gradient[name], by_hand[name], rtol=1e-12, atol=1e-12)

# %% [markdown]
# Two derivations that agree could still share a mistake. Finite differences know nothing of the
# chain rule: move one weight a little in both directions and look at the loss. (Their own error is
# what limits the agreement, to about nine digits here. One weight costs two losses, which is why
# nobody trains so.)

# %%
step_size = 1e-5
measured = np.zeros_like(params["w1"])
for place in np.ndindex(measured.shape):
    nudge = np.zeros_like(measured)
    nudge[place] = step_size
    up = squared_loss({**params, "w1": params["w1"] + nudge}, X, T)
    down = squared_loss({**params, "w1": params["w1"] - nudge}, X, T)
    measured[place] = (up - down) / (2 * step_size)
print(f"largest difference {np.abs(measured - gradient['w1']).max():.1e}")
np.testing.assert_allclose(measured, gradient["w1"], rtol=1e-6, atol=1e-8)

# %% [markdown]
# ## 4. XOR, learned
#
# "One or the other, but not both" is the smallest problem that no single layer can solve: no
# straight line separates the corners $(0,1), (1,0)$ from $(0,0), (1,1)$ (Minsky and Papert 1969). A
# hidden layer bends the plane first. Eight hidden units, one output; its sigmoid is the probability
# of "yes".
#
# `gl.train_step` takes the loss and an optimizer and makes **one** native function of forward
# sweep, reverse sweep and update. `fit` runs the whole training in one call of it.

# %%
corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
answers = np.array([0.0, 1.0, 1.0, 0.0])


def logit(params, x):
    h = gnp.tanh(x @ params["w1"] + params["b1"])
    return (h @ params["w2"] + params["b2"])[:, 0]


def xor_loss(params, x, t):
    return gnp.mean(gl.nn.sigmoid_binary_cross_entropy(logit(params, x), t))


rng = np.random.default_rng(2)
xor_params = {
    "w1": rng.normal(size=(2, 8)),
    "b1": rng.normal(size=8),
    "w2": rng.normal(size=(8, 1)) / np.sqrt(8),
    "b2": np.zeros(1),
}
xor_step = gl.train_step(xor_loss, gl.optim.adam(0.02))
state = xor_step.init(xor_params)
state, history = xor_step.fit(state, (corners, answers), batch_size=4, epochs=500)

probability = gl.jit(lambda params, x: gl.special.expit(logit(params, x)))
learned = probability(state.params, corners)
for corner, truth, p in zip(corners, answers, learned, strict=True):
    print(f"{corner[0]:.0f} xor {corner[1]:.0f} = {truth:.0f}: learned {p:.4f}")

# %%
across = np.linspace(-0.5, 1.5, 101)
grid = np.stack(np.meshgrid(across, across), axis=-1).reshape(-1, 2)
surface = probability(state.params, grid).reshape(101, 101)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
axes[0].semilogy(history["loss"])
axes[0].set(title="loss", xlabel="update")
shown = axes[1].contourf(across, across, surface, levels=np.linspace(0, 1, 11), cmap="RdBu")
axes[1].contour(across, across, surface, levels=[0.5], colors="k", linewidths=0.8)
axes[1].scatter(*corners.T, c=answers, cmap="RdBu", edgecolors="w", linewidths=1.5, s=70, zorder=3)
axes[1].set(title="learned probability", xlabel="first input", ylabel="second input")
figure.colorbar(shown)
plt.tight_layout()
plt.show()

np.testing.assert_array_equal(learned > 0.5, answers == 1)
np.testing.assert_allclose(learned, answers, atol=0.05)
np.testing.assert_allclose(history["loss"][0], xor_loss(xor_params, corners, answers), rtol=1e-10)
assert history["loss"][-1] < 0.05

# %% [markdown]
# ## 5. Errors on their way down
#
# In a deep network the error signal of layer $l$ comes from that of the layer above by
#
# $$\delta_l = \left( \delta_{l+1} W_{l+1}^\top \right) \odot \varphi'(Z_l)$$
#
# one product and one elementwise factor for each layer. A factor that is below one *everywhere* is
# below one to the power of the depth: the signal vanishes before it gets to the first layers, and
# they hardly learn. If the weights of a layer with $n$ inputs are independent, with mean zero and
# variance $\sigma^2 / n$, and layers are equally wide, then on average
#
# $$\|\delta_l\|^2 \approx \sigma^2 \; \overline{\varphi'(Z_l)^2} \; \|\delta_{l+1}\|^2$$
#
# For relu $\varphi'$ is 0 or 1, each about half of the time, so $\sigma^2 = 2$ keeps the length (He
# et al. 2015). For $\tanh$ it is at most 1, so even $\sigma^2 = 1$ loses a little in each layer,
# and $\sigma = \frac12$ loses half of the length in each.
#
# To *see* the cotangents of inner values, there is a simple trick: add a zero to them and
# differentiate by the zero. `probes` holds an array of zeros for each layer; the gradient by them
# is $\delta_l$.

# %%
digits, labels = load_digits(return_X_y=True)
digits = digits / 16  # grey levels from 0 to 1
depth, width = 8, 64
batch_x, batch_y = digits[:256], labels[:256]


def deep_loss(params, probes, x, y, activation):
    for layer, probe in zip(params, probes, strict=True):
        z = x @ layer["w"] + layer["b"] + probe
        x = activation(z)
    return gnp.mean(gl.nn.softmax_cross_entropy(z, y))  # the last layer has no activation


def deep_params(sigma, seed=3):
    rng = np.random.default_rng(seed)
    sizes = [64] + [width] * depth + [10]
    return [
        {"w": sigma * rng.normal(size=(m, n)) / np.sqrt(m), "b": np.zeros(n)}
        for m, n in itertools.pairwise(sizes)
    ]


probes = [np.zeros((256, width))] * depth + [np.zeros((256, 10))]
networks = {
    "tanh, sigma 1/2": (gnp.tanh, 0.5),
    "tanh, sigma 1": (gnp.tanh, 1.0),
    "relu, sigma sqrt 2": (gl.nn.relu, np.sqrt(2)),
}


def cotangents_of(activation):
    def loss(params, probes, x, y):
        return deep_loss(params, probes, x, y, activation)

    return gl.grad(loss, argnums=1)


def trainer_of(activation):
    def loss(params, x, y):
        return deep_loss(params, [0.0] * (depth + 1), x, y, activation)

    return gl.train_step(loss, gl.optim.sgd(0.05))


courses = {}
for name, (activation, sigma) in networks.items():
    cotangents, train = cotangents_of(activation), trainer_of(activation)
    state = train.init(deep_params(sigma))
    norms, losses = [], []
    for _ in range(31):
        deltas = cotangents(state.params, probes, batch_x, batch_y)
        norms.append([np.linalg.norm(delta) for delta in deltas])
        many = np.stack([batch_x] * 20), np.stack([batch_y] * 20)
        state, run_losses = train.run(state, *many)
        losses.append(run_losses)
    courses[name] = np.array(norms), np.concatenate(losses)

# %% [markdown]
# Once more by hand, for the last network as it stands now: run forward, keep every layer, and go
# back by the formula above.

# %%
kept, values = [], batch_x
for layer in state.params:
    kept.append(values @ layer["w"] + layer["b"])
    values = np.maximum(kept[-1], 0)
scores = np.exp(kept[-1] - kept[-1].max(axis=1, keepdims=True))
delta = (scores / scores.sum(axis=1, keepdims=True) - np.eye(10)[batch_y]) / len(batch_y)
deltas = cotangents(state.params, probes, batch_x, batch_y)
for number in reversed(range(depth + 1)):
    np.testing.assert_allclose(deltas[number], delta, rtol=1e-9, atol=1e-15)
    if number:
        delta = (delta @ state.params[number]["w"].T) * (kept[number - 1] > 0)
print("all", depth + 1, "layers agree")

# %%
figure, axes = plt.subplots(1, 4, figsize=(14, 3.1))
for name, (norms, losses) in courses.items():
    axes[0].semilogy(range(1, depth + 2), norms[0], "o-", ms=4, label=name)
    axes[3].plot(losses, label=name)
axes[0].set(title="$||\\delta_l||$ before training", xlabel="layer")
axes[0].legend(frameon=False, fontsize=8)
axes[3].set(title="loss", xlabel="update")
for axis, name in zip(axes[1:3], ("tanh, sigma 1/2", "relu, sigma sqrt 2"), strict=True):
    norms = courses[name][0]
    for number in range(depth + 1):
        colour = plt.cm.viridis(number / depth)
        axis.semilogy(20 * np.arange(31), norms[:, number], color=colour, lw=1.2)
    axis.set(title=f"{name}: over training", xlabel="update (dark: first layer)")
plt.tight_layout()
plt.show()

ratios = {}
for name, (norms, _) in courses.items():
    hidden_norms = norms[0][:depth]
    ratios[name] = (hidden_norms[0] / hidden_norms[-1]) ** (1 / (depth - 1))
    print(f"{name:20} each layer down multiplies the error signal by {ratios[name]:.2f}")
assert 0.4 < ratios["tanh, sigma 1/2"] < 0.55
assert 0.75 < ratios["tanh, sigma 1"] < 1.05
assert 0.75 < ratios["relu, sigma sqrt 2"] < 1.25
assert courses["relu, sigma sqrt 2"][1][-1] < courses["tanh, sigma 1/2"][1][-1]

# %% [markdown]
# The first network loses half of the signal a layer, as predicted, two orders of magnitude in all,
# and its loss does not move for a long time. Depth alone is not at fault: with a variance that fits
# the activation, the same eight layers learn at once.
#
# ## 6. Inside the compiled loop
#
# What does `gl.train_step` make of the XOR network? Everything compiled can be asked. We take plain
# gradient descent here, whose text is shorter than Adam's, and one update so that there is
# something to ask about.

# %%
sgd_step = gl.train_step(xor_loss, gl.optim.sgd(0.5))
state = sgd_step.init(xor_params)
leaves = []  # the state's arrays in the order of the program's inputs, before the update
gl.tree_map(leaves.append, (state.params, state.optimizer))
state, loss = sgd_step(state, corners, answers)

print(tidy(sgd_step.explain()))

# %% [markdown]
# The operations of all three sweeps were gathered into a handful of *kernels*, loops that run as
# one. Between any two lines stands the reason why they are two. And this is all the memory that it
# works in, to the byte:

# %%
print(tidy(str(sgd_step.memory())))

# %% [markdown]
# `source()` is the whole program as a Python module: each kernel as plain loops, and the driver
# that calls them, which is the same text that is compiled. Here is the kernel with the hidden
# layer's activation,

# %%
source = sgd_step.source()
functions = re.split(r"\n\n\n(?=#|@|def )", source)
activation_kernel = next(text for text in functions if "np.tanh(" in text)
print(tidy(activation_kernel))
assert re.search(r"= np\.float64\(1\.0\) - ", activation_kernel)

# %% [markdown]
# which holds a small discovery: $1 - \tanh^2$, the local derivative that only the reverse sweep
# needs, is computed right here in the forward sweep, while the result is at hand. Nothing says that
# the sweeps must be run one after the other. They are one graph, and its steps run in whatever
# order suits the machine, as long as each comes after what it reads.
#
# And this is the driver's loop over batches. It finds where the batch lies, and then the kernels
# are called: forward, reverse and update, in the order that was planned. A network as small as this
# one runs on one thread; the same text is what each worker of a team runs, on its own share of the
# rows, and `meet` is where they wait for one another.

# %%
driver_text = next(text for text in functions if "def program(" in text)
print(tidy(driver_text[driver_text.index("    for done in") :]))

# %% [markdown]
# Since it is Python, it can be stepped through. We load the text as a module and put the standard
# debugger on it, with its commands prepared: stop at the $\tanh$, say which element this is and
# what comes out, go on.

# %%
name = "<xor step>"
linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
program = types.ModuleType("xor_step")
exec(compile(source, name, "exec"), program.__dict__)
program.seen = []

line = next(n for n, text in enumerate(source.splitlines(), 1) if "= np.tanh(" in text)
result = source.splitlines()[line - 1].partition(" = ")[0].strip()
commands = [f"tbreak {line}", "continue", "p i, j", "next", f"p {result}"]
commands += [f"!seen.append(float({result}))", "continue"]


class Session(pdb.Pdb):
    """The debugger, with the commands shown as if they were typed."""

    def precmd(self, line):
        self.message(line)
        return super().precmd(line)


shown = io.StringIO()
typed = io.StringIO("\n".join(commands) + "\n")
session = Session(stdin=typed, stdout=shown, nosigint=True, readrc=False)
uncompiled = session.runcall(program.run, *leaves, corners, answers)
print(tidy(shown.getvalue()))

# %% [markdown]
# What was seen there is the first unit for the first corner, as NumPy computes it; and the loss and
# all updated parameters are those of the native call.

# %%
first_unit = np.tanh(corners @ xor_params["w1"] + xor_params["b1"])[0, 0]
np.testing.assert_allclose(program.seen, [first_unit], rtol=1e-12, atol=1e-15)
np.testing.assert_allclose(uncompiled[0], loss, rtol=1e-12)
after = []
gl.tree_map(after.append, (state.params, state.optimizer))
for ours, native in zip(leaves, after, strict=True):
    np.testing.assert_allclose(ours, native, rtol=1e-12, atol=1e-14)
print(f"loss {float(uncompiled[0]):.15f} in Python, {float(loss):.15f} native")

# %% [markdown]
# ## 7. Handwritten digits
#
# 1,797 pictures of 8 x 8 grey levels; a quarter is held out and never trained on. Two hidden
# layers, Adam (Kingma and Ba 2015), batches of 64 in a new order each epoch. `fit` runs all of it
# natively: the shuffling, the gathering of each batch, forward, reverse, update. Training is
# deterministic: the same keys give the same bits on the same machine.

# %%
train_x, test_x, train_y, test_y = train_test_split(
    digits.astype("float32"), labels, test_size=0.25, stratify=labels, random_state=0
)


def digits_loss(params, x, y):
    scores = gl.nn.mlp(params, x, gl.nn.tanh)
    return gnp.mean(gl.nn.softmax_cross_entropy(scores, y))


digit_params = gl.nn.mlp_init(gl.random.key(0), (64, 128, 64, 10))
digit_step = gl.train_step(digits_loss, gl.optim.adam(2e-3))
state, history = digit_step.fit(
    digit_step.init(digit_params),
    (train_x, train_y),
    batch_size=64,
    epochs=40,
    shuffle=gl.random.key(1),
    validation=(test_x, test_y),
)

predict = gl.jit(lambda params, x: gnp.argmax(gl.nn.mlp(params, x, gl.nn.tanh), axis=-1))
guesses = predict(state.params, test_x)
accuracy = np.mean(guesses == test_y)
print(f"{accuracy:.1%} of {len(test_y)} held-out digits are read rightly")
assert accuracy >= 0.97

# %%
wrong = np.flatnonzero(guesses != test_y)
figure = plt.figure(figsize=(10, 2.8))
axis = figure.add_axes((0.06, 0.18, 0.36, 0.7))
axis.semilogy(history["loss"], label="training")
axis.semilogy(history["validation_loss"], label="held out")
axis.set(xlabel="epoch", title="loss")
axis.legend(frameon=False)
for place, index in enumerate(wrong[:5]):
    axis = figure.add_axes((0.47 + 0.105 * place, 0.25, 0.095, 0.5))
    axis.imshow(test_x[index].reshape(8, 8), cmap="gray_r")
    axis.set_title(f"{test_y[index]} read as {guesses[index]}", fontsize=9)
    axis.set_axis_off()
plt.show()

# %% [markdown]
# ### Compiled against eager
#
# `with gl.eager():` runs the same program operator by operator in NumPy, in the way of a framework
# without a compiler. To compare fairly: the same code, the same float32 numbers, the same batches,
# the same start; compilation is over before the clock starts; the two take turns, so that a busy
# moment of the machine hits both; NumPy's matrix products are held to one thread, since threads do
# not pay at this size. What is compared first of all is the *result*.

# %%
batches = 50
turn_x = train_x[: 64 * 20].reshape(20, 64, 64)[np.arange(batches) % 20]
turn_y = train_y[: 64 * 20].reshape(20, 64)[np.arange(batches) % 20]


def timed(run):
    start = time.perf_counter()
    result = run()
    return (time.perf_counter() - start) / batches, result


def one_call():
    return digit_step.run(digit_step.init(digit_params), turn_x, turn_y)[1]


def step_by_step():
    state, losses = digit_step.init(digit_params), []
    for x, y in zip(turn_x, turn_y, strict=True):
        state, loss = digit_step(state, x, y)
        losses.append(loss)
    return np.array(losses)


def eager():
    with gl.eager():
        return one_call()


ways = {"one native call": one_call, "a call a step": step_by_step, "eager NumPy": eager}
seconds = {name: [] for name in ways}
with threadpool_limits(1):
    losses = {name: run() for name, run in ways.items()}
    for _ in range(9):
        for name, run in ways.items():
            seconds[name].append(timed(run)[0])

np.testing.assert_array_equal(losses["one native call"], losses["a call a step"])
np.testing.assert_allclose(losses["one native call"], losses["eager NumPy"], rtol=1e-3)
for name in ways:
    ratio = [e / s for e, s in zip(seconds["eager NumPy"], seconds[name], strict=True)]
    low, middle, high = statistics.quantiles(ratio, n=4)
    micro = statistics.median(seconds[name]) * 1e6
    spread = f"(quartiles {low:.1f} to {high:.1f})"
    print(f"{name:16} {micro:7.0f} us a step, {middle:5.1f} times as fast as eager {spread}")

# %% [markdown]
# The ratio is what carries over to another machine; the microseconds do not. The arithmetic is the
# same on both sides. The difference is what lies between. Eager execution goes through Python for
# every operator, and each makes an array, writes it to memory and leaves it to the next to read.
# The compiled loop goes through Python once a call, and what one kernel needs only for itself never
# leaves the processor's registers.
#
# That is back-propagation: one rule, applied backwards. Everything else is keeping the right things
# at hand, and not doing anything twice.
