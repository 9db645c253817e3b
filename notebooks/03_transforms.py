# %% [markdown]
# # Transforms
#
# A transform takes a function and gives a function: its slope, the same for a whole batch, the same
# with less memory. They are made of one another, since what each of them gives is a function like
# any other. This notebook shows each of them once, on a problem that has a picture, and asserts
# every claim.
#
# 1. [Two ways through the chain rule](#1.-Two-ways-through-the-chain-rule): `jvp`, `vjp`
# 2. [One example is enough](#2.-One-example-is-enough): `vmap`
# 3. [Time](#3.-Time): `scan`
# 4. [A derivative through a loop](#4.-A-derivative-through-a-loop)
# 5. [A derivative of one's own](#5.-A-derivative-of-one's-own): `custom_vjp`
# 6. [Memory for work](#6.-Memory-for-work): `checkpoint`

# %%
import matplotlib.pyplot as plt
import numpy as np

import gradloom as gl
import gradloom.numpy as gnp

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## 1. Two ways through the chain rule
#
# A function from the plane to the plane has at every point a matrix of slopes, the Jacobian $J$. It
# is seldom needed whole. `jvp` *pushes* a direction forward, $v \mapsto J v$: where does the result
# go if the argument goes along $v$? `vjp` *pulls* a question back, $w \mapsto w^T J$: by how much
# does $w \cdot f$ move for each unit of each argument? Neither ever makes the matrix.


# %%
def swirl(p):
    """A turn about the origin, by an angle that grows with the distance from it."""
    angle = gnp.sum(p**2)
    return gnp.stack(
        [p[0] * np.cos(angle) - p[1] * np.sin(angle), p[0] * np.sin(angle) + p[1] * np.cos(angle)]
    )


p, v, w = np.array([0.6, 0.5]), np.array([1.0, 0.0]), np.array([0.0, 1.0])
value, pushed = gl.jvp(swirl, (p,), (v,))
value, pull = gl.vjp(swirl, p)
(pulled,) = pull(w)
jacobian = gl.jacfwd(swirl)(p)

print(f"the Jacobian\n{jacobian}\nits first column {pushed}\nits second row   {pulled}")
np.testing.assert_allclose(pushed, jacobian @ v, rtol=1e-14)
np.testing.assert_allclose(pulled, w @ jacobian, rtol=1e-14)
np.testing.assert_allclose(gl.jacrev(swirl)(p), jacobian, rtol=1e-13)

# %% [markdown]
# `jacfwd` is one `jvp` for each column, `jacrev` one `vjp` for each row; they agree. A loss has one
# row, whatever the number of parameters: this is why networks are trained backwards.
#
# ## 2. One example is enough
#
# `swirl` is written for one point. `vmap` makes of it the function for a hundred points; there is
# no loop, every operation gets one more axis. To draw what `jvp` says, push both unit vectors at
# each point of a grid: mapped over points, and within that over directions.


# %%
def frame(p):
    """Where p goes, and where its two unit vectors go."""
    return swirl(p), gl.vmap(lambda v: gl.jvp(swirl, (p,), (v,))[1])(np.eye(2))


ticks = np.linspace(-1, 1, 9)
grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
moved, frames = gl.jit(gl.vmap(frame))(grid)
assert frames.shape == (81, 2, 2)

lines = np.linspace(-1, 1, 200)
figure, axes = plt.subplots(1, 2, figsize=(9, 4.2))
whole = gl.jit(gl.vmap(swirl))
for tick in ticks:
    for line in (np.stack([lines, 0 * lines + tick], 1), np.stack([0 * lines + tick, lines], 1)):
        axes[0].plot(*line.T, color="0.8", lw=0.8)
        axes[1].plot(*whole(line).T, color="0.8", lw=0.8)
for direction, colour in ((0, "C0"), (1, "C3")):
    arrows = {"color": colour, "angles": "xy", "scale_units": "xy", "scale": 6, "width": 0.004}
    axes[0].quiver(*grid.T, *np.eye(2)[direction][:, None] * np.ones(81), **arrows)
    axes[1].quiver(*moved.T, *frames[:, direction].T, **arrows)
