"""What holds for every function of one or two numbers, over drawn shapes and memory layouts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.frontend.tensor import NUMPY
from tests.interpreting import assert_close

STEP = 1e-6
ULPS = 16
# Where NumPy's function is not defined, or not smooth, between 0.1 and 0.9.
DOMAINS = {"arccosh": (1.2, 2.5)}

PAIRS = [
    ((), ()),
    ((), (3,)),
    ((0,), (1,)),
    ((4, 1), (1, 3)),
    ((2, 3), (3,)),
    ((2, 1, 3), (4, 1)),
    ((17,), (17,)),
]
# Ways to lay out the same numbers in memory.
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "every other": lambda x: np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x,
    "backwards": lambda x: np.flip(np.ascontiguousarray(np.flip(x))),
    "one number": lambda x: np.broadcast_to(x.ravel()[0], x.shape) if x.size else x,
}


def flat(results: Any) -> list[Any]:
    return list(results) if isinstance(results, tuple) else [results]


def of_floats(ufunc: np.ufunc) -> bool:
    """Whether NumPy's function takes float64 in all places."""
    with contextlib.suppress(TypeError):
        ufunc(*[np.float64(0.5)] * ufunc.nin)
        return True
    return False


def smooth(values: list[Any]) -> list[Any]:
    return [v for v in values if np.dtype(v.dtype).kind == "f"]


UFUNCS = sorted({f for f in NUMPY if isinstance(f, np.ufunc)}, key=lambda f: f.__name__)
with np.errstate(all="ignore"):
    OF_FLOATS = [f for f in UFUNCS if not f.signature and f.nin < 3 and of_floats(f)]
    SMOOTH = [f for f in OF_FLOATS if smooth(flat(f(*[np.float64(0.5)] * f.nin)))]


def drawn(ufunc: np.ufunc, shapes: Any, seed: int, dtype: str = "float64") -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    low, high = DOMAINS.get(ufunc.__name__, (0.1, 0.9))
    return [rng.uniform(low, high, shape).astype(dtype) for shape in shapes[: ufunc.nin]]


def projected(function: Callable[..., Any], *operands: Any) -> Any:
    """The floating results of a function as one number, each element with its own weight."""
    total = 0.0
    for k, value in enumerate(smooth(flat(function(*operands)))):
        shape = tuple(value.shape)
        weights = np.cos(np.arange(int(np.prod(shape))) + k).reshape(shape)
        total = total + (value * weights).sum()
    return total


def along(function: Callable[..., Any], operands: Any, directions: Any) -> float:
    """The slope of a function of arrays along directions, from differences."""
    ahead, behind = (
        float(function(*(x + sign * STEP * d for x, d in zip(operands, directions, strict=True))))
        for sign in (1, -1)
    )
    return (ahead - behind) / (2 * STEP)


def inner(some: Any, others: Any) -> float:
    return float(sum(np.sum(a * b) for a, b in zip(some, others, strict=True)))


@settings(max_examples=8)
@given(
    st.sampled_from(PAIRS),
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 99),
)
def test_values_are_numpys(shapes, layout, dtype, seed):
    """All functions in one program."""
    operands = [[LAYOUTS[layout](a) for a in drawn(f, shapes, seed, dtype)] for f in OF_FLOATS]

    def program(given):
        return [flat(NUMPY[f](*args)) for f, args in zip(OF_FLOATS, given, strict=True)]

    for f, args, found in zip(OF_FLOATS, operands, gl.jit(program)(operands), strict=True):
        for got, want in zip(found, map(np.asarray, flat(f(*args))), strict=True):
            assert got.dtype == want.dtype, f.__name__
            assert_close(got, want, ULPS, f"{f.__name__}{[a.shape for a in args]}")


@pytest.mark.parametrize("ufunc", SMOOTH, ids=lambda f: f.__name__)
@settings(max_examples=6)
@given(st.sampled_from(PAIRS), st.integers(0, 99))
def test_gradients_are_differences_to_second_order(ufunc, shapes, seed):
    operands = drawn(ufunc, shapes, seed)
    rng = np.random.default_rng(seed)
    one, two = ([rng.uniform(-1, 1, x.shape) for x in operands] for _ in range(2))
    numbers = tuple(range(len(operands)))
    gradient = gl.grad(lambda *args: projected(NUMPY[ufunc], *args), numbers)

    def slope(*args):
        return sum(((g * d).sum() for g, d in zip(gradient(*args), one, strict=True)), 0.0)

    with gl.eager():
        first = inner(gradient(*operands), one)
        second = inner(gl.grad(slope, numbers)(*operands), two)
        wanted = along(slope, operands, two)
    size = 1 + abs(first)
    assert first == pytest.approx(
        along(lambda *args: projected(ufunc, *args), operands, one), 1e-6, 1e-6 * size
    )
    assert second == pytest.approx(wanted, 1e-6, 1e-6 * (size + abs(second)))


@pytest.mark.parametrize("ufunc", SMOOTH, ids=lambda f: f.__name__)
@settings(max_examples=6)
@given(st.sampled_from(PAIRS), st.integers(0, 99))
def test_both_sweeps_are_transposes_of_each_other(ufunc, shapes, seed):
    operands = drawn(ufunc, shapes, seed)
    rng = np.random.default_rng(seed)
    tangents = [rng.uniform(-1, 1, x.shape) for x in operands]

    def function(*args):
        return tuple(smooth(flat(NUMPY[ufunc](*args))))

    with gl.eager():
        values, pushed = gl.jvp(function, tuple(operands), tuple(tangents))
        cotangents = tuple(rng.uniform(-1, 1, np.shape(v)) for v in values)
        _, pull = gl.vjp(function, *operands)
        pulled = pull(cotangents)
    assert inner(pushed, cotangents) == pytest.approx(inner(pulled, tangents), 1e-12, 1e-12)


@pytest.mark.parametrize("ufunc", OF_FLOATS, ids=lambda f: f.__name__)
@settings(max_examples=6)
@given(st.sampled_from(PAIRS), st.sampled_from([(0, 0), (0, None), (None, 0), (-1, 0)]), st.data())
def test_mapped_functions_are_loops(ufunc, shapes, axes, data):
    axes = axes[: ufunc.nin] if axes[0] is not None or ufunc.nin > 1 else (0,)
    examples = [drawn(ufunc, shapes, data.draw(st.integers(0, 99))) for _ in range(3)]
    columns = [
        examples[0][i] if axis is None else np.stack([case[i] for case in examples], axis)
        for i, axis in enumerate(axes)
    ]
    with gl.eager():
        found = flat(gl.vmap(NUMPY[ufunc], axes)(*columns))
    for b, case in enumerate(examples):
        args = [examples[0][i] if axis is None else case[i] for i, axis in enumerate(axes)]
        for got, want in zip(found, map(np.asarray, flat(NUMPY[ufunc](*args))), strict=True):
            assert_close(np.asarray(got)[b], want, ULPS, ufunc.__name__)
