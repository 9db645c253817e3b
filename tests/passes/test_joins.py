"""Sums of pieces that lie apart: one join, where they fill the whole."""

import numpy as np
import pytest

import gradloom as gl

RNG = np.random.default_rng(0)


def names(function, *values):
    found = gl.jit(function, verify=True)
    got = found(*values)
    with gl.settings(disable=("join_pieces",)):
        np.testing.assert_array_equal(got, gl.jit(function)(*values))
    return [n.op.name for n in found.program(*values).graph.nodes()]


def cut(x, weights, at):
    pieces = np.split(x, at, axis=1)
    return sum((np.sin(p) * w).sum() for p, w in zip(pieces, weights, strict=True))


@pytest.mark.parametrize("at", [[3], [1, 4], [2, 3, 5]])
def test_the_cotangent_of_what_was_split_is_a_join(at):
    x, weights = RNG.normal(size=(4, 6)), RNG.normal(size=len(at) + 1)
    found = names(lambda x, w: gl.grad(lambda v: cut(v, w, at))(x), x, weights)
    assert found.count("concatenate") == 1
    assert "place" not in found


def test_parts_along_an_axis_of_their_own():
    def loss(x):
        return sum((np.sin(x[:, i]) * (i + 1)).sum() for i in range(3))

    found = names(gl.grad(loss), RNG.normal(size=(2, 3, 4)))
    assert found.count("concatenate") == 1


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: np.sin(x[:, :2]).sum() + np.cos(x[:, 3:]).sum(),  # a gap
        lambda x: np.sin(x[:, :4]).sum() + np.cos(x[:, 3:]).sum(),  # an overlap
        lambda x: np.sin(x[:, :3]).sum() + np.cos(x[:2, 3:]).sum(),  # two axes
        lambda x: np.sin(x[:, ::2]).sum() + np.cos(x[:, 1::2]).sum(),  # interleaved
    ],
)
def test_other_sums_stay(loss):
    assert "concatenate" not in names(gl.grad(loss), RNG.normal(size=(4, 6)))
