"""Where programs run and arrays lie: `gl.device`, `gl.device_put`, `gl.device_get`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

import numpy as np

from gradloom.device_array import UNKNOWN, DeviceArray
from gradloom.errors import DeviceError, message, user_where
from gradloom.frontend.pytree import flatten, unflatten
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import type_of
from gradloom.options import Options, check_device

_default: ContextVar[str] = ContextVar("gradloom_device", default="cpu")
# Not empty once there was a `with gl.device(...)` in this process: until then calls need not ask.
chosen: list[str] = []


def device(name: str) -> AbstractContextManager[None]:
    """Let what is called inside run on a device, "cpu" or "cuda", unless it has a `device=` of its
    own or an argument that lies on a GPU: in this thread or task only, as `jax.default_device`.

    >>> import gradloom as gl, numpy as np
    >>> double = gl.jit(lambda x: x + x)
    >>> with gl.device("cpu"):
    ...     double(np.ones(2))
    array([2., 2.])
    >>> with gl.device("tpu"):
    ...     pass
    Traceback (most recent call last):
    gradloom.errors.SettingError: device 'tpu' is not there
    """
    check_device(name)
    return _running_on(name)


@contextmanager
def _running_on(name: str) -> Iterator[None]:
    if not chosen:
        chosen.append(name)
    token = _default.set(name)
    try:
        yield
    finally:
        _default.reset(token)


def placed(options: Options, leaves: Sequence[Any]) -> tuple[str, list[Any]]:
    """What to compile for, and the arguments with other libraries' arrays as gradloom's own.

    The options say it; else it is where an argument lies, as in JAX, and else what `gl.device`
    says.  A function for the CPU refuses arrays on a GPU, as PyTorch does: a copy that nobody sees
    would be made at every call, and wait for all that the GPU still has to do.
    """
    leaves = [_adopted(leaf) for leaf in leaves]
    where = where_of(options, leaves)
    if where == "cpu":
        for leaf in leaves:
            if isinstance(leaf, DeviceArray):
                refuse_on_cpu("an argument", leaf)
    return where, leaves


def where_of(options: Options, arrays: Sequence[Any]) -> str:
    """What to compile for, as `placed` says it."""
    if options.where is not None:
        return options.where
    on_gpu = any(type(array) is DeviceArray for array in arrays)
    return "cuda" if on_gpu else _default.get()


def check_captured(where: str, captured: Sequence[Any]) -> None:
    """Raise `DeviceError` if a program for the CPU closes over an array on a GPU."""
    for array in captured:
        if where == "cpu" and isinstance(array, DeviceArray):
            refuse_on_cpu("an array that the function closes over", array)


def refuse_on_cpu(what: str, array: DeviceArray) -> NoReturn:
    """Raise `DeviceError`: a program for the CPU was given an array on a GPU."""
    raise DeviceError(
        message(
            f"{what}, {array.dtype}{list(array.shape)}, lies on a GPU, and the function runs on the"
            " CPU",
            user_where(),
            'compile it with device="cuda", or give it gl.device_get(x)',
        )
    )


def as_array(leaf: Any) -> Any:
    """An array: NumPy's, or on a GPU."""
    found = _adopted(leaf)
    return found if isinstance(found, DeviceArray) else np.asarray(found)


def _adopted(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray | np.generic | DeviceArray | bool | int | float | complex):
        return leaf
    from gradloom.runtime.cuda.foreign import adopt, is_foreign
    from gradloom.runtime.cuda.machine import the_machine

    return adopt(leaf, the_machine()) if is_foreign(leaf) else leaf


def device_put(tree: Any, device: str | None = None) -> Any:
    """The same tree with its arrays and numbers on a device: `DeviceArray`s on "cuda", NumPy's on
    "cpu"; None is the one that `gl.device` says.  Traced values are where their program runs.

    Arrays that are there are not copied; those of CuPy, PyTorch and JAX on the GPU are shared with
    them, and what they write later is seen.  Raises `DeviceError` without a GPU,
    `DeviceMemoryError` where it has not as much free, and `DtypeError`.

    >>> import gradloom as gl, numpy as np
    >>> gl.device_put({"w": np.ones(2)}, "cpu")
    {'w': array([1., 1.])}
    """
    if device is not None:
        check_device(device)
    if (device or _default.get()) == "cpu":
        return device_get(tree)
    from gradloom.runtime.cuda.machine import the_machine

    machine = the_machine()
    leaves, structure = flatten(tree)
    return unflatten(structure, [_put(leaf, machine) for leaf in leaves])


def _put(leaf: Any, machine: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf
    found = _adopted(leaf)
    if isinstance(found, DeviceArray):
        if found.machine is not machine:
            raise DeviceError(
                message("an array lies on another GPU", user_where(), "gl.device_get it first")
            )
        if found is not leaf:
            found.owner = UNKNOWN  # its stream may be gone before the array is
        return found
    kind = type_of(leaf)
    made = DeviceArray(machine, kind.shape, kind.dtype)
    machine.write(made.address, np.require(leaf, made.dtype, "C"))
    return made


def device_get(tree: Any) -> Any:
    """The same tree with NumPy arrays in place of those on a GPU; the rest as it is.

    Waits until they are computed; raises `DeviceError` if that failed.

    >>> import gradloom as gl
    >>> gl.device_get((1.0, [2.0]))
    (1.0, [2.0])
    """
    leaves, structure = flatten(tree)
    found = [_adopted(leaf) for leaf in leaves]
    machines = {leaf.machine for leaf in found if isinstance(leaf, DeviceArray)}
    got = [x.queue_download() if isinstance(x, DeviceArray) else x for x in found]
    for machine in machines:
        machine.wait()
    return unflatten(structure, got)
