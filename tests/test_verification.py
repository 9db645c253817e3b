"""`verify=True` finds a wrong kernel and names the user's line; the verifiers find broken plans."""

from dataclasses import replace

import numpy as np
import pytest

import gradloom as gl
from gradloom import pipeline, verification
from gradloom.errors import InternalError
from gradloom.ir import node as nodes
from gradloom.ir.graph import Graph
from gradloom.ir.op import OPS
from gradloom.ir.source import parameter
from gradloom.ir.types import TensorType
from gradloom.ir.verify import verify_graph
from gradloom.plan.verify import verify_plan


def model(x, w):
    h = np.tanh(x @ w)  # the line to be named
    return np.sum(h * h, axis=1)


ARRAYS = (np.linspace(-1, 1, 12).reshape(3, 4), np.linspace(0, 1, 20).reshape(4, 5))


def test_a_right_program_passes():
    compiled = gl.jit(model, verify=True)
    np.testing.assert_allclose(compiled(*ARRAYS), model(*ARRAYS), rtol=1e-12)


def test_what_rounding_alone_decides_is_no_difference():
    """Terms that cancel: the sum is rounding and nothing else, and so is what is made of it."""
    x = np.linspace(-1, 1, 1001)[:, None] * np.ones(3)

    def nothing(x):
        return np.sin(np.sum(np.tanh(x), axis=0)) / 3

    compiled = gl.jit(nothing, verify=True)
    np.testing.assert_allclose(compiled(x), 0, atol=1e-12)


def test_a_wrong_operator_is_found_and_its_line_named(monkeypatch):
    """tanh compiled as if it were sine, inside a kernel that does not keep its value."""
    row = OPS["tanh"]
    monkeypatch.setitem(OPS, "tanh", replace(row, lanes=OPS["sin"].lanes))
    with gl.settings(cache=False):
        pipeline._loaded.clear()
        compiled = gl.jit(model, verify=True)
        with pytest.raises(InternalError, match=r"tanh .*test_verification\.py:\d+ in model"):
            compiled(*ARRAYS)
    pipeline._loaded.clear()


def test_nan_and_infinity_are_compared_as_values():
    x = np.array([np.nan, np.inf, -np.inf, 0.0])
    got = gl.jit(lambda x: x * 2.0 - x, verify=True)(x)
    assert np.isnan(got[:3]).all()


def test_a_value_that_is_off_is_refused():
    node = parameter(TensorType((2,), "float32"))
    good = np.array([1.0, 2.0], "float32")
    verification.compare(node, good, good)
    with pytest.raises(InternalError, match="should give"):
        verification.compare(node, good + np.float32(0.01), good)


# ---- graphs and plans


def plan_of(function, *arrays):
    compiled = gl.jit(function)
    compiled(*arrays)
    return compiled.program().plan


def test_the_graph_verifier_knows_its_own_parameters():
    x = parameter(TensorType((3,), "float64"))
    total = nodes.make(OPS["sum"], x, axes=(0,))
    verify_graph(Graph((x,), (total,)), "a test")
    with pytest.raises(InternalError, match="a parameter is not an input"):
        verify_graph(Graph((), (total,)), "a test")


def test_the_graph_verifier_infers_every_type_anew():
    x = parameter(TensorType((3,), "float64"))
    wrong = nodes.Node(OPS["exp"], (x,), (), TensorType((4,), "float64"), None, 0)
    with pytest.raises(InternalError, match=r"its row infers float64\[3\], it says float64\[4\]"):
        verify_graph(Graph((x,), (wrong,)), "a test")


def test_the_graph_verifier_checks_updates():
    x = parameter(TensorType((3,), "float64"))
    total = nodes.make(OPS["sum"], x, axes=(0,))
    with pytest.raises(InternalError, match=r"it updates float64\[3\]"):
        verify_graph(Graph((x,), (), ((x, total),)), "a test")


def test_the_plan_verifier_finds_a_read_before_the_write():
    plan = plan_of(lambda x, w: model(x, w) * (np.tanh(x @ w) @ w.T)[:, 0], *ARRAYS)
    verify_plan(plan)
    with pytest.raises(InternalError, match="is read before it is written"):
        verify_plan(replace(plan, parts=plan.kernels[1:]))


def test_the_plan_verifier_finds_an_access_outside():
    plan = plan_of(lambda x: np.exp(x) + 1.0, np.ones(1000))
    (kernel,) = plan.kernels
    (stage,) = kernel.stages
    longer = replace(kernel, stages=(replace(stage, extent=1001),))
    with pytest.raises(InternalError, match="is accessed from 0 through 1000"):
        verify_plan(replace(plan, parts=(longer,)))


def test_the_plan_verifier_finds_buffers_that_share_bytes():
    def f(x, w):
        a = np.tanh(x @ w)
        b = np.exp(a @ w)
        return np.sum(a @ b)

    plan = plan_of(f, np.eye(8), np.eye(8))
    arena = [b for b in plan.buffers if b.space == "arena"]
    assert len(arena) > 1
    broken = tuple(replace(b, offset=0) if b.space == "arena" else b for b in plan.buffers)
    with pytest.raises(InternalError, match="overlaps"):
        verify_plan(replace(plan, buffers=broken))