for axis, title in zip(axes, ("points and directions", "pushed forward"), strict=True):
    axis.set(title=title, aspect="equal", xticks=[], yticks=[])
plt.tight_layout()
plt.show()

# A swirl keeps areas: the two arrows span the same everywhere.
np.testing.assert_allclose(np.linalg.det(frames), 1, rtol=1e-12)

# %% [markdown]
# Mapped gradients are gradients of every example on its own. Here two clouds of points are told
# apart by a straight line, and three labels are wrong. The gradient of an example says how hard it
# pulls at the line; the wrong ones pull hardest.

# %%
rng = np.random.default_rng(4)
labels = np.repeat([0.0, 1.0], 60)
cloud = rng.normal(size=(120, 2)) + np.where(labels[:, None] > 0, 1.7, -1.7)
wrong = np.array([5, 40, 90])
labels[wrong] = 1 - labels[wrong]


def cross_entropy(params, x, label):
    score = x @ params["w"] + params["b"]
    return gl.nn.softplus(score) - label * score


def mean_loss(params, xs, labels):
    return gnp.mean(gl.vmap(cross_entropy, in_axes=(None, 0, 0))(params, xs, labels))


def fit(params, xs, labels):
    """Three hundred steps of gradient descent, as one loop."""

    def step(params, _):
        slopes = gl.grad(mean_loss)(params, xs, labels)
        return gl.tree_map(lambda value, slope: value - 0.5 * slope, params, slopes), None

    return gl.scan(step, params, None, length=300)[0]


params = gl.jit(fit)({"w": np.zeros(2), "b": 0.0}, cloud, labels)
each = gl.vmap(gl.grad(cross_entropy), in_axes=(None, 0, 0))(params, cloud, labels)
strength = np.sqrt(np.sum(each["w"] ** 2, axis=1) + each["b"] ** 2)
assert set(np.argsort(strength)[-3:]) == set(wrong)

figure, axis = plt.subplots(figsize=(5, 3.6))
axis.scatter(*cloud.T, s=8 + 60 * strength, c=np.where(labels > 0, "C0", "C1"), alpha=0.7)
axis.axline((0, -params["b"] / params["w"][1]), slope=-params["w"][0] / params["w"][1], color="0.6")
axis.set(
    title="each example's gradient, as its size", aspect="equal", xlim=(-4.5, 4.5), ylim=(-4.5, 4.5)
)
plt.show()

# %% [markdown]
# ## 3. Time
#
# `gl.scan(f, start, rows)` threads a value through a function, and stacks what the function hands
# out on the way; it stays one loop in the compiled code, however long. A pendulum with friction,
# by the leapfrog method:


# %%
def swing(start, steps=400, h=0.05):
    """Angles and speeds of a pendulum, (steps, 2)."""

    def step(state, _):
        angle, speed = state
        speed = speed - h / 2 * (np.sin(angle) + 0.08 * speed)
        angle = angle + h * speed
        speed = speed - h / 2 * (np.sin(angle) + 0.08 * speed)
        return (angle, speed), gnp.stack([angle, speed])

    return gl.scan(step, (start[0], start[1]), None, length=steps)[1]


starts = np.stack([np.zeros(12), np.linspace(0.3, 3.4, 12)], axis=1)
paths = gl.jit(gl.vmap(swing))(starts)
assert paths.shape == (12, 400, 2)

figure, axis = plt.subplots(figsize=(8, 3))
for path, colour in zip(paths, plt.cm.viridis(np.linspace(0, 0.9, 12)), strict=True):
    axis.plot(*path.T, color=colour, lw=0.9)
axis.set(xlabel="angle", ylabel="speed", title="twelve swings, the loop mapped over their starts")
plt.show()

# %% [markdown]
# How does an uncertain start spread? The Jacobian of the end by the start, of the whole loop, turns
# a small disc of starts into an ellipse. Compare it with the disc itself, every point of its edge
# swung on its own. Friction shrinks areas, and here we know by how much at every step.

