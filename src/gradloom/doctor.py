"""What gradloom finds on this machine, what of it does not fit together, and what repairs it."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from gradloom.errors import DeviceError, GradloomError, ToolchainError
from gradloom.runtime.cuda.faults import DOCTOR, version_text
from gradloom.runtime.cuda.packages import INSTALL
from gradloom.settings import current as current_settings
from gradloom.settings import settings
from gradloom.version import VERSION

# Adds 1 to each of 32 numbers; for the oldest GPUs that nvJitLink 13 knows.
TRIAL = """
.version 6.3
.target sm_75
.address_size 64
.visible .entry plus_one(.param .u64 x)
{
  .reg .b32 %r<2>; .reg .b64 %d<5>; .reg .f32 %f<3>;
  ld.param.u64 %d1, [x];
  cvta.to.global.u64 %d2, %d1;
  mov.u32 %r1, %tid.x;
  mul.wide.u32 %d3, %r1, 4;
  add.s64 %d4, %d2, %d3;
  ld.global.f32 %f1, [%d4];
  add.f32 %f2, %f1, 0f3F800000;
  st.global.f32 [%d4], %f2;
  ret;
}
"""
CUDA_PACKAGES = ("cuda-bindings", "nvidia-nvjitlink")  # without which nothing runs on a GPU
PYTHON_KERNELS = ("numba-cuda", "nvidia-nvvm", "nvidia-cuda-nvrtc")  # for kernels in Python
NVIDIA = "0x10de"  # among makers of PCI devices
UPDATE = "sudo ubuntu-drivers install nvidia:580, or driver 580 or newer from nvidia.com/drivers"
OPTIONAL = ("numba-cuda-mlir", "cuda-core")
# What `GRADLOOM_CUDA_COMPILER` may be, with the package that each value needs, and what brings it.
COMPILERS = {
    "llvm": ("llvmlite", "pip install llvmlite"),
    "numba-cuda": ("numba-cuda", INSTALL),
    "numba-cuda-mlir": ("numba-cuda-mlir", "pip install numba-cuda-mlir"),
}
# Programs of the toolkit, with the package that brings them and what they are for.
TOOLS = {
    "nvdisasm": ("nvidia-cuda-nvdisasm", "`.sass()`"),
    "compute-sanitizer": ("nvidia-cuda-sanitizer-api", "to find a kernel's illegal accesses"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; a fault has the command that repairs it."""

    subject: str
    found: str
    fault: str = ""
    repair: str = ""

    def __str__(self) -> str:
        lines = [f"{self.subject:22}{self.found}"]
        if self.fault:
            lines += [f"{'':22}fault: {self.fault}", f"{'':22}repair: {self.repair}"]
        return "\n".join(line.rstrip() for line in lines)


@dataclass(frozen=True)
class Report:
    """Everything that was found, and which targets work."""

    findings: list[Finding]
    cpu: bool
    compiles: bool
    runs: bool

    def __str__(self) -> str:
        said = {True: "works", False: "does not work"}
        return "\n".join(
            (
                *map(str, self.findings),
                "",
                f"CPU target: {said[self.cpu]}",
                f"CUDA target: {'can' if self.compiles else 'cannot'} compile, "
                f"{'can' if self.runs else 'cannot'} run",
            )
        )


def examine() -> Report:
    """Look at everything, and try to compile and to run something for each target."""
    cpu = _tried("trial on the CPU", _cpu_trial)
    packages, drivers = list(_cuda_packages()), list(_driver())
    compiling = running = Finding("trial for GPUs", "not tried")
    if all(installed(package) for package in CUDA_PACKAGES):
        compiling = _tried("trial compilation", _cuda_compiles)
        if any(finding.subject == "device 0" for finding in drivers):
            running = _tried("trial on the GPU", _cuda_runs)
    trials = [*_compilers(), *dict.fromkeys((compiling, running))]
    found = [*_machine(), _cache(), cpu, *packages, *_tools(), *drivers, *trials]
    tried = [finding.found not in ("failed", "not tried") for finding in (cpu, compiling, running)]
    return Report(found, *tried)


