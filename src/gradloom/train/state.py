"""Parameters and optimizer state in one aligned block that a training step updates in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.device_array import DeviceArray, Memory
from gradloom.errors import StateError, message, user_where
from gradloom.frontend.pytree import Structure, flatten, unflatten
from gradloom.frontend.trace import type_of
from gradloom.ir.types import TensorType
from gradloom.plan.arena import padded
from gradloom.runtime.arrays import address, aligned
from gradloom.runtime.course import AWAY

if TYPE_CHECKING:
    from gradloom.runtime.cuda.machine import Machine


class Storage:
    """The block, and a view of it for each leaf; it outlives the handles that are passed around.

    `structure` is that of `(params, optimizer)`; the first `params` leaves are parameters.  A step
    on a GPU moves the block there, where it stays until somebody asks for it.  `addresses` are
    where the leaves are for native code, and AWAY unless what lies there alone is up to date.
    """

    def __init__(self, leaves: list[Any], structure: Structure, params: int) -> None:
        self.structure = structure
        self.params = params
        self.types = tuple(map(type_of, leaves))
        self.layout = _layouts.setdefault((structure, self.types), len(_layouts))
        self._offsets, self.nbytes = offsets_of(self.types)
        self._block = aligned(self.nbytes)
        self._views = [
            self._block[at : at + t.nbytes].view(t.dtype).reshape(t.shape)
            for at, t in zip(self._offsets, self.types, strict=True)
        ]
        for view, leaf in zip(self._views, leaves, strict=True):
            view[...] = np.asarray(leaf, view.dtype)
        self._places = [address(view) for view in self._views]
        self.addresses: Sequence[int] = self._places
        self._there: Memory | None = None  # the same block on a GPU
        # Which of the two are up to date: at least one.
        self._here_fresh, self._there_fresh = True, False

    # ---- on the CPU

    @property
    def views(self) -> list[np.ndarray]:
        """The leaves, to be read and written; what a GPU has of them is then out of date."""
        self.at_home()
        return self._views

    def newest(self) -> list[np.ndarray]:
        """The leaves, to be read."""
        if not self._here_fresh:
            assert self._there is not None
            self._there.machine.read(self._there.address, self._block)
            self._here_fresh = True
        return self._views

    def at_home(self) -> Sequence[int]:
        """Where the leaves are for native code, which will write them."""
        if self.addresses is self._places:
            return self._places
        self.newest()
        self._there_fresh = False
        self.addresses = self._places
        return self._places

    # ---- on a GPU

    def on(self, machine: Machine) -> list[int]:
        """Where the leaves are for kernels, which will write them."""
        there = self._brought(machine)
        self._here_fresh, self.addresses = False, AWAY
        return [there.address + at for at in self._offsets]

    def arrays_on(self, machine: Machine) -> list[DeviceArray]:
        """The leaves, to be read until they are next written."""
        there = self._brought(machine)
        self.addresses = AWAY  # so that native code, which will write, asks first
        return [
            DeviceArray(machine, t.shape, t.dtype, there, there.address + at)
            for at, t in zip(self._offsets, self.types, strict=True)
        ]

    def _brought(self, machine: Machine) -> Memory:
        if self._there is None or self._there.machine is not machine:
            self.newest()
            self._there_fresh = False
            self._there = Memory(machine, self.nbytes)
        if not self._there_fresh:
            machine.write(self._there.address, self._block)
            self._there_fresh = True
        return self._there


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
        return self.storage.nbytes

    def _tree(self) -> Any:
        self.check()
        return unflatten(self.storage.structure, [view.copy() for view in self.storage.newest()])

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
