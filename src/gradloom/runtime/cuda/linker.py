"""PTX in, cubins and machine code as text out: for any GPU, without one and without its driver.

nvJitLink assembles, which `cuda.bindings` calls and finds; `nvdisasm` shows.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradloom.clock import now
from gradloom.errors import InternalError, ToolchainError
from gradloom.runtime.cuda.kernel import Cubin, entries, read_resources
from gradloom.runtime.cuda.packages import INSTALL, capability, needs, versions


def link(ptx: Sequence[str], arch: str) -> Cubin:
    """The machine code of all kernels of the PTX texts, and what each takes.

    Raises InternalError with what nvJitLink says where it refuses them, and ToolchainError where
    it is not there, or is older than what wrote the PTX.
    """
    capability(arch)
    with needs("cuda-bindings"):
        from cuda.bindings import nvjitlink
    names = tuple(name for text in ptx for name in entries(text))
    options = [f"-arch={arch}", "-verbose", "-O3"]
    start = now()
    try:
        with _linking(nvjitlink, options) as handle:
            for number, text in enumerate(ptx):
                raw = text.encode()
                kind = nvjitlink.InputType.PTX
                nvjitlink.add_data(handle, kind, raw, len(raw), f"ptx {number}")
            nvjitlink.complete(handle)
            code = bytearray(nvjitlink.get_linked_cubin_size(handle))
            nvjitlink.get_linked_cubin(handle, code)
            said = bytearray(nvjitlink.get_info_log_size(handle))
            nvjitlink.get_info_log(handle, said)
    except nvjitlink.nvJitLinkError as error:
        raise _refused(error, ptx) from error
    log = said.decode().strip("\0")
    resources = read_resources(log, names)
    return Cubin(bytes(code), arch, tuple(ptx), resources, {"nvjitlink": now() - start})


@contextmanager
def _linking(nvjitlink: Any, options: list[str]) -> Iterator[int]:
    """A link in progress; what it says of errors becomes part of them."""
    try:
        handle: int = nvjitlink.create(len(options), options)
    except RuntimeError as error:  # the library is looked for when it is first called
        raise ToolchainError(
            f"nvJitLink cannot be loaded ({error})\n  repair: {INSTALL}"
        ) from error
    try:
        yield handle
    except nvjitlink.nvJitLinkError as error:
        said = bytearray(nvjitlink.get_error_log_size(handle))
        nvjitlink.get_error_log(handle, said)
        error.add_note(said.decode(errors="replace").strip("\0\n "))
        raise
    finally:
        nvjitlink.destroy(handle)


def _refused(error: Exception, ptx: Sequence[str]) -> Exception:
    said = "\n".join([str(error), *getattr(error, "__notes__", ())])
    if "Unsupported .version" in said:
        have = ", ".join(f"{name} {version}" for name, version in versions().items())
        return ToolchainError(
            f"nvJitLink is older than what wrote the PTX ({have}): {said}\n  repair: {INSTALL}"
        )
    text = "\n".join(ptx)
    return InternalError(f"nvJitLink refuses the kernels: {said}\n{text}")


def sass(cubin: Cubin) -> str:
    """The machine code as text, by `nvdisasm` of the toolkit.  Raises ToolchainError without it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernels.cubin"
        file.write_bytes(cubin.code)
        done = subprocess.run(
            [disassembler(), "--print-code", str(file)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise InternalError(f"nvdisasm refuses a cubin: {done.stderr}")
    return done.stdout


def tool(name: str) -> str | None:
    """Where a program of the CUDA toolkit is: on PATH, in one of NVIDIA's packages, or in the
    toolkit that they find."""
    with needs("cuda-pathfinder"):
        from cuda import pathfinder
    return shutil.which(name) or pathfinder.find_nvidia_binary_utility(name)


def disassembler() -> str:
    """Where `nvdisasm` is."""
    found = tool("nvdisasm")
    if found is None:
        raise ToolchainError(
            "nvdisasm is not there\n  repair: pip install nvidia-cuda-nvdisasm, or put that of a "
            "CUDA toolkit on PATH"
        )
    return found
