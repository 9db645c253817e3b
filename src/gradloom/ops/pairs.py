"""Routines on complex matrices: the same row on arrays whose last axis holds both parts.

Cotangents are conjugates of the gradients of the literature (`ops.complex`), so a rule that is not
of an analytic function is written as there and `conjugated`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply, apply_many
from gradloom.ir.op import Op, define
from gradloom.ir.types import PART, WHOLE, TensorType, TupleType, in_parts
from gradloom.ops.complex import conjugate
from gradloom.ops.move import matrix_transpose


def adjoint(x: Any) -> Any:
    """The conjugate transpose."""
    return conjugate(matrix_transpose(x))


def conjugated(rule: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """The rule of a row, of a rule that takes and gives gradients G with df = re(sum(conj(G) dz)).

    Of real values nothing changes.
    """

    def vjp(g: Any, out: Any, *inputs: Any, **attrs: Any) -> tuple[Any, ...]:
        given = tuple(map(_turned, g)) if isinstance(g, tuple) else conjugate(g)
        return tuple(map(_turned, rule(given, out, *inputs, **attrs)))

    return vjp


def _turned(g: Any) -> Any:
    return None if g is None else conjugate(g)


def define_with_pairs(row: Op, count: int = 1) -> Op:
    """Enter a routine whose first `count` operands may be complex, and its row on their parts.

    That row has the routine of the complex types, which must know them.
    """

    def whole(types: tuple[TensorType, ...]) -> list[TensorType]:
        found = [TensorType(t.shape[:-1], WHOLE[t.dtype]) for t in types[:count]]
        return [*found, *types[count:]]

    def infer(*types: TensorType, **attrs: Any) -> TensorType:
        result = row.infer(*whole(types), **attrs)
        if isinstance(result, TupleType):
            return TupleType(tuple(map(in_parts, result.types)))
        return in_parts(result)

    def reference(*arrays: Any, **attrs: Any) -> Any:
        joined = [_joined(a) if i < count else a for i, a in enumerate(arrays)]
        result = row.reference(*joined, **attrs)
        return tuple(map(_parted, result)) if isinstance(result, tuple) else _parted(result)

    def routine(*types: TensorType, **attrs: Any) -> Any:
        assert row.routine is not None
        return row.routine(*whole(types), **attrs)

    def samples(rng: np.random.Generator, dtype: str) -> list[Any]:
        assert row.samples is not None
        cases = row.samples(rng, WHOLE[dtype])
        return [([_parted(_drawn(rng, np.asarray(a))) for a in given], at) for given, at in cases]

    pairs = replace(row, name=f"{row.name}_of_pairs", vjp=None, batch=None, returns="parts")
    pairs = define(
        replace(pairs, infer=infer, reference=reference, routine=routine, samples=samples)
    )

    def planar(*arrays: Any, **attrs: Any) -> Any:
        several = isinstance(infer(*(a.node.type for a in arrays), **attrs), TupleType)
        return (apply_many if several else apply)(pairs, *arrays, **attrs)

    return define(replace(row, planar=planar))


def _drawn(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "c":
        return array
    return array + (1j * rng.uniform(-1, 1, array.shape)).astype(array.dtype)


def _joined(array: Any) -> np.ndarray:
    array = np.ascontiguousarray(array)
    return array.view(WHOLE[array.dtype.name])[..., 0]


def _parted(array: Any) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.name not in WHOLE.values():
        return array
    parts = np.ascontiguousarray(array).reshape(-1).view(PART[array.dtype.name])
    return parts.reshape((*array.shape, 2))
