import pytest

from gradloom.errors import DeviceError, DeviceMemoryError, ToolchainError
from gradloom.runtime.cuda.faults import (
    Failure,
    describe,
    no_driver,
    no_package,
    out_of_memory,
    version_text,
)


def said(code: int, *kernels: str, version: int = 12040) -> str:
    error = describe(Failure("cuCall", code, f"CUDA_ERROR_{code}", kernels, version))
    assert isinstance(error, DeviceError | DeviceMemoryError)
    return str(error)


@pytest.mark.parametrize(
    "code", [2, 3, 35, 46, 100, 101, 200, 209, 222, 700, 701, 719, 720, 803, 999]
)
def test_every_error_has_a_repair(code: int):
    text = said(code)
    assert f"CUDA_ERROR_{code} from cuCall" in text
    assert "\n  repair: " in text


def test_a_fault_names_its_kernel():
    text = said(700, "softmax")
    assert text.startswith("kernel softmax read or wrote memory that is not its own")
    assert "compute-sanitizer" in text
    text = said(700, "softmax", "update")
    assert "one of the kernels softmax, update" in text
    assert "GRADLOOM_VERIFY=2" in text
    assert said(719).startswith("a kernel failed")


def test_an_old_driver_is_told_apart():
    assert "the driver knows CUDA 12.4" in said(222)
    assert "the driver knows" not in said(222, version=0)
    assert version_text(13010) == "13.1"


def test_memory_is_counted():
    error = out_of_memory(2 << 30, 1 << 30, 80 << 30, "H200")
    assert isinstance(error, DeviceMemoryError)
    assert isinstance(error, MemoryError)
    assert "2,147,483,648 bytes wanted on H200, which has 1,073,741,824 of" in str(error)
    assert isinstance(describe(Failure("cuMemAlloc", 2, "OUT_OF_MEMORY")), DeviceMemoryError)


def test_what_is_not_installed():
    assert isinstance(no_package(ImportError("No module")), ToolchainError)
    text = str(no_driver(RuntimeError("libcuda.so.1: cannot open\nand more")))
    assert "libcuda.so.1: cannot open)" in text
    assert "doctor" in text
