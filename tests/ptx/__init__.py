"""A PTX interpreter: runs the very code that a GPU would run, on any machine, and checks it.

    module = ptx.load(text)
    counters = module.launch("kernel", grid=(8,), block=(256,), args=[x, y, np.uint32(n)])

Every thread of the grid is executed, as vectors of NumPy. Found are: accesses outside of an
allocation or misaligned, shared memory that is read before it is written, races in shared memory
(and, with `races="global"`, in global memory), waits that are missing after cp.async, deadlocks,
and instructions that are not known. Not told: time.

On one core it executes 50 million (a product with 64 sums a thread, with the race check) to 600
million (a plain product) instructions of threads a second, and reads 20,000 lines of PTX a second.
"""

from tests.ptx.counters import Counters
from tests.ptx.floating import perturbed
from tests.ptx.machine import Kernel, Module, load
from tests.ptx.spaces import Memory
from tests.ptx.syntax import PtxError

__all__ = ["Counters", "Kernel", "Memory", "Module", "PtxError", "load", "perturbed"]
