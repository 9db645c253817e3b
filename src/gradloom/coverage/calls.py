"""Arguments for a call of each public function: by its parameters' names, or by its own name."""

from __future__ import annotations

from typing import Any

import numpy as np

_RNG = np.random.default_rng(0)
MATRIX = _RNG.uniform(0.1, 0.9, (4, 4))
VECTOR = _RNG.uniform(0.1, 0.9, 4)
TRIPLE = _RNG.uniform(0.1, 0.9, 3)
CUBE = _RNG.uniform(0.1, 0.9, (4, 4, 4))
IMAGES = _RNG.uniform(0.1, 0.9, (2, 4, 4, 2))
WHOLE = np.array([2, 0, 1, 1])
TRUTHS = np.array([True, False, True, True])
KEY = np.array([1, 2], "uint32")
LAYER = {"w": MATRIX, "b": VECTOR}

# What a parameter of no telling name is tried as, in this order.
OPERANDS: tuple[Any, ...] = (MATRIX, VECTOR, WHOLE, [MATRIX, MATRIX], TRUTHS, 2)

BY_NAME: dict[str, Any] = {
    "axis": 0,
    "axis1": 0,
    "axis2": 1,
    "bins": np.array([0.2, 0.4, 0.6]),
    "condition": TRUTHS,
    "destination": 1,
    "dtype": "float32",
    "indices": WHOLE,
    "indices_or_sections": 2,
    "k": 2,
    "key": KEY,
    "kth": 1,
    "labels": WHOLE,
    "maxval": 9,
    "minval": 0,
    "num_classes": 4,
    "pad_width": 1,
    "repeats": 2,
    "reps": 2,
    "shape": (4, 4),
    "shift": 1,
    "source": 0,
    "xp": np.arange(4.0),
}

# Keyword arguments stand in a dict at the end.
CALLS: dict[str, tuple[Any, ...]] = {
    "linalg.cho_solve": ((MATRIX, True), VECTOR),
    "linalg.lu_solve": ((MATRIX, np.arange(4, dtype="int32")), VECTOR),
    "nn.avg_pool": (IMAGES, 2),
    "nn.conv1d": (IMAGES[0], np.ones((2, 2, 3))),
    "nn.conv2d": (IMAGES, np.ones((2, 2, 2, 3))),
    "nn.dropout": (KEY, MATRIX, 0.5),
    "nn.linear": (LAYER, MATRIX),
    "nn.linear_init": (KEY, 4, 3),
    "nn.max_pool": (IMAGES, 2),
    "nn.mlp": ([LAYER, LAYER], MATRIX),
    "nn.mlp_init": (KEY, (4, 3, 2)),
    "numpy.argwhere": (MATRIX, {"size": 3}),
    "numpy.bincount": (WHOLE, VECTOR, {"length": 3}),
    "numpy.compress": (TRUTHS, MATRIX, 0, {"size": 2}),
    "numpy.cross": (TRIPLE, TRIPLE),
    "numpy.delete": (MATRIX, 1, 0),
    "numpy.dsplit": (CUBE, 2),
    "numpy.dynamic_slice": (MATRIX, WHOLE[:2], (2, 2)),
    "numpy.dynamic_update_slice": (MATRIX, MATRIX[:2, :2], WHOLE[:2]),
    "numpy.einsum": ("ij,jk->ik", MATRIX, MATRIX),
    "numpy.einsum_path": ("ij,jk->ik", MATRIX, MATRIX),
    "numpy.extract": (TRUTHS, VECTOR, {"size": 2}),
    "numpy.fill_diagonal": (MATRIX, VECTOR, {"inplace": False}),
    "numpy.flatnonzero": (MATRIX, {"size": 3}),
    "numpy.indices": ((2, 3),),
    "numpy.insert": (MATRIX, 1, VECTOR, 0),
    "numpy.isdtype": (np.dtype("float64"), "real floating"),
    "numpy.linalg.cross": (TRIPLE, TRIPLE),
    "numpy.linalg.matrix_power": (MATRIX, 3),
    "numpy.linalg.tensorinv": (MATRIX, {"ind": 1}),
    "numpy.linalg.tensorsolve": (MATRIX, VECTOR),
    "numpy.mask_indices": (4, np.triu),
    "numpy.nonzero": (MATRIX, {"size": 3}),
    "numpy.piecewise": (VECTOR, [TRUTHS], [np.sin, np.cos]),
    "numpy.put_along_axis": (MATRIX, WHOLE[:, None], VECTOR[:, None], 1, {"inplace": False}),
    "numpy.ravel_multi_index": ((WHOLE, WHOLE), (3, 3)),
    "numpy.resize": (MATRIX, (3, 3)),
    "numpy.tril_indices": (4,),
    "numpy.triu_indices": (4,),
    "numpy.union1d": (VECTOR, VECTOR, {"size": 4}),
    "numpy.unique": (VECTOR, {"size": 4}),
    "numpy.unique_all": (VECTOR, {"size": 4}),
    "numpy.unique_counts": (VECTOR, {"size": 4}),
    "numpy.unique_inverse": (VECTOR, {"size": 4}),
    "numpy.unique_values": (VECTOR, {"size": 4}),
    "numpy.where": (TRUTHS, MATRIX, VECTOR),
    "random.key": (0,),
    "special.multigammaln": (MATRIX + 3, 2),
}
