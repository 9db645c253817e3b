"""What a user asks of a program for GPUs on a machine that has none."""

from __future__ import annotations

import ast

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DeviceError, SettingError, StateError
from gradloom.runtime.cuda.machine import using
from tests import ptx
from tests.gpus import Simulated

X, W = np.ones((24, 40), np.float32), np.full((40, 10), 0.01, np.float32)


def classify(x, w):
    return gl.nn.softmax(gnp.tanh(x @ w))


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_120"])
def test_ptx_is_written_for_any_gpu_without_one(arch):
    text = gl.jit(classify, target=f"cuda-ptx:{arch}").ptx(X, W)
    assert f".target {arch}" in text
    assert ptx.load(text).names == ["persistent"]


def test_what_is_for_a_gpu_elsewhere_cannot_be_called():
    compiled = gl.jit(classify, target="cuda-ptx")
    with pytest.raises(DeviceError, match=r"test_gpu\.py[^$]*\.ptx\(\)"):
        compiled(X, W)


def test_explain_and_memory_speak_of_the_gpu():
    compiled = gl.jit(classify, target="cuda-ptx")
    assert "GPU: sm_90; one kernel, 256 threads a block" in compiled.explain(X, W)
    assert compiled.memory(X, W).output_bytes == 24 * 10 * 4


def test_the_source_runs_in_plain_python():
    from gradloom.codegen.source import run_source

    text = gl.jit(classify, target="cuda-ptx").source(X, W)
    np.testing.assert_allclose(run_source(text, [X, W])[0], gl.jit(classify)(X, W), rtol=1e-6)


@pytest.mark.parametrize("question", ["llvm", "assembly"])
def test_a_program_for_gpus_has_no_code_of_this_machine(question):
    with pytest.raises(StateError, match=r"ask it for \.ptx\(\)"):
        getattr(gl.jit(classify, target="cuda-ptx"), question)(X, W)


@pytest.mark.parametrize("question", ["ptx", "kernels"])
def test_a_program_for_the_cpu_has_no_kernels(question):
    with pytest.raises(StateError, match="target="):
        getattr(gl.jit(classify), question)(X, W)


def test_kernels_are_a_module_for_numba():
    text = gl.jit(classify, target="cuda-ptx").kernels(X, W)
    functions = [d for d in ast.parse(text).body if isinstance(d, ast.FunctionDef)]
    launched = [f for f in functions if [ast.unparse(d) for d in f.decorator_list] == ["cuda.jit"]]
    assert len(launched) == 2  # a product with its tanh, and the softmax of rows
    for kernel in launched:
        (stage,) = (f for f in functions if f"launch_{f.name}" == kernel.name)
        names = [a.arg for a in stage.args.args]
        assert names == ["start", "stop", *(a.arg for a in kernel.args.args)]


@pytest.mark.parametrize(
    ("target", "text"), [("cuda-ptx:sm_75", "sm_80, sm_86"), ("rocm", "cuda-ptx")]
)
def test_targets_that_are_not_there_are_refused(target, text):
    with pytest.raises(SettingError, match=text):
        gl.jit(classify, target=target).ptx(X, W)


def test_a_function_that_needs_the_host_is_refused():
    matrix = np.eye(3) + 1
    with using(Simulated()), pytest.raises(DeviceError, match=r'libraries of the host[^$]*"cpu"'):
        gl.jit(gnp.linalg.eigvalsh, device="cuda")(matrix)


def test_a_memory_limit_is_kept_on_a_gpu():
    turn = np.eye(16, dtype=np.float32) * 0.9

    def deep(x):
        for _ in range(12):
            x = gnp.tanh(gnp.sin(x @ turn))
        return x.sum()

    x = np.ones((64, 16), np.float32)
    free = gl.jit(gl.grad(deep), target="cuda-ptx").memory(x).arena_bytes
    limited = gl.jit(gl.grad(deep), target="cuda-ptx", memory_limit=free * 2 // 3)
    assert limited.memory(x).arena_bytes <= free * 2 // 3
    with using(Simulated()):
        got = gl.jit(gl.grad(deep), device="cuda", memory_limit=free * 2 // 3)(x)
    np.testing.assert_allclose(got, gl.jit(gl.grad(deep))(x), rtol=1e-5, atol=1e-6)
