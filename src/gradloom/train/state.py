"""Parameters and optimizer state in one aligned block that a training step updates in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.errors import StateError, message, user_where
from gradloom.frontend.pytree import Structure, flatten, unflatten
from gradloom.frontend.trace import type_of
from gradloom.ir.types import TensorType
from gradloom.plan.arena import padded
from gradloom.runtime.arrays import address, aligned


class Storage:
    """The block, and a view of it for each leaf; it outlives the handles that are passed around.

    `structure` is that of `(params, optimizer)`; the first `params` leaves are parameters.
    """

    def __init__(self, leaves: list[Any], structure: Structure, params: int) -> None:
        self.structure = structure
        self.params = params
        self.types = tuple(map(type_of, leaves))
        self.layout = _layouts.setdefault((structure, self.types), len(_layouts))
        offsets, total = offsets_of(self.types)
        self.block = aligned(total)
        self.views = [
            self.block[at : at + t.nbytes].view(t.dtype).reshape(t.shape)
            for at, t in zip(offsets, self.types, strict=True)
        ]
        self.addresses = [address(view) for view in self.views]
        for view, leaf in zip(self.views, leaves, strict=True):
            view[...] = np.asarray(leaf, view.dtype)


def offsets_of(types: tuple[TensorType, ...]) -> tuple[list[int], int]:
    """Where each leaf lies in the block, on cache lines, and the bytes of the whole."""
    offsets, at = [], 0
    for kind in types:
        offsets.append(at)
        at += padded(kind.nbytes)
    return offsets, at


_layouts: dict[Any, int] = {}  # a number for each structure and its types, cheap to compare


class State:
    """A handle on the state of training.  A step takes it and gives back another; the one that was
    given is spent, since its memory has moved on.

    `params` and `optimizer` are copies, as ordinary arrays in their trees; `steps` counts updates.
    """

    __slots__ = ("spent", "steps", "storage")  # each step makes a new one

    def __init__(self, storage: Storage, steps: int = 0) -> None:
        self.storage = storage
        self.steps = steps
        self.spent = False

    @property
    def params(self) -> Any:
        """The parameters, copied out, in the structure that `init` was given."""
        return self._tree()[0]

    @property
    def optimizer(self) -> Any:
        """The optimizer's state, copied out."""
        return self._tree()[1]

    def replace(self, params: Any = None, optimizer: Any = None) -> State:
        """A new state with other parameters or another optimizer state, for example a new learning
        rate; structures, shapes and dtypes stay."""
        self.check()
        old_params, old_optimizer = self._tree()
        tree = (
            old_params if params is None else params,
            old_optimizer if optimizer is None else optimizer,
        )
        leaves, structure = flatten(tree)
        kinds = tuple(map(type_of, leaves))
        if structure != self.storage.structure or kinds != self.storage.types:
            raise StateError(
                message(
                    "the replacement differs from the state in structure, shape or dtype",
                    user_where(),
                    "start a new state with step.init(params)",
                )
            )
        return State(Storage(leaves, structure, self.storage.params), self.steps)

    @property
    def nbytes(self) -> int:
        """Bytes of the block."""
        return self.storage.block.nbytes

    def _tree(self) -> Any:
        self.check()
        return unflatten(self.storage.structure, [view.copy() for view in self.storage.views])

    def check(self) -> None:
        """Raise `StateError` if a step has taken this state."""
        if self.spent:
            raise StateError(
                message(
                    "this state was given to a step, which updated it in place",
                    user_where(),
                    "use the state that the step returned: state, loss = step(state, ...)",
                )
            )

    def spend(self, steps: int) -> State:
        """The handle after `steps` more updates; this one is spent."""
        self.spent = True
        return State(self.storage, self.steps + steps)

    def __repr__(self) -> str:
        spent = ", spent" if self.spent else ""
        params = self.storage.params
        return f"<State: {params} parameters, {self.nbytes} bytes, {self.steps} steps{spent}>"
