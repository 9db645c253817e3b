"""Stages as Python text: how they read, and what they compute where no compiler is, run by plain
Python."""

from __future__ import annotations

import numpy as np
import pytest
from tests.emulated import emulated_stages, stage_of
from tests.gpus import Simulated
from tests.ops.test_every_row import ELEMENTWISE, ROUGH, ULPS, named
from tests.runtime.cuda.test_every_row import assert_on, cases_of

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.codegen.cuda.text import DeviceText, StageText, device_text
from gradloom.errors import RangeError
from gradloom.runtime.cuda.machine import using

RNG = np.random.default_rng(0)
X = RNG.random((9, 40), np.float32)
PICTURES, FILTERS = RNG.random((2, 4, 4, 2), np.float32), RNG.random((3, 3, 2, 4), np.float32)


def softmax(x):
    return gl.nn.softmax(x)


def sums(x):
    return gnp.sum(x), gnp.sum(x, axis=0), gnp.max(x, axis=1), gnp.mean(x[:, :3], axis=1)


def wide_sums(x):
    long = gnp.concatenate([x.reshape(-1)] * 7)  # folded by whole blocks
    return gnp.sum(long.astype("float64")), gnp.max(long), gnp.any(long > 0.9), gnp.sum(long > 0.9)


def narrow_sums(x):
    small = (x * 100).astype("int8")
    return gnp.sum(small, axis=1), gnp.max(small, axis=1), gnp.all(small > 1, axis=1)


def products(x):
    return x[:5] @ x[:3].T, x[:, :6].T @ x[:, :3], x.astype("float64")[:4] @ x.astype("float64").T


def batches(x):
    return x.reshape(9, 5, 8) @ x.reshape(9, 8, 5)


def thin(x):
    long = gnp.concatenate([x.reshape(-1)] * 2)[:512].reshape(2, 256)
    return gnp.tanh(long @ long.T), long.T[:, :1].T @ gnp.concatenate([long.T] * 5, axis=1)


def convolved(x):
    return gl.grad(lambda w: (gl.nn.conv2d(PICTURES, w, padding="same") ** 2).sum())(FILTERS)


def moved(x):
    return gnp.concatenate([x.T + 1, x.T * 2], axis=0), gnp.pad(x[::-1, ::2], 1), x.reshape(3, -1)


def scattered(x):
    rows = np.array([1, -2, 1])
    return (x * 0).at[rows].add(x[:3]), x[rows], x.at[rows].max(1 - x[:3]), gnp.flip(x)[rows, 3:]


def looped(x):
    found = gl.scan(lambda c, r: (gnp.tanh(c + r), c), x[0], x)[0]
    return (
        gl.fori_loop(0, 3, lambda i, c: c * 0.5 + x, x),
        found,
        gl.random.normal(gl.random.key(3), (7,)),
    )


PROGRAMS = (
    softmax,
    sums,
    wide_sums,
    narrow_sums,
    products,
    batches,
    thin,
    convolved,
    moved,
    scattered,
    looped,
)


def leaves(tree):
    return [np.asarray(leaf) for leaf in (tree if isinstance(tree, tuple) else (tree,))]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_programs_as_text_give_what_they_give_on_a_cpu(program):
    machine = Simulated()
    with emulated_stages(), using(machine):
        results = gl.jit(program, device="cuda")(X)
    assert machine.launches
    for got, want in zip(leaves(results), leaves(gl.jit(program)(X)), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("row", ELEMENTWISE, ids=named)
def test_elementwise_rows_as_text_are_the_reference(row):
    with emulated_stages():
        assert_on(Simulated, cases_of(row), ULPS * ROUGH.get(row.name, 1))


def test_an_index_out_of_range_is_found():
    with emulated_stages(), using(Simulated()), pytest.raises(RangeError, match=r"test_text\.py"):
        gl.jit(lambda x, i: x[i], device="cuda")(X, np.array([1, 99]))


@pytest.mark.parametrize("missing", ["cuda.syncthreads()", "value = a["])
def test_what_is_missing_in_a_stage_is_missed(monkeypatch, missing):
    source = DeviceText.source
    monkeypatch.setattr(
        DeviceText, "source", lambda text, stage: source(text, stage).replace(missing, "pass #")
    )
    with emulated_stages(), using(Simulated()):
        got = gl.jit(lambda x: x @ x.T, device="cuda")(X)
    assert not np.allclose(got, X @ X.T)


def test_threads_that_wait_for_nobody_are_found():
    text = "def stage(start, stop):\n    if cuda.threadIdx.x < 7:\n        cuda.syncthreads()\n"
    stage = StageText("stage", text, (), (), 1, 1)
    with pytest.raises(AssertionError, match="who are gone"):
        stage_of(DeviceText({}, {}), stage)(0, 1)


def test_the_text_is_to_be_read():
    program = gl.jit(lambda x, y: gnp.tanh(x * 2 + y), target="cuda-ptx").program(X, X[0])
    text = device_text(program.gpu.plan)
    (stage,) = text.stages.values()
    body = stage.text.partition('each."""\n')[2]
    assert stage.functions == ("tanh_float32",)
    assert stage.pointers == ("float32*",) * 3
    assert (
        body
        == """\
    thread = uint32(cuda.threadIdx.x)
    for number in range(start + thread, stop, 256):
        j = int64(uint32(number) % uint32(40))
        i = int64(uint32(number) // uint32(40))
        p2[40 * i + j] = tanh_float32((p0[40 * i + j] * float32(2.0)) + p1[j])
"""
    )
