from dataclasses import replace
from pathlib import Path

import pytest
from tests.runtime.cuda.kernels import AXPY, SCALE_PTX, needs_linker

from gradloom.runtime.cache import COUNTS
from gradloom.runtime.cuda import cubins
from gradloom.runtime.cuda.kernel import Cubin, Kernel, Resources
from gradloom.settings import settings


@pytest.fixture(autouse=True)
def _place(tmp_path: Path):
    with settings(cache=True, cache_dir=str(tmp_path)):
        yield


@pytest.fixture
def linked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a linker that makes nothing of anything was given."""
    given: list[str] = []

    def link(ptx: tuple[str, ...], arch: str) -> Cubin:
        given.append(f"{arch} {' '.join(ptx)}")
        return Cubin(b"machine code", arch, tuple(ptx), {"k": Resources(8, 0, 0, 0, 64, 1)})

    def compile_kernels(
        kernels: list[Kernel], arch: str, primitives: object, *, contract: bool
    ) -> tuple[str, ...]:
        return tuple(f"{kernel.name} {contract}" for kernel in kernels)

    monkeypatch.setattr(cubins, "link", link)
    monkeypatch.setattr(cubins, "compile_kernels", compile_kernels)
    return given


def test_what_was_linked_before_is_read(linked: list[str]):
    first = cubins.linked(["one", "two"], "sm_90")
    assert cubins.linked(["one", "two"], "sm_90") == first
    assert linked == ["sm_90 one two"]
    assert first.resources["k"].shared_bytes == 64
    cubins.linked(["one", "two"], "sm_80")
    cubins.linked(["onetwo"], "sm_90")
    assert linked[1:] == ["sm_80 one two", "sm_90 onetwo"]


def test_kernels_are_compiled_once(linked: list[str]):
    first = cubins.compiled([AXPY], "sm_90")
    assert cubins.compiled([AXPY], "sm_90") == first
    cubins.compiled([AXPY], "sm_90", contract=False)
    cubins.compiled([replace(AXPY, most_threads=32)], "sm_90")
    assert linked == ["sm_90 axpy True", "sm_90 axpy False", "sm_90 axpy True"]


def test_another_version_is_another_entry(linked: list[str], monkeypatch: pytest.MonkeyPatch):
    cubins.linked(["one"], "sm_90")
    monkeypatch.setattr(cubins, "versions", lambda: {"nvidia-nvjitlink": "99.0"})
    cubins.linked(["one"], "sm_90")
    assert len(linked) == 2


@needs_linker
def test_machine_code_is_kept():
    first = cubins.linked([SCALE_PTX], "sm_90")
    hits = COUNTS.hits
    assert cubins.linked([SCALE_PTX], "sm_90") == first
    assert COUNTS.hits == hits + 1
    with settings(cache=False):
        assert cubins.linked([SCALE_PTX], "sm_90").resources == first.resources
