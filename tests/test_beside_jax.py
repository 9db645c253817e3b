"""Values, gradients and second derivatives beside JAX's, in float64, many functions a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import gradloom as gl
from tests.beside.algebra import ALGEBRA
from tests.beside.arrays import ARRAYS
from tests.beside.elements import ELEMENTS
from tests.beside.more_arrays import MORE
from tests.beside.planes import PLANES
from tests.beside.special import SPECIALS
from tests.beside.table import Group, Row

ROWS_A_PROGRAM = 24
# Compilation is most of the time, and what it makes runs once.
QUICKLY = {"xla_backend_optimization_level": 0}

GROUPS = [*ELEMENTS, *ARRAYS, *MORE, *ALGEBRA, *PLANES, *SPECIALS]
PROGRAMS = [
    Group(f"{group.name}-{start}", group.ours, group.theirs, group.rows[start:][:ROWS_A_PROGRAM])
    for group in GROUPS
    for start in range(0, len(group.rows), ROWS_A_PROGRAM)
]


def flat(results: Any) -> list[Any]:
    return list(results) if isinstance(results, list | tuple) else [results]


def is_smooth(value: Any) -> bool:
    return np.dtype(value.dtype).kind in "fc"


def weighted(values: list[Any]) -> Any:
    """All smooth results as one number, each element with its own weight."""
    total = 0.0
    for k, value in enumerate(v for v in values if is_smooth(v)):
        shape = tuple(value.shape)
        angles = (np.arange(int(np.prod(shape))) + k).reshape(shape)
        if np.dtype(value.dtype).kind == "c":
            total = (
                total + (value.real * np.cos(angles)).sum() + (value.imag * np.sin(angles)).sum()
            )
        else:
            total = total + (value * np.cos(angles)).sum()
    return total


def slopes(row: Row, namespace: Any, library: Any, operands: Any, directions: Any) -> list[Any]:
    """The results of a row; the gradient of their sum, and its derivative along directions."""
    values = flat(row.call(namespace, *operands))
    floats = [i for i, a in enumerate(row.operands) if a.dtype == "float64"]
    if not floats or not any(map(is_smooth, values)):
        return values

    def loss(*chosen: Any) -> Any:
        full = list(operands)
        for i, value in zip(floats, chosen, strict=True):
            full[i] = value
        return weighted(flat(row.call(namespace, *full)))

    gradient = library.grad(loss, tuple(range(len(floats))))
    chosen = tuple(operands[i] for i in floats)
    if row.order == 1:
        return [*values, *gradient(*chosen)]
    along = tuple(directions[i] for i in floats)
    first, second = library.jvp(gradient, chosen, along)
    return [*values, *first, *second]


def everything(group: Group, namespace: Any, library: Any) -> Callable[..., Any]:
    def program(operands: Any, directions: Any) -> list[list[Any]]:
        given = zip(group.rows, operands, directions, strict=True)
        return [slopes(row, namespace, library, *both) for row, *both in given]

    return program


def theirs_of(group: Group, *given: Any) -> list[list[np.ndarray]]:
    """What JAX gives in double precision, which is turned on for these calls alone."""
    with jax.enable_x64(True):  # noqa: FBT003
        program = jax.jit(everything(group, group.theirs, jax)).lower(*given)
        found = program.compile(compiler_options=QUICKLY)(*given)
        return [[np.asarray(value) for value in values] for values in found]


def difference(row: Row, ours: list[Any], theirs: list[np.ndarray]) -> str:
    """Which results differ, and by how much; empty if none does."""
    if [np.shape(v) for v in ours] != [v.shape for v in theirs]:
        return f"{row.name}: shapes {[np.shape(v) for v in ours]}, not {[v.shape for v in theirs]}"
    for k, (got, want) in enumerate(zip(ours, theirs, strict=True)):
        scale = max(1e-3, float(np.abs(want).max(initial=0)))
        close = np.allclose(got, want, 0, row.tolerance * scale, equal_nan=True)
        if not close:
            worst = np.abs(np.asarray(got, want.dtype) - want).max() / scale
            return f"{row.name}: result {k} of {len(theirs)} differs by {worst:.1e} of its scale"
    return ""


@pytest.mark.parametrize("group", PROGRAMS, ids=lambda group: group.name)
def test_values_and_derivatives_are_jaxs(group: Group):
    rng = np.random.default_rng(6)
    operands = [row.operands for row in group.rows]
    directions = [tuple(rng.uniform(-1, 1, a.shape) for a in row.operands) for row in group.rows]
    theirs = theirs_of(group, operands, directions)
    ours = gl.jit(everything(group, group.ours, gl))(operands, directions)
    found = [difference(*three) for three in zip(group.rows, ours, theirs, strict=True)]
    assert not [text for text in found if text]


def test_the_table_is_long_enough():
    names = {(group.name, row.name) for group in GROUPS for row in group.rows}
    assert len(names) >= 150


def test_double_precision_is_left_off():
    assert not jax.config.jax_enable_x64
