"""Loading of native objects wherever there is room in the address space."""

import subprocess
import sys

# Takes the address space below what is mapped, but for holes in which one section of an object
# fits and not the next, and then loads a program with much code and many constants.
FRAGMENTED = """
import ctypes, mmap
import numpy as np
import gradloom as gl
import gradloom.numpy as gnp

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
WALL = 3 << 30  # more than a jump can cross

def program(x):
    return [gnp.sin(x * k) + gl.special.gammaln(x + k) * gnp.exp(x / k) for k in range(1, 6)]

wanted = [np.asarray(v) for v in program(np.linspace(0.5, 2.0, 9))]
gl.jit(lambda x: x + 1)(np.ones(3))  # the compiler itself is in memory
for pages in (1, 2, 4, 8, 16, 32, 64) * 3:
    size = WALL + pages * mmap.PAGESIZE
    start = libc.mmap(None, size, 0, FLAGS, -1, 0)
    assert libc.munmap(start + WALL, pages * mmap.PAGESIZE) == 0
found = gl.jit(program)(np.linspace(0.5, 2.0, 9))
np.testing.assert_allclose(found, wanted, 1e-12)
"""


def test_sections_stay_within_reach_of_each_other():
    done = subprocess.run([sys.executable, "-c", FRAGMENTED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