# %%
centre, radius = np.array([0.0, 1.9]), 0.08
edge = np.stack([np.cos(np.linspace(0, 2 * np.pi, 100)), np.sin(np.linspace(0, 2 * np.pi, 100))], 1)

figure, axes = plt.subplots(1, 4, figsize=(10, 2.8))
for axis, steps in zip(axes, (2, 40, 120, 240), strict=True):

    def end(start, steps=steps):
        return swing(start, steps)[-1]

    middle, slopes = gl.jit(end)(centre), gl.jacfwd(end)(centre)
    axis.fill(*gl.jit(gl.vmap(end))(centre + radius * edge).T, color="C0", alpha=0.3, lw=0)
    axis.plot(*(middle + radius * edge @ slopes.T).T, color="C3", lw=1)
    axis.set(title=f"after {steps} steps")
    axis.set_aspect("equal", adjustable="datalim")
    each_step = (1 - 0.04 * 0.05) ** 2
    np.testing.assert_allclose(np.linalg.det(slopes), each_step**steps, rtol=1e-9)
plt.tight_layout()
plt.show()

# %% [markdown]
# ## 4. A derivative through a loop
#
# A ball is thrown with drag. Which throw hits the target? The landing point is a function of the
# throw like any other, with a loop inside, and Newton's method wants its Jacobian.


# %%
def flight(throw, steps=80, h=0.025):
    def step(state, _):
        place, speed = state
        pull = gnp.stack([0.0, -9.81])
        speed = speed + h * (pull - 0.1 * gnp.sqrt(gnp.sum(speed**2)) * speed)
        return (place + h * speed, speed), place + h * speed

    return gl.scan(step, (np.zeros(2), throw), None, length=steps)[1]


def improve(throw, target):
    def miss(throw):
        return flight(throw)[-1] - target

    return throw - gnp.linalg.solve(gl.jacfwd(miss)(throw), miss(throw))


target = np.array([12.0, 3.0])
newton = gl.jit(improve)
throws = [np.array([5.0, 5.0])]
for _ in range(6):
    throws.append(newton(throws[-1], target))

figure, axis = plt.subplots(figsize=(8, 2.8))
fly = gl.jit(flight)
for number, throw in enumerate(throws[:5]):
    axis.plot(*fly(throw).T, color=plt.cm.viridis(0.9 - 0.2 * number), label=f"throw {number}")
axis.plot(*target, "o", color="C3")
axis.legend(frameon=False)
axis.set(title="Newton's method on the throw", xlabel="m")
plt.show()

misses = [np.abs(fly(throw)[-1] - target).max() for throw in throws]
print("misses", *(f"{miss:.1e}" for miss in misses))
assert misses[-1] < 1e-10

# %% [markdown]
# ## 5. A derivative of one's own
#
# Where a planet is at a time follows from Kepler's equation, $E - e \sin E = M$: the time is $M$,
# and $E$ has to be found. Newton's method finds it in as many rounds as it needs, and there lies a
# difficulty: nobody knows how much a reverse sweep would have to remember. Nor should it remember
# anything. The implicit function theorem has the slope, whichever way $E$ was found:
#
# $$dE = \frac{dM + \sin E \; de}{1 - e \cos E}$$
#
# `custom_vjp` lets us say so.


# %%
@gl.custom_vjp
def kepler(time, eccentricity):
    def off(state):
        anomaly, _ = state
        return gnp.abs(anomaly - eccentricity * np.sin(anomaly) - time) > 1e-14

    def newton(state):
        anomaly, rounds = state
        wrong = anomaly - eccentricity * np.sin(anomaly) - time
        return anomaly - wrong / (1 - eccentricity * np.cos(anomaly)), rounds + 1

    return gl.while_loop(lambda s: off(s) & (s[1] < 50), newton, (time + eccentricity, 0))[0]


def forward(time, eccentricity):
    anomaly = kepler(time, eccentricity)
    return anomaly, (anomaly, eccentricity)


def backward(kept, g):
    anomaly, eccentricity = kept
    by_time = g / (1 - eccentricity * np.cos(anomaly))
    return by_time, by_time * np.sin(anomaly)


