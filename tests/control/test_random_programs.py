"""Random loops and branches, in a poisoned arena, against Python's own; by hand
`python -m tests.control.test_random_programs FIRST COUNT`."""

import sys

import numpy as np
import pytest

import gradloom as gl
from tests.control.random_programs import SIZE, program

SEEDS = range(12)
X, Y = np.random.default_rng(3).normal(size=(2, SIZE))


def check(seed: int) -> None:
    """Value, gradient, tangent, and a whole batch of gradients."""
    f = program(seed)
    gradient = gl.value_and_grad(f, (0, 1))

    def everything(x, y, d):
        batch = gl.vmap(gradient, in_axes=(0, None))(x * np.arange(1.0, 4.0)[:, None], y)
        return gradient(x, y), gl.jvp(f, (x, y), (d, x)), batch

    with gl.settings(verify=2):
        found = gl.jit(everything)(X, Y, Y * 0.5)
    with gl.eager():
        wanted = everything(X, Y, Y * 0.5)
    gl.tree_map(
        lambda a, b: np.testing.assert_allclose(a, b, 1e-8, 1e-8, err_msg=f"seed {seed}"),
        gl.tree_map(np.asarray, found),
        gl.tree_map(np.asarray, wanted),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_compiled_is_eager(seed):
    check(seed)


if __name__ == "__main__":
    first, count = map(int, sys.argv[1:])
    for number in range(first, first + count):
        check(number)
        sys.stdout.write(f"{number}\n")
