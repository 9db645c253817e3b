import struct

import numpy as np
import pytest

from gradloom import doctor
from gradloom.__main__ import main
from gradloom.doctor import Finding, examine
from gradloom.errors import GradloomError, ToolchainError
from gradloom.runtime.cuda import driver, linker
from gradloom.settings import settings
from tests.runtime.cuda.fake import Fake, Launched, fresh

fake = pytest.fixture(fresh)
FITTING = {
    "numpy": "2.4.6",
    "numba": "0.68.1",
    "llvmlite": "0.50.0",
    "scipy": "1.17.1",
    "cuda-bindings": "13.5.0",
    "nvidia-nvjitlink": "13.0.88",
    "numba-cuda": "0.30.4",
    "nvidia-nvvm": "13.0.88",
    "nvidia-cuda-nvrtc": "13.0.88",
}


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed, which a test changes; nothing is compiled for GPUs."""
    there = dict(FITTING)
    monkeypatch.setattr(doctor, "installed", lambda package: there.get(package, ""))
    monkeypatch.setattr(doctor, "_cuda_compiles", lambda: "compiled")
    monkeypatch.setattr(doctor, "_writes_ptx", lambda compiler: "writes PTX")
    monkeypatch.setattr(doctor, "_driver", lambda: iter(()))
    return there


def faults() -> dict[str, Finding]:
    return {found.subject: found for found in examine().findings if found.fault}


def test_this_machine(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "trial on the CPU      a function was compiled and run" in said
    assert "CPU target: works\nCUDA target: can" in said
    for line in said.splitlines():
        assert not line.strip().startswith("repair:") or len(line.split()) > 1


def test_what_fits(versions: dict[str, str]):
    assert faults() == {}
    report = examine()
    assert (report.cpu, report.compiles, report.runs) == (True, True, False)
    assert str(report).endswith("CPU target: works\nCUDA target: can compile, cannot run")


def test_nothing_is_installed_for_gpus(versions: dict[str, str]):
    for package in (*doctor.CUDA_PACKAGES, *doctor.PYTHON_KERNELS):
        del versions[package]
    wrong = faults()
    assert wrong.keys() == set(doctor.CUDA_PACKAGES)
    assert all(f.repair == 'pip install "gradloom[cuda]"' for f in wrong.values())
    report = examine()
    assert report.cpu
    assert not report.compiles


@pytest.mark.parametrize(
    ("package", "version", "fault", "repair"),
    [
        ("nvidia-nvvm", "13.2.51", "PTX that nvJitLink 13.0.88 cannot", '"nvidia-nvvm==13.0.*"'),
        ("nvidia-cuda-nvrtc", "", "numba-cuda does not compile without it", "gradloom[cuda]"),
        ("nvidia-nvvm", "", "numba-cuda does not compile without it", "gradloom[cuda]"),
        ("cuda-bindings", "12.9.4", "for another CUDA than nvJitLink 13.0.88", "gradloom[cuda]"),
        ("scipy", "", "gradloom needs it", "pip install scipy"),
    ],
)
def test_what_does_not_fit(
    versions: dict[str, str], package: str, version: str, fault: str, repair: str
):
    versions[package] = version
    found = faults()
    assert found.keys() == {package}
    assert fault in found[package].fault
    assert repair in found[package].repair


@pytest.mark.filterwarnings("ignore:compiled programs cannot be kept")
def test_a_cache_that_cannot_be_written(versions: dict[str, str], tmp_path):
    (tmp_path / "file").write_text("")
    with settings(cache_dir=str(tmp_path / "file" / "cache")):
        found = faults()["cache directory"]
    assert "every process compiles anew" in found.fault
    assert "GRADLOOM_CACHE_DIR" in found.repair


def test_the_cpu_target_decides_the_status(
    versions: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def broken() -> str:
        raise GradloomError("LLVM is broken\n  repair: pip install --force-reinstall llvmlite")

    monkeypatch.setattr(doctor, "_cpu_trial", broken)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "fault: LLVM is broken" in said
    assert "repair: pip install --force-reinstall llvmlite" in said
    assert "CPU target: does not work" in said


def found(subject: str) -> Finding:
    return next(found for found in examine().findings if found.subject == subject)


def test_which_compilers_write_ptx(versions: dict[str, str]):
    assert found("PTX, llvm").found == found("PTX, numba-cuda").found == "writes PTX"
    assert found("PTX, numba-cuda-mlir").found == "not installed (optional)"
    with settings(cuda_compiler="numba-cuda-mlir"):
        fault = faults()["PTX, numba-cuda-mlir"]
    assert "GRADLOOM_CUDA_COMPILER asks for it" in fault.fault
    assert fault.repair == "pip install numba-cuda-mlir, or unset GRADLOOM_CUDA_COMPILER"


def test_a_compiler_that_does_not_work(versions: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    def refuses(compiler: str) -> str:
        if compiler == "llvm":
            return "writes PTX"
        raise ToolchainError("NVVM is not there\n  repair: pip install nvidia-nvvm")

    monkeypatch.setattr(doctor, "_writes_ptx", refuses)
    (fault,) = faults().values()
    assert fault.subject == "PTX, numba-cuda"
    assert (fault.fault, fault.repair) == ("NVVM is not there", "pip install nvidia-nvvm")


def test_llvm_writes_ptx():
    assert doctor._writes_ptx("llvm") == "writes PTX 8.0"


def test_programs_of_the_toolkit(versions: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    places = {"nvdisasm": "/cuda/bin/nvdisasm"}
    monkeypatch.setattr(linker, "tool", places.get)
    assert found("nvdisasm").found == "/cuda/bin/nvdisasm"
    assert "pip install nvidia-cuda-sanitizer-api" in found("compute-sanitizer").found
    assert faults() == {}

    def without_pathfinder(name: str) -> str:
        raise ToolchainError("cuda-pathfinder cannot be imported")

    monkeypatch.setattr(linker, "tool", without_pathfinder)
    assert "pip install nvidia-cuda-nvdisasm" in found("nvdisasm").found


# ---- drivers, faked


@pytest.fixture
def compiling(fake: Fake):
    if not doctor.installed("nvidia-nvjitlink"):
        pytest.skip("nvJitLink is not installed")

    def plus_one(launched: Launched) -> None:
        (place,) = struct.unpack("Q", launched.arguments)
        fake.memory(place, 128).view(np.float32)[:] += 1

    fake.execute = plus_one


def test_a_device_that_runs(fake: Fake, compiling: None):
    report = examine()
    assert report.runs
    said = str(report)
    assert "Fake GPU, sm_90, 8 multiprocessors, 256 of 256 MiB free" in said
    assert "a kernel ran on Fake GPU" in said
    assert said.endswith("CUDA target: can compile, can run")
    assert fake.blocks() == []


def test_a_device_that_is_too_old(fake: Fake, compiling: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(driver.device(0), "arch", "sm_75")
    fault = faults()["device 0"]
    assert fault.fault == "Fake GPU is sm_75, older than all that gradloom makes code for"
    assert "compute capability 8.0" in fault.repair


def test_a_device_that_fails(fake: Fake, compiling: None):
    fake.execute = lambda launched: 719
    report = examine()
    assert (report.compiles, report.runs) == (True, False)
    assert "fault: kernel plus_one failed" in str(report)


def test_a_device_with_wrong_numbers(fake: Fake, compiling: None):
    fake.execute = lambda launched: None
    assert "gave wrong numbers" in faults()["trial on the GPU"].fault


def test_a_driver_that_is_too_old(fake: Fake, compiling: None):
    fake.reset(version=12040)
    found = faults()["NVIDIA driver"]
    assert found.found == "for CUDA 12.4"
    assert "cannot run the machine code of nvJitLink 13" in found.fault
    assert "driver 580" in found.repair


def test_a_driver_without_a_device(fake: Fake, monkeypatch: pytest.MonkeyPatch):
    driver.driver.cache_clear()
    fake.reset(devices=0)
    monkeypatch.setattr(doctor, "gpus", lambda: 1)
    found = faults()["NVIDIA driver"]
    assert "the driver finds no device" in found.fault
    assert "docker" in found.repair or "--gpus all" in found.repair
    monkeypatch.setattr(doctor, "gpus", lambda: 0)
    assert "NVIDIA driver" not in faults()
    assert not examine().runs
    fake.reset()