kepler.defvjp(forward, backward)


def planet(time, eccentricity):
    """The place on an orbit whose longer half axis is 1, the sun in the origin."""
    anomaly = kepler(time, eccentricity)
    return gnp.stack(
        [np.cos(anomaly) - eccentricity, gnp.sqrt(1 - eccentricity**2) * np.sin(anomaly)]
    )


e = 0.6
times = np.linspace(0, 2 * np.pi, 41)[:-1]
places = gl.jit(gl.vmap(lambda t: planet(t, e)))(times)
speeds = gl.jit(gl.vmap(gl.jacrev(lambda t: planet(t, e))))(times)

figure, axis = plt.subplots(figsize=(6, 3.6))
axis.plot(0, 0, "o", color="C1", ms=12)
axis.plot(*places.T, ".", color="0.4")
axis.quiver(*places.T, *speeds.T, color="C0", angles="xy", scale_units="xy", scale=8, width=0.003)
axis.set(aspect="equal", xticks=[], yticks=[], title="places at equal times, and velocities")
plt.show()

# Kepler's second law: equal areas in equal times; the energy is that of any orbit of this length.
sweep = places[:, 0] * speeds[:, 1] - places[:, 1] * speeds[:, 0]
energy = np.sum(speeds**2, axis=1) / 2 - 1 / np.sqrt(np.sum(places**2, axis=1))
np.testing.assert_allclose(sweep, np.sqrt(1 - e**2), rtol=1e-11)
np.testing.assert_allclose(energy, -0.5, rtol=1e-11)

# %% [markdown]
# Nobody wrote a velocity, let alone a law of conservation. They follow from one equation and its
# implicit slope.
#
# ## 6. Memory for work
#
# The reverse sweep of a loop reads what the forward loop computed, so the forward loop keeps it:
# memory grows with the number of steps. `checkpoint` marks a function whose inner values are
# computed again rather than kept. A loop of $n$ steps as $\sqrt n$ loops of $\sqrt n$ steps, the
# inner one checkpointed, keeps the states between the inner ones and the steps of a single one at a
# time, for one more run through the steps.


# %%
rng = np.random.default_rng(0)
mix = rng.normal(size=(64, 64)) / 8
state = rng.normal(size=64)


def step(h, _):
    return np.tanh(mix @ h), None


def long(h, n):
    return gnp.sum(gl.scan(step, h, None, length=n * n)[0] ** 2)


def in_pieces(h, n):
    @gl.checkpoint
    def piece(h):
        return gl.scan(step, h, None, length=n)[0]

    return gnp.sum(gl.scan(lambda h, _: (piece(h), None), h, None, length=n)[0] ** 2)


sizes = np.array([4, 8, 16, 32, 64])
bytes_of = {"all kept": [], "checkpointed": []}
for n in sizes:
    slopes = []
    for name, loss in (("all kept", long), ("checkpointed", in_pieces)):
        slope = gl.jit(gl.grad(lambda h, n=int(n), loss=loss: loss(h, n)))
        slopes.append(slope(state))
        bytes_of[name].append(slope.program().plan.arena_bytes)
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-10, atol=1e-12)

figure, axis = plt.subplots(figsize=(6, 3))
for name, count in bytes_of.items():
    axis.loglog(sizes**2, np.array(count) / 1024, "o-", label=name, base=2)
axis.set(xlabel="steps", ylabel="KiB", title="memory of a gradient through a loop")
axis.legend(frameon=False)
plt.show()

growth = [np.log2(count[-1] / count[-2]) for count in bytes_of.values()]
print(f"four times the steps need {2 ** growth[0]:.1f} and {2 ** growth[1]:.1f} times the memory")
assert growth[0] > 1.8
assert growth[1] < 1.2

# %% [markdown]
# The gradients are the same. What is kept, and what is computed again, is a choice that belongs to
# whoever has the machine; the function that is differentiated does not know of it. That is the
# common thread: every transform here took a plain function of plain arrays, and left it alone.
