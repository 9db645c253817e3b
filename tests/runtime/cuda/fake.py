"""The fake driver of `fakecuda.c` from Python: what it was asked, what it shall do, its memory.

It is compiled by the system's C compiler and loaded under the driver's name, before anything looks
for a real one: `cuda.bindings` then finds it, and everything above runs as on a machine with a GPU.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SOURCES = [Path(__file__).parent / name for name in ("fakecuda.c", "fakequeue.h")]
EXECUTOR = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_uint64,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_uint32 * 9),
    ctypes.c_void_p,
    ctypes.c_uint64,
)
LAUNCH_FAILED = 719


@dataclass(frozen=True)
class Launched:
    """A kernel that ran: its arguments are packed as a C struct, as the device would see them."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    cooperative: bool
    cluster: int
    arguments: bytes
    image: bytes  # the machine code that was loaded


Execute = Callable[[Launched], int | None]


class Fake:
    """The one fake driver of this process.

    `execute(launched)` runs for each kernel, in the order in which a GPU could run them; it reads
    and writes device memory by `memory`, and returns an error of the driver's, or nothing.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.native = library
        library.fake_storage.restype = ctypes.c_void_p
        library.fake_base.restype = ctypes.c_uint64
        library.fake_calls.restype = ctypes.c_long
        self.launches: list[Launched] = []
        self.execute: Execute = lambda launched: None
        self.raised: BaseException | None = None
        self._callback = EXECUTOR(self._executed)

    def reset(self, memory: int = 1 << 28, devices: int = 1, version: int = 13000) -> None:
        """A device of so much memory, with nothing in it and nothing asked of it."""
        self.native.fake_reset(ctypes.c_uint64(memory), devices, version)
        self.native.fake_executor(self._callback)
        self.launches, self.execute, self.raised = [], lambda launched: None, None

    def _executed(
        self, image: int, nbytes: int, kernel: bytes, geometry: Any, arguments: int, size: int
    ) -> int:
        words = tuple(geometry.contents)
        launched = Launched(
            kernel.decode(),
            words[:3],
            words[3:6],
            words[6],
            bool(words[7]),
            words[8],
            ctypes.string_at(arguments, size),
            ctypes.string_at(image, nbytes),
        )
        self.launches.append(launched)
        try:
            return self.execute(launched) or 0
        except BaseException as error:  # noqa: BLE001  C cannot raise it; the test's end does
            self.raised = error
            traceback.print_exc()
            return LAUNCH_FAILED

    def fail(self, function: str, code: int, after: int = 0) -> None:
        """Let calls of a driver's function fail, once it was called `after` times more."""
        self.native.fake_fail(function.encode(), code, ctypes.c_long(after))

    def calls(self, function: str) -> int:
        """How often a driver's function was called."""
        return int(self.native.fake_calls(function.encode()))

    @property
    def base(self) -> int:
        """The first address of the device."""
        return int(self.native.fake_base())

    def memory(self, place: int, nbytes: int) -> np.ndarray:
        """A view of bytes of the device, which must lie in one block of what was allocated."""
        if not any(at <= place and place + nbytes <= at + size for at, size in self.blocks()):
            raise IndexError(f"{nbytes} bytes at {place:#x} are not allocated")
        start = self.native.fake_storage() + place - self.base
        return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(start), np.uint8)

    def blocks(self) -> list[tuple[int, int]]:
        """What is allocated: addresses and bytes, in order."""
        place, size = ctypes.c_uint64(), ctypes.c_uint64()
        found = []
        for number in range(self.native.fake_blocks()):
            self.native.fake_block(number, ctypes.byref(place), ctypes.byref(size))
            found.append((place.value, size.value))
        return found


@cache
def fake_library() -> ctypes.CDLL | str:
    """The library, loaded; or why it cannot be."""
    if find_spec("cuda") is None or find_spec("cuda.bindings") is None:
        return "cuda-bindings is not installed"
    if not sys.platform.startswith("linux"):
        return "the fake driver is for Linux"
    compiler = shutil.which("cc")
    if compiler is None:
        return "there is no C compiler (cc)"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pass
    else:
        return "this machine has a driver, and a process can have only one"
    folder = Path(tempfile.gettempdir()) / "gradloom-fakecuda"
    folder.mkdir(exist_ok=True)
    text = b"".join(source.read_bytes() for source in SOURCES)
    digest = hashlib.sha256(text).hexdigest()[:16]
    built = folder / f"{digest}.so"
    if not built.exists():
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".so", delete=False) as file:
            pass
        options = ["-O1", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-pthread"]
        subprocess.run([compiler, *options, "-o", file.name, str(SOURCES[0])], check=True)
        Path(file.name).replace(built)
    return ctypes.CDLL(str(built), mode=ctypes.RTLD_GLOBAL)


@cache
def the_fake() -> Fake:
    """The fake driver; skips the test, and says why, where there cannot be one."""
    library = fake_library()
    if isinstance(library, str):
        pytest.skip(library)
    return Fake(library)


def fresh() -> Iterator[Fake]:
    """For a fixture: the fake driver with an empty device, which raises what its kernels raised."""
    from gradloom.runtime.cuda import driver

    fake = the_fake()
    fake.reset()
    driver.device.cache_clear()
    yield fake
    if fake.raised is not None:
        raise fake.raised