def _tried(subject: str, trial: Callable[[], str]) -> Finding:
    """What a trial found, or the error that ended it, with the repair that it names."""
    try:
        return Finding(subject, trial())
    except (GradloomError, ImportError, OSError) as error:
        return Finding(subject, "failed", *_parted(error))


def _parted(error: Exception) -> tuple[str, str]:
    """The fault and the repair of an error."""
    fault, _, repair = str(error).partition("\n  repair: ")
    return fault or type(error).__name__, repair.replace(f"; {DOCTOR}", "") or INSTALL


# ---- the CPU


def _machine() -> Iterator[Finding]:
    from gradloom.runtime.cores import cores

    python = f"{platform.python_version()} ({sys.executable})"
    yield Finding("gradloom", VERSION)
    yield Finding("Python", python)
    yield Finding("machine", f"{platform.system()} {platform.machine()}, {cores()} cores")
    for package in ("numpy", "numba", "llvmlite", "scipy"):
        version = installed(package)
        if version:
            yield Finding(package, version)
        else:
            yield Finding(package, "not installed", "gradloom needs it", f"pip install {package}")


def installed(package: str) -> str:
    """The version of an installed package, or nothing."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return ""


def _cache() -> Finding:
    from gradloom.runtime.cache import directory

    place = directory()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Finding(
            "cache directory",
            str(place),
            f"it cannot be written ({error.strerror}), so every process compiles anew",
            "export GRADLOOM_CACHE_DIR=a directory that can be written",
        )
    size = sum(file.stat().st_size for file in place.glob("??/*.o"))
    return Finding("cache directory", f"{place} ({size:,} bytes)")


def _cpu_trial() -> str:
    from gradloom.jitted import jit

    found = jit(lambda x: x + 1)(np.arange(32.0))
    if found.tolist() != [n + 1.0 for n in range(32)]:
        raise GradloomError("a compiled function gave wrong numbers\n  repair: report it")
    return "a function was compiled and run"


# ---- GPUs


def _cuda_packages() -> Iterator[Finding]:
    for package in CUDA_PACKAGES:
        version = installed(package)
        if version:
            yield Finding(package, version, *_misfit(package, version))
        else:
            yield Finding(package, "not installed", "the CUDA target needs it", INSTALL)
    for package in PYTHON_KERNELS:
        version = installed(package)
        yield Finding(package, version or "not installed", *_half(package, version))
    for package in OPTIONAL:
        yield Finding(package, installed(package) or "not installed (optional)")


def _tools() -> Iterator[Finding]:
    """Programs that nothing needs but who asks for what they show."""
    from gradloom.runtime.cuda.linker import tool

    for name, (package, purpose) in TOOLS.items():
        try:
            found = tool(name)
        except ToolchainError:
            found = None
        yield Finding(name, found or f"not found (optional, {purpose}: pip install {package})")


def _compilers() -> Iterator[Finding]:
    """Which values of GRADLOOM_CUDA_COMPILER work here; the one that is set has to."""
    for name, (package, install) in COMPILERS.items():
        subject = f"PTX, {name}"
        if installed(package):
            yield _tried(subject, partial(_writes_ptx, name))
        elif name == current_settings().cuda_compiler:
            fault = f"GRADLOOM_CUDA_COMPILER asks for it, and {package} is not installed"
            repair = f"{install}, or unset GRADLOOM_CUDA_COMPILER"
            yield Finding(subject, "does not work", fault, repair)
        else:
            yield Finding(subject, "not installed (optional)")


def _writes_ptx(name: str) -> str:
    from gradloom.jitted import jit

    with settings(cuda_compiler=name, cache=False):
        text = jit(lambda x: x + 1, target="cuda-ptx").ptx(np.arange(32, dtype=np.float32))
    version = text.partition(".version ")[2].split()[0]
    return f"writes PTX {version}"


def _half(package: str, version: str) -> tuple[str, str]:
    """What is wrong with one of the packages that compile kernels in Python: all, or none."""
    others = [other for other in PYTHON_KERNELS if installed(other)]
    if not version and "numba-cuda" in others:
        return "numba-cuda does not compile without it", INSTALL
    return _misfit(package, version)


def _misfit(package: str, version: str) -> tuple[str, str]:
    """Why a package does not fit the linker, if so."""
    linker = installed("nvidia-nvjitlink")
    if not version or not linker:
        return "", ""
    exact = f'pip install "{package}=={".".join(linker.split(".")[:2])}.*"'
    if package in ("nvidia-nvvm", "nvidia-cuda-nvrtc") and release(version) > release(linker):
        return f"it writes PTX that nvJitLink {linker} cannot read", exact
    if package == "cuda-bindings" and release(version)[0] != release(linker)[0]:
        return f"it is for another CUDA than nvJitLink {linker}", INSTALL
    return "", ""


def release(version: str) -> tuple[int, ...]:
    """Major and minor number of a version.

    >>> release("13.0.88")
    (13, 0)
    """
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def _driver() -> Iterator[Finding]:
    from gradloom.runtime.cuda import driver

    if not gpus():
        yield Finding("NVIDIA GPUs", "none in this machine")
    try:
        version = int(driver.driver().cuDriverGetVersion()[1])
    except ToolchainError:
        yield Finding("NVIDIA driver", "not asked, for lack of cuda-bindings")
        return
    except DeviceError as error:
        yield Finding("NVIDIA driver", "not usable", *(_parted(error) if gpus() else ()))
        return
    known, linker = version_text(version), installed("nvidia-nvjitlink")
    found = f"for CUDA {known}"
    if linker and release(known)[0] < release(linker)[0]:
        old = f"it cannot run the machine code of nvJitLink {linker}"
        yield Finding("NVIDIA driver", found, old, UPDATE)
    else:
        yield Finding("NVIDIA driver", found)
    for ordinal in range(driver.count()):
        yield _tried(f"device {ordinal}", partial(_described, ordinal))


def gpus() -> int:
    """How many of NVIDIA's devices the system lists on its buses, whether or not with a driver."""
    vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
    return sum(vendor.read_text().strip() == NVIDIA for vendor in vendors)


