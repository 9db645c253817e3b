"""What can go wrong, and where: the family of errors, and the search for the user's line.

Every error that gradloom raises on purpose is a GradloomError and also the built-in error that
fits, so `except ValueError` works. Its text says what happened, on which line of the user's, and
what to write instead.
"""

import linecache
import os
import sys
from typing import NamedTuple

import numpy as np


class GradloomError(Exception):
    """The root of every error that gradloom raises on purpose."""


class TracingError(GradloomError, TypeError):
    """A traced value was used as if it were a number already.

    While a function is traced its arrays have a shape and a dtype but no values. A branch on one
    would be frozen into the program, so it is refused::

        @gl.jit
        def relu(x):
            return x if x > 0 else 0.0 * x      # TracingError: a traced value has no truth value

    Choose between values with `where`, and look at results outside of the traced function::

        @gl.jit
        def relu(x):
            return gnp.where(x > 0, x, 0.0)
    """


class ShapeError(GradloomError, ValueError):
    """The shapes of the operands do not fit together, or an axis is out of range.

    ::

        gl.jit(lambda x, w: x @ w)(np.ones((64, 10)), np.ones((64, 10)))    # ShapeError

    Make the axes agree, here by transposing one operand::

        gl.jit(lambda x, w: x @ w.T)(np.ones((64, 10)), np.ones((64, 10)))
    """


class DtypeError(GradloomError, TypeError):
    """An operand has a dtype that the operation, or gradloom, does not work with.

    ::

        gl.grad(lambda n: n * n)(np.int32(3))      # DtypeError: no derivative by an integer

    Convert before the call::

        gl.grad(lambda x: x * x)(np.float32(3))
    """


class RangeError(GradloomError, IndexError, OverflowError):
    """An index is outside of its axis, or a Python integer outside of its dtype.

    ::

        gl.jit(lambda x: x[3])(np.ones(3))         # RangeError: index 3 is out of bounds
        gl.jit(lambda n: n + 2**40)(np.int32(1))   # RangeError: 1099511627776 does not fit int32

    Stay inside, or take a wider dtype::

        gl.jit(lambda x: x[2])(np.ones(3))
        gl.jit(lambda n: n + 2**40)(np.int64(1))
    """


class MissingError(GradloomError, AttributeError):
    """NumPy has something of that name, gradloom does not.

    ::

        gl.jit(lambda x: x.tobytes())(np.ones(3))  # MissingError: a traced value has no 'tobytes'

    Write it with what `dir(gradloom.numpy)` lists, or do it outside of the traced function.
    """


class StateError(GradloomError, RuntimeError):
    """A compiled program or its state was used at a time when it cannot be.

    A training step updates its state in place, so the state that went in is spent::

        after, loss = step(state, x, y)
        step(state, x, y)                           # StateError: the state was used already

    Go on with the one that came out::

        state, loss = step(state, x, y)
    """


class StructureError(GradloomError, TypeError):
    """Two trees of arrays that must have the same structure do not.

    ::

        state = step.init({"w": w, "b": b})
        gl.scan(lambda carry, x: ((carry, x), x), 0.0, xs)   # StructureError: the carry changes

    Return what came in, with the same keys, lengths and types::

        gl.scan(lambda carry, x: (carry + x, x), 0.0, xs)
    """


class SettingError(GradloomError, ValueError):
    """A setting has a value that it cannot have.

    ::

        GRADLOOM_DEBUG=loud python model.py       # SettingError: GRADLOOM_DEBUG must be 0 to 5

    Use one of the values that the text names::

        GRADLOOM_DEBUG=3 python model.py
    """


class MemoryLimitError(GradloomError, MemoryError):
    """A program needs more memory than `memory_limit=` allows; nothing was run or allocated.

    ::

        gl.jit(f, memory_limit="1MB")(x)        # MemoryLimitError: the program needs 4194304 bytes

    The text says how many bytes are the least, and which buffers are the largest.
    """


class ToolchainError(GradloomError, ImportError):
    """What compiles for GPUs is not installed, or its parts do not fit together.

    ::

        gl.jit(f, device="cuda")(x)   # ToolchainError: numba-cuda cannot be imported

    The text has the command that repairs it, and this one says what is found::

        python -m gradloom doctor
    """


class DeviceError(GradloomError, RuntimeError):
    """There is no GPU to run on, its driver is too old, or a kernel failed on it.

    ::

        gl.jit(f, device="cuda")(x)   # DeviceError: there is no NVIDIA driver

    The arrays on the CPU are as they were. The text says what was found and what to do; without a
    GPU the same function runs on the CPU::

        gl.jit(f)(x)
    """


class DeviceMemoryError(GradloomError, MemoryError):
    """A GPU has not as much memory free as was asked for; nothing was allocated.

    ::

        gl.jit(f, device="cuda")(x)   # DeviceMemoryError: 2.0 GiB wanted, 1.5 GiB of 80 GiB free

    Plan the program into what is free, or take smaller batches::

        gl.jit(f, device="cuda", memory_limit="1.5GB")(x)
    """


class InternalError(GradloomError, AssertionError):
    """An invariant of gradloom itself is broken; the fault is not yours.

    The text names the stage and the invariant. Run again with the plan verified after every stage,
    and report what it says::

        with gl.settings(verify=2):
            f(x)

    Until it is mended, the same program runs without the compiler::

        with gl.settings(interpret=True):
            f(x)
    """


class Where(NamedTuple):
    """A place in the user's code.

    >>> str(Where("/home/ada/model.py", 12, "loss"))
    'model.py:12 in loss'
    """

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line} in {self.function}"


# Frames of these packages stand between the user's line and the error; NumPy's, because its
# functions written in Python call ours back.
_PASSED_OVER = tuple(
    os.path.dirname(os.path.abspath(file)) + os.sep for file in (__file__, str(np.__file__))
)


def user_where(skip: int = 0) -> Where:
    """The innermost frame outside of gradloom and NumPy, or `skip` frames further out.

    It runs for every node that is traced: about 1 us, and 0.15 us more for each frame passed over.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None:
        if not frame.f_code.co_filename.startswith(_PASSED_OVER):
            if skip == 0:
                break
            skip -= 1
        frame = frame.f_back
    return Where(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def message(what: str, where: Where, repair: str) -> str:
    """The text of an error: what happened, the user's line, and what to write instead.

    >>> print(message("no truth value", Where("model.py", 3, "loss"), "use where(c, a, b)"))
    no truth value
      at model.py:3 in loss
      repair: use where(c, a, b)
    """
    source = linecache.getline(where.file, where.line).strip()
    place = f"{where.file}:{where.line} in {where.function}"
    return f"{what}\n  at {place}{': ' if source else ''}{source}\n  repair: {repair}"


def out_of_range(where: Where) -> RangeError:
    """A kernel met an index that is not one."""
    return RangeError(
        message(
            "an index is out of range",
            where,
            "indices must be in -n ... n - 1 for an axis of size n; gnp.clip them",
        )
    )
