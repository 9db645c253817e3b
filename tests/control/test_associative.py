"""All prefixes of an associative combination."""

import numpy as np
import pytest

import gradloom as gl
from tests.control.test_scan import assert_equal, eagerly

RNG = np.random.default_rng(8)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 100])
def test_sums_forwards_and_backwards(size):
    x = RNG.normal(size=(3, size))
    for function in (gl.associative_scan, gl.jit(gl.associative_scan).function):
        assert_equal(function(np.add, x, axis=1), np.cumsum(x, 1))
        wanted = np.cumsum(x[:, ::-1], 1)[:, ::-1]
        assert_equal(function(np.add, x, axis=-1, reverse=True), wanted)


def affine(left, right):
    """Two maps x -> a x + b, one after the other."""
    (a, b), (c, d) = left, right
    return a * c, b * c + d


def test_a_linear_recurrence_and_its_gradient():
    a, b = RNG.normal(size=(2, 13))

    def by_scan(a, b):
        return gl.scan(lambda h, row: (row[0] * h + row[1],) * 2, 0.0, (a, b))[1]

    def by_prefixes(a, b):
        return gl.associative_scan(affine, (a, b))[1]

    assert_equal(gl.jit(by_prefixes)(a, b), gl.jit(by_scan)(a, b))
    assert_equal(eagerly(lambda: by_prefixes(a, b)), gl.jit(by_scan)(a, b))
    found, wanted = (
        gl.grad(lambda a, b, f=f: (f(a, b) ** 2).sum(), (0, 1))(a, b)
        for f in (by_prefixes, by_scan)
    )
    assert_equal(found, wanted)


def test_misuse_is_named():
    with pytest.raises(gl.ShapeError, match="differ"):
        gl.associative_scan(affine, (np.ones(3), np.ones(4)))
    with pytest.raises(gl.StructureError):
        gl.associative_scan(lambda a, b: (a, b), np.ones(3))
