"""NumPy's names for traced values and arrays alike: `import gradloom.numpy as gnp`.

The namespace is generated from the operator table and the functions written with it; what needs no
tracing (dtypes, constants, functions that make arrays) is NumPy's own.
"""

from __future__ import annotations

from typing import Any

import numpy as _np

from gradloom.frontend.tensor import FUNCTIONS as _FUNCTIONS
from gradloom.ops import composite as _composite
from gradloom.ops import contract as _contract
from gradloom.ops import indexing as _indexing

_FROM_NUMPY = (
    "float32 float64 int32 int64 uint32 bool_ pi e inf nan newaxis array asarray zeros ones empty"
    " full arange linspace eye tri meshgrid result_type finfo iinfo"
).split()
_PRIVATE = ("getitem", "astype", "stop_gradient")

globals().update({name: getattr(_np, name) for name in _FROM_NUMPY})
globals().update({name: f for name, f in _FUNCTIONS.items() if name not in _PRIVATE})
astype = _FUNCTIONS["astype"]
ndarray = _np.ndarray
__all__ = sorted({*_FROM_NUMPY, *_FUNCTIONS} - set(_PRIVATE))


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"gradloom.numpy has no {name!r}; it has {', '.join(n for n in __all__ if n[0] == name[:1])}"
    )


_ = (_composite, _contract, _indexing)
