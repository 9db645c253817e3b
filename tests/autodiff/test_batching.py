"""Batching, generated over every row: what a loop over the examples gives, for every choice of the
operands that have one."""

import itertools

import numpy as np
import pytest
from tests.ops.test_every_row import TAKES, draw, samples, takes
from tests.ops.test_functions import CASES

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import MissingError
from gradloom.frontend.apply import apply
from gradloom.frontend.pytree import flatten
from gradloom.ir.interpret import interpret
from gradloom.ir.op import OPS, Kind, Op
from gradloom.ir.types import TensorType
from gradloom.tracing import Leaf, record

SIZE = 3
ROWS = [row for row in OPS.values() if row.kind is Kind.ELEMENTWISE or row.samples is not None]


def examples(row: Op, dtype: str) -> list[tuple[list[list[np.ndarray]], dict]]:
    """For each case, `SIZE` lists of operands of the same types."""
    if row.samples is not None:
        drawn = [samples(row, dtype, seed) for seed in range(SIZE)]
        return [([case[0] for case in cases], cases[0][1]) for cases in zip(*drawn, strict=True)]
    rng = np.random.default_rng(4)
    dtypes = ["bool"] * row.flags + [dtype] * (row.operands - row.flags)
    attrs = {"dtype": "float32"} if row.casts else {}
    shapes = [[(4,)] * 3, [(), (2, 3), (3,)], [(2, 1), (3,), ()]][: 1 + 2 * (row.operands > 1)]
    return [
        ([[draw(rng, row, i, s[i], d) for i, d in enumerate(dtypes)] for _ in range(SIZE)], attrs)
        for s in shapes
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_mapped_rows_are_loops(row):
    dtypes = dict.fromkeys((*TAKES[row.accepts][-1:], takes(row)[-1]))
    for lists, attrs in [case for dtype in dtypes for case in examples(row, dtype)]:
        for flags in itertools.product((0, None), repeat=len(lists[0])):
            if any(f == 0 for f in flags) and len(flags) < 6:
                assert_mapped(row, lists, attrs, flags)


def assert_mapped(row: Op, lists: list[list[np.ndarray]], attrs: dict, flags: tuple) -> None:
    first = lists[0]
    arrays = [
        np.stack([case[i] for case in lists]) if flag == 0 else first[i]
        for i, flag in enumerate(flags)
    ]
    leaves = [Leaf(TensorType(a.shape, a.dtype.name)) for a in arrays]

    def mapped(values):
        return gl.vmap(lambda *operands: whole(row, operands, attrs), flags)(*values)

    made = record(mapped, leaves)
    found = interpret(made.graph, *arrays, *made.captured)
    for b, case in enumerate(lists):
        operands = [case[i] if flag == 0 else first[i] for i, flag in enumerate(flags)]
        wanted = row.reference(*operands, **attrs)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for got, want in zip(found, wanted, strict=True):
            if np.size(want) == 0:  # what was not asked for, such as eigenvectors
                continue
            np.testing.assert_allclose(
                got[b], want, rtol=1e-12, atol=1e-12, err_msg=f"{row.name} {flags}"
            )


def whole(row: Op, operands: tuple, attrs: dict):
    made = apply(row, *operands, **attrs)
    types = getattr(made.node.type, "types", None)
    return made if types is None else [apply(OPS["item"], made, index=i) for i in range(len(types))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_mapped_functions_are_loops(case):
    """Every public function, over two examples: its operands, and the same read backwards."""
    _, function, *operands = case
    examples = [operands, [np.ascontiguousarray(np.flip(x)) for x in operands]]
    arrays = [np.stack(pair) for pair in zip(*examples, strict=True)]
    leaves = [Leaf(TensorType(a.shape, a.dtype.name)) for a in arrays]
    mapped = gl.vmap(lambda *values: function(gnp, *values))
    traced = record(lambda values: mapped(*values), leaves)
    found = interpret(traced.graph, *arrays, *traced.captured)
    for b, example in enumerate(examples):
        for got, want in zip(found, flatten(function(gnp, *example))[0], strict=True):
            np.testing.assert_allclose(got[b], want, rtol=1e-6, atol=1e-6, err_msg=case[0])


def test_a_row_without_a_rule_is_refused():
    mystery = Op("mystery", Kind.CONTROL, lambda x: x, lambda x: x)
    with pytest.raises(MissingError, match="mystery cannot be mapped over a batch") as caught:
        gl.vmap(lambda x: apply(mystery, x))(np.ones(3))
    assert __file__ in str(caught.value)
