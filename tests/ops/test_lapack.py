"""The addresses of LAPACK's functions, and what it takes to find them."""

import subprocess
import sys

from gradloom.ops.lapack import address, address_of, bindings

# In a process of its own, where nothing has imported SciPy's linear algebra.
ALONE = """
import sys
import numpy as np
import gradloom as gl
import gradloom.numpy as gnp

x = np.array([[2.0, 1.0], [1.0, 3.0]])
found = gl.jit(gnp.linalg.cholesky)(x)
assert not any(name.startswith("scipy.linalg") for name in sys.modules), "all of it was imported"

import scipy.linalg.cython_lapack
from gradloom.ops.lapack import bindings

assert scipy.linalg.cython_lapack is bindings("lapack")
assert np.allclose(found, scipy.linalg.cholesky(x, lower=True))
"""


def test_a_routine_needs_two_modules_of_scipy_and_leaves_the_package_whole():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_module_is_the_one_that_the_package_has():
    from scipy.linalg import cython_blas

    assert bindings("blas") is cython_blas


def test_complex_functions_have_their_own_names():
    assert address_of("potrf", "complex64") is address("cpotrf")
    assert address_of("orglq", "complex128") is address("zunglq")
    assert len({int(address(letter + "gemm")) for letter in "sdcz"}) == 4
