"""gradloom: trace a NumPy-style function once, plan its forward and reverse sweeps in one arena,
and let Numba compile the whole of it into one native call."""

import importlib
from typing import TYPE_CHECKING, Any

from gradloom import numpy
from gradloom.checkpointing import checkpoint, checkpoint_policies
from gradloom.control.associative import associative_scan
from gradloom.control.branch import cond, switch
from gradloom.control.repeat import while_loop
from gradloom.control.scan import fori_loop, scan
from gradloom.custom import custom_jvp, custom_vjp
from gradloom.differentiate import jvp, linear_transpose, linearize, vjp
from gradloom.errors import (
    DtypeError,
    GradloomError,
    InternalError,
    MemoryLimitError,
    MissingError,
    RangeError,
    SettingError,
    ShapeError,
    StateError,
    StructureError,
    TracingError,
)
from gradloom.frontend.pytree import tree_map
from gradloom.jacobians import hessian, jacfwd, jacobian, jacrev
from gradloom.jitted import jit
from gradloom.mapping import vmap
from gradloom.ops.call import checkpoint_name
from gradloom.ops.callback import pure_callback
from gradloom.ops.composite import stop_gradient
from gradloom.ops.picking import dynamic_slice, dynamic_update_slice
from gradloom.settings import settings
from gradloom.shapes import ShapeDtypeStruct, eval_shape
from gradloom.train import nn, optim, random
from gradloom.transform import eager, grad, value_and_grad
from gradloom.version import VERSION

if TYPE_CHECKING:
    from gradloom import linalg, special, stats
    from gradloom.train.step import train_step

__version__ = VERSION

__all__ = [
    "DtypeError",
    "GradloomError",
    "InternalError",
    "MemoryLimitError",
    "MissingError",
    "RangeError",
    "SettingError",
    "ShapeDtypeStruct",
    "ShapeError",
    "StateError",
    "StructureError",
    "TracingError",
    "__version__",
    "associative_scan",
    "checkpoint",
    "checkpoint_name",
    "checkpoint_policies",
    "cond",
    "custom_jvp",
    "custom_vjp",
    "dynamic_slice",
    "dynamic_update_slice",
    "eager",
    "eval_shape",
    "fori_loop",
    "grad",
    "hessian",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "linalg",
    "linear_transpose",
    "linearize",
    "nn",
    "numpy",
    "optim",
    "pure_callback",
    "random",
    "scan",
    "settings",
    "special",
    "stats",
    "stop_gradient",
    "switch",
    "train_step",
    "tree_map",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]


_LATE = ("linalg", "special", "stats")  # half of the import's time, and often not needed


def __getattr__(name: str) -> Any:
    """What is imported when it is first asked for; `train_step` brings the compiler with it."""
    if name in _LATE:
        return importlib.import_module(f"gradloom.{name}")
    if name != "train_step":
        raise AttributeError(f"module 'gradloom' has no attribute {name!r}")
    from gradloom.train.step import train_step

    globals()[name] = train_step
    return train_step