def _described(ordinal: int) -> str:
    from gradloom.codegen.cuda.target import newest
    from gradloom.runtime.cuda.driver import device

    one = device(ordinal)
    if not newest(int(one.arch.removeprefix("sm_"))):
        raise DeviceError(
            f"{one.name} is {one.arch}, older than all that gradloom makes code for"
            "\n  repair: take a GPU of compute capability 8.0 or newer, or the CPU"
        )
    return (
        f"{one.name}, {one.arch}, {one.multiprocessors} multiprocessors, "
        f"{one.free_bytes() >> 20:,} of {one.total_bytes >> 20:,} MiB free"
    )


def _cuda_compiles() -> str:
    from gradloom.runtime.cuda.linker import link

    cubin = link([TRIAL], "sm_90")
    return f"a kernel was assembled for sm_90, {cubin.resources['plus_one'].registers} registers"


def _cuda_runs() -> str:
    from gradloom.runtime.cuda.driver import device
    from gradloom.runtime.cuda.linker import link

    one = device()
    loaded = one.load(link([TRIAL], one.arch))
    numbers = np.arange(32, dtype=np.float32)
    result = np.zeros_like(numbers)
    place = one.allocate(numbers.nbytes)
    try:
        one.write(place, numbers)
        loaded.launch("plus_one", 1, 32, (place,))
        one.read(result, place)
        one.wait()
    finally:
        one.free(place)
    if result.tolist() != (numbers + 1).tolist():
        raise DeviceError(
            f"{one.name} gave wrong numbers\n  repair: nvidia-smi -q shows its errors"
        )
    return f"a kernel ran on {one.name}"
