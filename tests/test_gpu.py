"""What a user asks of a program for GPUs on a machine that has none."""

from __future__ import annotations

import ast
import sys

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


def test_explain_says_how_a_program_is_launched_and_what_it_takes():
    pytest.importorskip("cuda.bindings.nvjitlink")
    said = gl.jit(classify, target="cuda-ptx").explain(X, W)
    assert "GPU: sm_90; one kernel, whose blocks are a cluster, 256 threads a block" in said
    row = next(line for line in said.splitlines() if line.startswith("persistent"))
    _, blocks, shared, registers, stack, spilled = row.split()
    assert int(blocks) == 3  # a warp for each of 24 rows
    assert int(shared.replace(",", "")) > 0
    assert 16 <= int(registers) <= 255
    assert int(stack) == int(spilled) == 0
    with gl.settings(disable=("persistent",)):
        launched = gl.jit(classify, target="cuda-ptx").explain(X, W)
    assert "kernels, launched as one graph" in launched
    assert launched.count("\nlaunch_group_") == 2


def test_explain_says_how_blocks_share_each_stage():
    x = np.ones((4, 5000), np.float32)

    def f(x):
        return gnp.tanh(x[:, :40] @ W), gnp.max(x, 1), gnp.max(x[:, :900], 1), x.T * 2

    said = gl.jit(f, target="cuda-ptx").explain(x)
    assert "4x10 += 40" in said  # its loops, not its items
    for share in ("x a tile 16x16", "4 x a row", "1 x 8 rows, a warp each", "79 x 256"):
        assert share in said, share


def test_explain_without_a_linker_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with gl.settings(cache=False):
        said = gl.jit(classify, target="cuda-ptx").explain(X, W)
    assert "registers are not known: cuda-bindings cannot be imported" in said
    assert 'pip install "gradloom[cuda]"' in said


def test_memory_is_what_the_gpu_is_asked_for(monkeypatch):
    def loss(w, x):
        return (gnp.tanh(x @ w) ** 2).sum()

    asked = []
    with using(machine := Simulated()):
        allocate = machine.allocate

        def noted(nbytes):
            asked.append(nbytes)
            return allocate(nbytes)

        monkeypatch.setattr(machine, "allocate", noted)
        step = gl.train_step(loss, gl.optim.sgd(0.1), device="cuda")
        state = step.init(W)
        state, _ = step(state, X)
        used = step.memory()
        assert used.arena_bytes > 0
        assert used.arena_bytes in asked
        step.fit(state, np.concatenate([X, X]), 24, shuffle=gl.random.key(0))
        assert used.staging_bytes >= X.nbytes
        assert used.arena_bytes + used.staging_bytes in asked


def test_pictures_are_drawn_of_what_is_for_a_gpu(tmp_path):
    drawing = gl.jit(classify, target="cuda-ptx").draw(tmp_path / "classify", X, W)
    assert "contract" in drawing.graph
    assert [file.name for file in drawing.files] == ["classify_graph.svg", "classify_arena.svg"]


@pytest.mark.parametrize("disabled", [(), ("persistent",)])
def test_llvm_is_what_the_kernels_are_made_of(disabled):
    with gl.settings(disable=disabled):
        compiled = gl.jit(classify, target="cuda-ptx:sm_80")
        text, names = compiled.llvm(X, W), ptx.load(compiled.ptx(X, W)).names
    assert 'target triple = "nvptx64-nvidia-cuda"' in text
    assert all(f"define ptx_kernel void @{name}(" in text for name in names)


def test_denormal_numbers_are_not_flushed_on_a_gpu():
    with pytest.raises(SettingError, match=r"test_gpu\.py[^$]*leave it out"):
        gl.jit(classify, target="cuda-ptx", flush_denormals=True).ptx(X, W)


def test_the_source_runs_in_plain_python():
    from gradloom.codegen.source import run_source

    text = gl.jit(classify, target="cuda-ptx").source(X, W)
    np.testing.assert_allclose(run_source(text, [X, W])[0], gl.jit(classify)(X, W), rtol=1e-6)


def test_a_program_for_gpus_has_no_assembly_of_this_machine():
    with pytest.raises(StateError, match=r"ask it for \.ptx\(\)"):
        gl.jit(classify, target="cuda-ptx").assembly(X, W)


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


def test_gpus_that_are_not_known_by_name_take_what_is_for_older_ones():
    with using(Simulated(capability=103)):
        compiled = gl.jit(classify, device="cuda")
        assert ".target sm_100" in compiled.ptx(X, W)
    with using(Simulated(capability=75)), pytest.raises(DeviceError, match=r"7\.5, is older than"):
        gl.jit(classify, device="cuda")(X, W)


def test_a_function_that_needs_the_host_is_refused():
    matrix = np.eye(3) + 1
    with using(Simulated()), pytest.raises(DeviceError, match=r'libraries of the host[^$]*"cpu"'):
        gl.jit(gnp.linalg.eigvalsh, device="cuda")(matrix)


def test_a_memory_limit_is_kept_on_a_gpu():
    turn = np.eye(16, dtype=np.float32) * 0.9

    def deep(x):
        for _ in range(8):
            x = gnp.tanh(gnp.square(x @ turn))
        return x.sum()

    x = np.ones((16, 16), np.float32)
    free = gl.jit(gl.grad(deep), target="cuda-ptx").memory(x).arena_bytes
    limited = gl.jit(gl.grad(deep), target="cuda-ptx", memory_limit=free * 2 // 3)
    assert limited.memory(x).arena_bytes <= free * 2 // 3
    with using(Simulated()):
        got = gl.jit(gl.grad(deep), device="cuda", memory_limit=free * 2 // 3)(x)
    np.testing.assert_allclose(got, gl.jit(gl.grad(deep))(x), rtol=1e-5, atol=1e-6)
