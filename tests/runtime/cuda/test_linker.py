from importlib.util import find_spec

import pytest
from tests.runtime.cuda.kernels import (
    AXPY,
    MANY_PARTS,
    PRIMITIVES,
    SCALE_PTX,
    needs_compiler,
    needs_linker,
)

from gradloom.errors import InternalError, ToolchainError
from gradloom.runtime.cuda.linker import disassembler, link, sass
from gradloom.runtime.cuda.toolchain import compile_kernels


@needs_linker
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_120"])
def test_machine_code_and_what_it_takes(arch: str):
    cubin = link([SCALE_PTX], arch)
    assert cubin.code.startswith(b"\x7fELF")
    assert (cubin.arch, cubin.ptx) == (arch, (SCALE_PTX,))
    found = cubin.resources["scale"]
    assert 0 < found.registers <= 16
    assert found.stack_bytes == found.spill_stores == found.spill_loads == 0


@needs_linker
def test_several_texts_are_one():
    other = SCALE_PTX.replace("scale", "again")
    assert link([SCALE_PTX, other], "sm_90").resources.keys() == {"scale", "again"}


@needs_compiler
@needs_linker
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_120"])
def test_kernels_of_the_compiler(arch: str):
    cubin = link(compile_kernels([AXPY, MANY_PARTS], arch, PRIMITIVES), arch)
    parts = cubin.resources["many_parts"]
    assert parts.shared_bytes >= 64 * 4  # from sm_90 on each block has 1024 bytes more
    assert parts.barriers == 1
    assert cubin.resources["axpy"].barriers == 0
    assert not any(r.spill_stores or r.stack_bytes for r in cubin.resources.values())


@needs_linker
def test_ptx_that_is_wrong_is_shown():
    with pytest.raises(InternalError, match=r"'nothing'[\s\S]*\.visible \.entry scale"):
        link([SCALE_PTX.replace("mul.f32", "nothing.f32")], "sm_90")


@needs_linker
def test_ptx_that_is_newer_than_the_linker():
    with pytest.raises(ToolchainError, match=r"older than what wrote the PTX[\s\S]*repair: pip"):
        link([SCALE_PTX.replace(".version 8.0", ".version 99.0")], "sm_90")


def test_without_a_linker_there_is_a_repair():
    if find_spec("cuda") is not None:
        pytest.skip("cuda-bindings is installed")
    with pytest.raises(ToolchainError, match=r"repair: pip install \"gradloom\[cuda\]\""):
        link([SCALE_PTX], "sm_90")


@pytest.fixture
def no_disassembler(monkeypatch: pytest.MonkeyPatch):
    from cuda import pathfinder

    monkeypatch.setattr(pathfinder, "find_nvidia_binary_utility", lambda name: None)


@needs_linker
def test_without_a_disassembler_there_is_a_repair(no_disassembler: None):
    with pytest.raises(ToolchainError, match="pip install nvidia-cuda-nvdisasm"):
        disassembler()


@needs_linker
def test_machine_code_as_text():
    try:
        disassembler()
    except ToolchainError:
        pytest.skip("nvdisasm is not installed")
    text = sass(link([SCALE_PTX], "sm_90"))
    assert "FMUL" in text
    assert "STG" in text
