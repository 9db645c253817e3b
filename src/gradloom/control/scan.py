"""`scan` and `fori_loop`: loops of known length that stay loops in the code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.control.body import Body, Leaf, check_alike, trace_body
from gradloom.control.loop import Parts, make_scan
from gradloom.control.outside import traced
from gradloom.errors import ShapeError, StructureError, message, user_where
from gradloom.frontend.pytree import Structure, flatten, paths, unflatten
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import EAGER, current, type_of
from gradloom.ir.types import TensorType
from gradloom.ops.elementwise import astype
from gradloom.ops.join import stack
from gradloom.ops.public import as_operand


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Thread a carry through `f(carry, x) -> (carry, y)`, over the leading axis of `xs`.

    Returns the last carry and the stacked `y`.  `init`, `xs` and what `f` returns are pytrees; the
    carry keeps its structure, shapes and dtypes.  `length` is needed where `xs` is None; with
    `reverse` it runs from the last element to the first.  However long, it is one loop in the code,
    with its carry in place; the derivative is another loop, which reads what this one stacked.

    Raises `StructureError` if the carry changes, `ShapeError` if leading sizes differ.

    >>> import gradloom as gl, numpy as np
    >>> last, sums = gl.scan(lambda s, x: (s + x, s + x), 0.0, np.arange(4.0))
    >>> float(last), sums
    (6.0, array([0., 1., 3., 6.]))
    """
    count = _length(xs, length)
    if current() is EAGER:
        return _one_by_one(f, init, xs, count, reverse)
    return traced(lambda start, rows: _scan(f, start, rows, count, reverse), init, xs)


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """`body_fun(i, value)` for `i` from `lower` to `upper - 1`; the last value.

    With Python integers as bounds it can be differentiated both ways; with traced ones it is a
    `while_loop`, forwards only.

    >>> import gradloom as gl
    >>> int(gl.fori_loop(0, 5, lambda i, v: v + i, 0))
    10
    """
    if isinstance(lower, Tensor) or isinstance(upper, Tensor):
        from gradloom.control.repeat import while_loop

        _, _, last = while_loop(
            lambda state: state[0] < state[1],
            lambda state: (state[0] + 1, state[1], body_fun(state[0], state[2])),
            (as_operand(lower), as_operand(upper), init_val),
        )
        return last
    steps = np.arange(lower, max(int(upper), int(lower)), dtype="int64")
    last, _ = scan(lambda value, i: (body_fun(i, value), None), init_val, steps)
    return last


def _scan(f: Callable[..., Any], init: Any, xs: Any, length: int, reverse: bool) -> tuple[Any, Any]:
    first, structure = flatten(init)
    rows, row_structure = flatten(xs)
    leaves = [Leaf.of(value) for value in first]
    elements = [Leaf(_element(type_of(row))) for row in rows]

    def step(values: list[Tensor]) -> Any:
        carry = unflatten(structure, values[: len(first)])
        result = f(carry, unflatten(row_structure, values[len(first) :]))
        if not (isinstance(result, tuple | list) and len(result) == 2):
            name = getattr(f, "__name__", "the function")
            what = f"{name} returned {_named(result)}, but scan needs a pair of carry and y"
            raise StructureError(message(what, user_where(), "return (carry, y); y may be None"))
        return tuple(result)

    body = trace_body(step, [*leaves, *elements], hoist=True)
    wider = _adopted(leaves, body)
    if wider is not None:
        leaves = wider
        body = trace_body(step, [*leaves, *elements], hoist=True)
    of_carry, of_y = _split(body, structure, leaves)
    count = len(first)
    given = Parts(
        tuple(map(Tensor, body.free)),
        tuple(_as(value, leaf.type) for value, leaf in zip(first, leaves, strict=True)),
        tuple(as_operand(row) for row in rows),
    )
    results = make_scan(body.graph, given, length, reverse)
    return unflatten(of_carry, results[:count]), unflatten(of_y, results[count:])


def _adopted(leaves: list[Leaf], body: Body) -> list[Leaf] | None:
    """A Python number as a carry takes the dtype of what it becomes; None if nothing changes."""
    after = [
        Leaf(kind) if leaf.weak and kind.shape == leaf.type.shape else leaf
        for leaf, kind in zip(leaves, body.types, strict=False)
    ]
    same = all(a.type == b.type for a, b in zip(after, leaves, strict=False))
    return None if same or len(after) < len(leaves) else after


def _split(body: Body, structure: Structure, leaves: list[Leaf]) -> tuple[Structure, Structure]:
    carry, y = body.structure.children
    after = body.types[: len(leaves)]
    check_alike(
        "the carry that the function returns",
        (carry, after),
        "the one that it was given",
        (structure, [leaf.type for leaf in leaves]),
    )
    return carry, y


def _element(kind: TensorType) -> TensorType:
    return TensorType(kind.shape[1:], kind.dtype)


def _as(value: Any, kind: TensorType) -> Any:
    return value if type_of(value) == kind else astype(as_operand(value), kind.dtype)


def _length(xs: Any, length: int | None) -> int:
    """The common leading size of `xs`, which `length` must agree with."""
    leaves, structure = flatten(xs)
    sizes = {}
    for leaf, path in zip(leaves, paths(structure), strict=True):
        kind = type_of(leaf, f"xs{path}")
        if not kind.shape:
            raise ShapeError(
                message(
                    f"xs{path} of scan is {kind}, which has no leading axis",
                    user_where(),
                    "scan runs over the first axis of every array, and a list is a tree of its"
                    " elements: make it one array, and close over what is constant",
                )
            )
        sizes[f"xs{path}"] = kind.shape[0]
    if length is not None:
        sizes["length"] = int(length)
    if len(set(sizes.values())) == 1:
        return next(iter(sizes.values()))
    shown = ", ".join(f"{name}: {size}" for name, size in sizes.items())
    what = f"scan has no one length ({shown})" if sizes else "scan of no xs and no length"
    raise ShapeError(
        message(what, user_where(), "give arrays of one leading size, or xs=None and length=n")
    )


def _one_by_one(
    f: Callable[..., Any], init: Any, xs: Any, length: int, reverse: bool
) -> tuple[Any, Any]:
    rows, structure = flatten(xs)
    carry, ys, shape = init, [], None
    for t in reversed(range(length)) if reverse else range(length):
        element = unflatten(structure, [as_operand(row)[t] for row in rows])
        carry, y = f(carry, element)
        leaves, shape = flatten(y)
        ys.append(leaves)
    if shape is None:
        return carry, None
    ordered = ys[::-1] if reverse else ys
    return carry, unflatten(shape, [stack(list(column)) for column in zip(*ordered, strict=True)])


def _named(result: Any) -> str:
    return repr(result) if isinstance(result, Tensor) else f"a {type(result).__name__}"
