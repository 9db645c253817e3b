"""Checkpoints: the same numbers to the bit, in less memory."""

import subprocess
import sys

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import TracingError
from gradloom.frontend.pytree import flatten

RNG = np.random.default_rng(0)
W = RNG.normal(size=(8, 64, 64)) / 8
X = RNG.normal(size=(256, 64))
POLICIES = gl.checkpoint_policies
WAYS = {
    "nothing": POLICIES.nothing_saveable,
    "everything": POLICIES.everything_saveable,
    "dots": POLICIES.dots_saveable,
    "dots without batches": POLICIES.dots_with_no_batch_dims_saveable,
    "a name": POLICIES.save_only_these_names("wave"),
    "another name": POLICIES.save_any_names_but_these("wave"),
    "a function": lambda node: node.type.shape == (),
}


def block(x, w):
    wave = gl.checkpoint_name(np.sin(x @ w), "wave")
    return np.tanh(np.tanh(wave) * 2.0)


def chain(layer, depth=8):
    def loss(w, x):
        for i in range(depth):
            x = layer(x, w[i])
        return gnp.sum(x)

    return loss


def arena(loss):
    return gl.grad(loss).memory(W, X).arena_bytes


def test_less_memory_and_the_same_bits():
    plain = gl.grad(chain(block))
    frugal = gl.grad(chain(gl.checkpoint(block)))
    np.testing.assert_array_equal(frugal(W, X), plain(W, X))
    # 8 inputs of blocks are kept, of 256 x 64 numbers, and what one block takes.
    assert frugal.memory().arena_bytes < 0.45 * plain.memory().arena_bytes
    assert frugal.memory().arena_bytes < (8 + 4) * X.nbytes


@pytest.mark.parametrize("way", WAYS)
def test_policies_change_no_bit(way):
    loss = chain(gl.checkpoint(block, policy=WAYS[way]), depth=3)
    np.testing.assert_array_equal(gl.grad(loss)(W, X), gl.grad(chain(block, depth=3))(W, X))


def test_policies_decide_what_is_kept():
    kept = {way: arena(chain(gl.checkpoint(block, policy=WAYS[way]))) for way in WAYS}
    assert kept["everything"] == arena(chain(block))
    assert kept["nothing"] == kept["another name"] == kept["a function"]
    assert kept["nothing"] < kept["dots"] == kept["dots without batches"] < kept["everything"]
    assert kept["nothing"] < kept["a name"] < kept["everything"]


def test_batched_products_are_kept_apart_by_policy():
    def pair(x, y):
        return np.tanh(np.sin(gnp.matmul(x, y)))

    x = RNG.normal(size=(4, 32, 32))
    sizes = []
    for policy in (POLICIES.dots_saveable, POLICIES.dots_with_no_batch_dims_saveable, None):
        layer = gl.checkpoint(pair, policy=policy)

        def loss(x, layer=layer):
            y = x
            for _ in range(8):
                y = layer(y, x)
            return gnp.sum(y)

        sizes.append(gl.grad(loss).memory(x).arena_bytes)
    assert sizes[0] > sizes[1] == sizes[2]


