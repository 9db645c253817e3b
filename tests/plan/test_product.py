"""Contractions as products: which become one, and that they compute what einsum does."""

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.ir.types import TensorType
from gradloom.pipeline import run_passes
from gradloom.plan.assemble import make_plan
from gradloom.plan.plan import Product
from gradloom.tracing import Leaf, record


def stages(function, *shapes):
    leaves = [Leaf(TensorType(shape, "float32"), weak=False) for shape in shapes]
    plan = make_plan(run_passes(record(lambda v: function(*v), leaves).graph))
    return [stage for kernel in plan.kernels for stage in kernel.stages]


@st.composite
def contractions(draw):
    """Labels of two operands and a result, their sizes, and how each operand lies in memory."""
    labels = string.ascii_letters[: draw(st.integers(2, 6))]
    sizes = {label: draw(st.sampled_from((1, 2, 3, 5, 17))) for label in labels}
    roles = {label: draw(st.sampled_from(("row", "column", "depth", "batch"))) for label in labels}
    left = [n for n in labels if roles[n] != "column"]
    right = [n for n in labels if roles[n] != "row"]
    out = [n for n in labels if roles[n] != "depth"]
    terms = ["".join(draw(st.permutations(term))) for term in (left, right, out)]
    orders = [tuple(draw(st.permutations(range(len(term))))) for term in terms[:2]]
    steps = [draw(st.sampled_from((1, 2))) for _ in range(2)]
    return terms, sizes, orders, steps, draw(st.sampled_from(("float32", "float64")))


@settings(max_examples=40, deadline=None)
@given(contractions(), st.integers(0, 100))
def test_einsum_over_any_strides(contraction, seed):
    (left, right, out), sizes, orders, steps, dtype = contraction
    rng = np.random.default_rng(seed)
    arrays = []
    for term, order, step in zip((left, right), orders, steps, strict=True):
        shape = [sizes[n] for n in term]
        stored = [shape[axis] for axis in order]
        if stored:
            stored[-1] = stored[-1] * step  # of which every `step`-th is taken
        arrays.append(rng.standard_normal(stored).astype(dtype))

    def function(x, y, np):
        operands = []
        for z, order, step in zip((x, y), orders, steps, strict=True):
            every = z[..., ::step] if order else z
            operands.append(np.transpose(every, [order.index(d) for d in range(len(order))]))
        return np.einsum(f"{left},{right}->{out}", *operands)

    found = gl.jit(lambda x, y: function(x, y, gnp))(*arrays)
    exact, bound = (
        function(*map(of, arrays), np) for of in (np.float64, lambda x: np.abs(x * 1.0))
    )
    terms = 1 + np.prod([sizes[n] for n in left if n not in out])
    assert (np.abs(found - exact) <= terms * np.finfo(dtype).eps * bound).all()


@pytest.mark.parametrize(
    ("subscripts", "shapes", "depth"),
    [
        ("ij,jk->ik", ((20, 30), (30, 40)), (30,)),
        ("iab,abk->ik", ((20, 5, 6), (5, 6, 40)), (30,)),
        ("iab,bak->ik", ((20, 5, 6), (6, 5, 40)), (5, 6)),
        ("aib,abk->ik", ((5, 20, 6), (5, 6, 40)), (5, 6)),
        ("aibjc,kbac->ijk", ((5, 20, 6, 2, 3), (40, 6, 5, 3)), (5, 6, 3)),
    ],
)
def test_summed_axes_are_merged_where_strides_allow(subscripts, shapes, depth):
    (stage,) = stages(lambda x, y: gnp.einsum(subscripts, x, y), *shapes)
    assert isinstance(stage.code, Product)
    assert stage.code.depth == depth


def test_a_vector_times_a_matrix_is_a_product_and_a_matrix_times_a_vector_a_sum():
    stage, *_ = stages(lambda x, y: x @ y, (300,), (300, 200))
    assert isinstance(stage.code, Product)
    assert stage.code.rows == 1
    (stage,) = stages(lambda x, y: x @ y, (200, 300), (300,))
    assert not isinstance(stage.code, Product)


def test_weights_that_many_matrices_share_are_turned_once():
    def function(g, w):
        seen = gl.nn.conv2d(g, gnp.transpose(w[::-1, ::-1], (0, 1, 3, 2)), padding="same")
        return (seen,)

    found = stages(function, (4, 8, 8, 16), (3, 3, 32, 16))
    products = [s.code for s in found if isinstance(s.code, Product)]
    assert len(products) == 1
    assert products[0].b_strides[-1] == 1


def test_a_matrix_that_is_used_once_is_not_copied_before():
    found = stages(lambda x, w: (x @ w.T,), (4, 8, 16), (32, 16))
    assert [type(s.code) for s in found] == [Product]
