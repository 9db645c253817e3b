"""Kernels that on a GPU are one, before memory is laid out."""

from __future__ import annotations

import numpy as np

import gradloom as gl
import gradloom.numpy as gnp

X, W = np.ones((12, 8), np.float32), np.ones((8, 6), np.float32)


def program(function, *arrays, target="cuda-ptx"):
    return gl.jit(function, target=target).program(*arrays)


def turned(x, w):
    return gl.nn.relu(gnp.reshape(x @ w, (3, 4, 6)) + w[0])


def test_a_product_behind_a_reshape_needs_no_memory_of_its_own():
    plan = program(turned, X, W).plan
    assert [k.name for k in plan.kernels] == ["k0_contract_where"]
    assert plan.arena_bytes == 0
    (stage,) = program(turned, X, W).gpu.plan.plan.kernels[0].stages
    assert [plan.buffers[o.buffer].name for o in stage.operands] == ["a0", "a1", "output_0"]


def test_on_the_cpu_it_is_as_it_was():
    assert len(gl.jit(turned).program(X, W).plan.kernels) == 2


def test_what_others_read_keeps_its_memory():
    plan = program(lambda x, w: (turned(x, w), (x @ w) @ w.T), X, W).plan
    assert any(b.name.startswith("contract") for b in plan.buffers)


def test_nothing_moves_before_what_it_needs():
    """The second factor is a sum, made after the product."""
    found = program(lambda x, w: gnp.reshape(x @ w, (3, 4, 6)) * gnp.sum(x, 0)[:6], X, W)
    assert [k.name for k in found.plan.kernels] == ["k0_contract", "k1_sum", "k2_multiply"]
