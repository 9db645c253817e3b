"""gradloom: trace a NumPy-style function once, plan its forward and reverse sweeps in one arena,
and compile the whole of it into one native call."""

import importlib
from typing import TYPE_CHECKING, Any

from gradloom.settings import settings  # at once, since its module has the same name
from gradloom.version import VERSION

if TYPE_CHECKING:
    from gradloom import linalg as linalg
    from gradloom import numpy as numpy
    from gradloom import special as special
    from gradloom import stats as stats
    from gradloom.checkpointing import checkpoint as checkpoint
    from gradloom.checkpointing import checkpoint_policies as checkpoint_policies
    from gradloom.control.associative import associative_scan as associative_scan
    from gradloom.control.branch import cond as cond
    from gradloom.control.branch import switch as switch
    from gradloom.control.repeat import while_loop as while_loop
    from gradloom.control.scan import fori_loop as fori_loop
    from gradloom.control.scan import scan as scan
    from gradloom.custom import custom_jvp as custom_jvp
    from gradloom.custom import custom_vjp as custom_vjp
    from gradloom.device_array import DeviceArray as DeviceArray
    from gradloom.differentiate import jvp as jvp
    from gradloom.differentiate import linear_transpose as linear_transpose
    from gradloom.differentiate import linearize as linearize
    from gradloom.differentiate import vjp as vjp
    from gradloom.errors import DeviceError as DeviceError
    from gradloom.errors import DeviceMemoryError as DeviceMemoryError
    from gradloom.errors import DtypeError as DtypeError
    from gradloom.errors import GradloomError as GradloomError
    from gradloom.errors import InternalError as InternalError
    from gradloom.errors import MemoryLimitError as MemoryLimitError
    from gradloom.errors import MissingError as MissingError
    from gradloom.errors import RangeError as RangeError
    from gradloom.errors import SettingError as SettingError
    from gradloom.errors import ShapeError as ShapeError
    from gradloom.errors import StateError as StateError
    from gradloom.errors import StructureError as StructureError
    from gradloom.errors import ToolchainError as ToolchainError
    from gradloom.errors import TracingError as TracingError
    from gradloom.frontend.pytree import tree_map as tree_map
    from gradloom.jacobians import hessian as hessian
    from gradloom.jacobians import jacfwd as jacfwd
    from gradloom.jacobians import jacobian as jacobian
    from gradloom.jacobians import jacrev as jacrev
    from gradloom.jitted import jit as jit
    from gradloom.mapping import vmap as vmap
    from gradloom.ops.call import checkpoint_name as checkpoint_name
    from gradloom.ops.callback import pure_callback as pure_callback
    from gradloom.ops.composite import stop_gradient as stop_gradient
    from gradloom.ops.picking import dynamic_slice as dynamic_slice
    from gradloom.ops.picking import dynamic_update_slice as dynamic_update_slice
    from gradloom.placement import device as device
    from gradloom.placement import device_get as device_get
    from gradloom.placement import device_put as device_put
    from gradloom.shapes import ShapeDtypeStruct as ShapeDtypeStruct
    from gradloom.shapes import eval_shape as eval_shape
    from gradloom.train import nn as nn
    from gradloom.train import optim as optim
    from gradloom.train import random as random
    from gradloom.train.step import train_step as train_step
    from gradloom.transform import eager as eager
    from gradloom.transform import grad as grad
    from gradloom.transform import value_and_grad as value_and_grad

__version__ = VERSION

# What each module offers here.  It is imported when that is first asked for: a program that finds
# its code in the cache needs a third of them, and each takes 0.3 ms.
_OFFERED = {
    "checkpointing": "checkpoint checkpoint_policies",
    "control.associative": "associative_scan",
    "control.branch": "cond switch",
    "control.repeat": "while_loop",
    "control.scan": "fori_loop scan",
    "custom": "custom_jvp custom_vjp",
    "device_array": "DeviceArray",
    "differentiate": "jvp linear_transpose linearize vjp",
    "errors": "DeviceError DeviceMemoryError DtypeError GradloomError InternalError "
    "MemoryLimitError MissingError RangeError SettingError ShapeError StateError StructureError "
    "ToolchainError TracingError",
    "frontend.pytree": "tree_map",
    "jacobians": "hessian jacfwd jacobian jacrev",
    "jitted": "jit",
    "mapping": "vmap",
    "ops.call": "checkpoint_name",
    "ops.callback": "pure_callback",
    "ops.composite": "stop_gradient",
    "ops.picking": "dynamic_slice dynamic_update_slice",
    "placement": "device device_get device_put",
    "shapes": "ShapeDtypeStruct eval_shape",
    "train.step": "train_step",
    "transform": "eager grad value_and_grad",
}
_HOMES = {name: module for module, names in _OFFERED.items() for name in names.split()}
_MODULES = {
    **{name: name for name in ("linalg", "numpy", "special", "stats")},
    **{name: f"train.{name}" for name in ("nn", "optim", "random")},
}

__all__ = sorted(("__version__", settings.__name__, *_HOMES, *_MODULES))


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """What is imported when it is first asked for."""
    if name in _MODULES:
        found: Any = importlib.import_module(f"gradloom.{_MODULES[name]}")
    elif name in _HOMES:
        found = getattr(importlib.import_module(f"gradloom.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'gradloom' has no attribute {name!r}")
    globals()[name] = found
    return found