def test_values_of_a_sweep_forwards():
    layer = gl.checkpoint(block)
    ours = gl.jvp(lambda x: layer(x, W[0]), (X,), (X,))
    plain = gl.jvp(lambda x: block(x, W[0]), (X,), (X,))
    for one, two in zip(ours, plain, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("way", WAYS)
def test_nesting(way):
    v = np.array([0.3, -0.7, 1.1])

    def f(x):
        return np.tanh(gl.checkpoint_name(np.sin(x) * x[::-1], "wave"))

    kept = gl.checkpoint(f, policy=WAYS[way])
    twice = gl.checkpoint(lambda x: kept(kept(x)), policy=WAYS[way])
    close = {"rtol": 1e-12, "atol": 1e-14}
    for one, two in ((kept, f), (twice, lambda x: f(f(x)))):
        ours = lambda x, one=one: gnp.sum(one(x))  # noqa: E731
        plain = lambda x, two=two: gnp.sum(two(x))  # noqa: E731
        np.testing.assert_allclose(gl.hessian(ours)(v), gl.hessian(plain)(v), **close)
        np.testing.assert_allclose(
            gl.grad(lambda x, g=ours: gnp.sum(gl.grad(g)(x) ** 2))(v),
            gl.grad(lambda x, g=plain: gnp.sum(gl.grad(g)(x) ** 2))(v),
            **close,
        )
        rows = np.stack([v, v + 1])
        np.testing.assert_allclose(
            gl.vmap(gl.grad(ours))(rows), gl.vmap(gl.grad(plain))(rows), **close
        )
        np.testing.assert_allclose(
            gl.grad(lambda r, g=one: gnp.sum(gl.vmap(g)(r)))(rows),
            gl.vmap(gl.grad(plain))(rows),
            **close,
        )
        np.testing.assert_allclose(gl.vjp(one, v)[1](v)[0], gl.vjp(two, v)[1](v)[0], **close)


def test_closures_are_differentiated():
    def loss(w, x):
        return gnp.sum(gl.checkpoint(lambda x: np.tanh(x @ (w * 2.0)))(x))

    plain = gl.grad(lambda w, x: gnp.sum(np.tanh(x @ (w * 2.0))))
    np.testing.assert_allclose(gl.grad(loss)(W[0], X), plain(W[0], X))


def test_a_checkpointed_step_of_a_loop():
    """Only its arguments are stacked for the way back."""

    def step(carry, _):
        for _ in range(4):
            carry = np.tanh(np.sin(carry @ W[0]))
        return carry, None

    def loss(layer, x):
        return gnp.sum(gl.scan(layer, x, np.arange(10))[0])

    plain = gl.grad(lambda x: loss(step, x))
    frugal = gl.grad(lambda x: loss(gl.checkpoint(step), x))
    np.testing.assert_array_equal(frugal(X), plain(X))
    assert frugal.memory().arena_bytes < 0.3 * plain.memory().arena_bytes


def test_trees_static_arguments_and_names():
    def layer(p, activation, x, *, shift):
        return {"y": activation(x @ p["w"] + p["b"]) + shift, "n": 3}

    kept = gl.checkpoint(layer, static_argnums=1)
    assert kept.__name__ == "layer"
    p = {"w": W[0], "b": W[0, 0]}
    results = []
    for form in (layer, kept):
        loss = lambda p, form=form: gnp.sum(form(p, np.tanh, X, shift=1.0)["y"] ** 2)  # noqa: E731
        results.append(flatten(gl.grad(loss)(p))[0])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_outside_of_a_sweep_it_is_the_function():
    np.testing.assert_array_equal(gl.checkpoint(np.sin)(X), np.sin(X))
    np.testing.assert_allclose(gl.jit(gl.checkpoint(np.sin))(X), np.sin(X))
    with gl.eager():
        found = gl.grad(lambda w: chain(gl.checkpoint(block), 2)(w, X))(W)
    np.testing.assert_allclose(found, gl.grad(chain(block, 2))(W, X), rtol=1e-9, atol=1e-11)
    np.testing.assert_array_equal(gl.checkpoint_name([1.0], "one"), [1.0])


def test_inside_a_training_step():
    after = []
    for layer in (block, gl.checkpoint(block)):
        step = gl.train_step(lambda w, x, layer=layer: chain(layer, 3)(w, x), gl.optim.sgd(0.1))
        state, _ = step(step.init(W), X)
        after.append(state.params)
    np.testing.assert_array_equal(*after)


PROGRAM = """
import numpy as np, gradloom as gl, gradloom.numpy as gnp
for _ in range({earlier}):
    gl.grad(lambda x: gnp.sum(gl.checkpoint(np.sin)(x)))(np.ones(2))
layer = gl.checkpoint(lambda x: np.tanh(np.sin(x)))
f = gl.grad(lambda x: gnp.sum(layer(layer(x))))
print(f.program(np.ones(7)).graph.fingerprint())
"""


def test_the_program_is_the_same_in_every_process():
    """Serial numbers, which count up, do not reach it."""
    texts = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(earlier=n)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for n in (0, 3)
    ]
    assert texts[0] == texts[1]


def test_passes_can_be_skipped():
    layer = gl.checkpoint(np.sin)
    with gl.settings(disable=("inline", "simplify")):
        found = gl.grad(lambda x: gnp.sum(layer(layer(x))))(X[0])
    np.testing.assert_allclose(found, np.cos(np.sin(X[0])) * np.cos(X[0]))


def test_only_functions_have_checkpoints():
    with pytest.raises(TracingError, match="checkpoint of 3, which is not a function"):
        gl.checkpoint(3)
