"""`TrainStep.fit`: epochs of shuffled batches, a validation loss, a progress bar, a clean stop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.codegen import driver, words
from gradloom.device_array import DeviceArray
from gradloom.errors import SettingError, ShapeError, message, user_where
from gradloom.frontend.pytree import Structure, flatten, unflatten
from gradloom.frontend.trace import EAGER, current
from gradloom.placement import as_array
from gradloom.runtime.arrays import contiguous
from gradloom.runtime.course import Course
from gradloom.train.loop import drive, leading
from gradloom.train.state import State

if TYPE_CHECKING:
    from gradloom.train.step import Compiled, TrainStep

History = dict[str, np.ndarray]


@dataclass(frozen=True)
class Rows:
    """The data of a fit: arrays with one leading axis."""

    arrays: list[Any]
    structure: Structure
    count: int

    def tree(self, picked: Any = slice(None)) -> Any:
        """Some rows, in the structure that the data had."""
        return unflatten(self.structure, [np.asarray(a)[picked] for a in self.arrays])


@dataclass(frozen=True)
class Fit:
    """One call of `TrainStep.fit`; `advance` is told how many batches are done."""

    step: TrainStep
    state: State
    rows: Rows
    batch_size: int
    epochs: int
    key: Any
    held_out: Rows | None
    advance: Callable[[int], None] | None

    @property
    def batches(self) -> int:
        """Updates in an epoch, a smaller last one included."""
        return -(-self.rows.count // self.batch_size)

    # ---- natively

    def native(self) -> tuple[np.ndarray, np.ndarray]:
        """Losses by epoch, in training and held out."""
        rows, size = self.rows, self.batch_size
        whole, rest = divmod(rows.count, size)
        main = self._compiled(size)
        small = self._compiled(rest) if rest else None
        # Where the programs run: on a GPU they and the state stay there from epoch to epoch.
        executable = main.program.executable
        data = executable.resident(main.arrays(rows.arrays))
        held_out = executable.resident(self.held_out.arrays) if self.held_out else ()
        order = np.empty(rows.count, np.int64)
        losses: list[Any] = []
        checks: list[float] = []
        together = self.epochs if small is None and self.held_out is None else 1
        for epoch in range(0, self.epochs, together):
            course = self._course(main, data, whole, order, together)
            course.first_epoch = epoch
            course.key, course.mode = self._mode()
            found = self._drive(main, course, epoch * self.batches)
            if small is None:
                losses += list(found.reshape(together, whole).mean(axis=1))
            else:
                course = self._course(small, data, 1, order)
                course.first_row = whole * size
                course.mode = min(self._mode()[1], words.GATHER)  # the order is there already
                tail = self._drive(small, course, epoch * self.batches + whole)
                losses.append((found.sum() * size + tail[0] * rest) / rows.count)
            checks += self._validated(executable.leaves(self.state.storage), held_out)
        return np.array(losses), np.array(checks)

    def _compiled(self, size: int) -> Compiled:
        arrays = [_some(a, size) for a in self.rows.arrays]
        return self.step.compiled(self.state, arrays, self.rows.structure)

    def _course(
        self,
        compiled: Compiled,
        data: Sequence[Any],
        batches: int,
        order: np.ndarray,
        epochs: int = 1,
    ) -> Course:
        arrays = list(data)
        arrays += [contiguous(a, a.dtype.name) for a in compiled.traced.captured]
        return Course(self.state.storage, arrays, batches, epochs, order=order)

    def _drive(self, compiled: Compiled, course: Course, done: int) -> np.ndarray:
        """The losses of all batches of a course, `done` batches into the fit."""
        advance = self.advance
        watch = (lambda batch: advance(done + batch)) if advance else None
        executable = compiled.program.executable
        losses = np.asarray(drive(executable, course, interruptible=True, watch=watch)[0])
        if advance:
            advance(done + course.passes)
        return losses

    def _mode(self) -> tuple[tuple[int, int], int]:
        if self.key is None:
            return (0, 0), words.IN_PLACE
        low, high = (int(word) for word in np.asarray(self.key, np.uint32))
        return (low, high), words.SHUFFLE

    def _validated(self, state: Sequence[Any], held_out: Sequence[Any]) -> list[float]:
        """The loss on held-out rows, in one compiled call; nothing without such rows."""
        if self.held_out is None:
            return []
        params = unflatten(self.state.storage.structure, state)[0]
        batch = unflatten(self.held_out.structure, held_out)
        return [float(self.step.evaluate(params, *batch))]

    # ---- eagerly

    def eager(self) -> tuple[np.ndarray, np.ndarray]:
        """The same in NumPy, operator by operator."""
        losses: list[float] = []
        checks: list[float] = []
        for epoch in range(self.epochs):
            order = permutation(self.key, epoch, self.rows.count)
            total = 0.0
            for batch in range(self.batches):
                picked = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                out = self.step.eager_update(self.state, self.rows.tree(picked))
                total += float(out[0] if isinstance(out, tuple) else out) * len(picked)
                if self.advance:
                    self.advance(epoch * self.batches + batch + 1)
            losses.append(total / self.rows.count)
            held_out = self.held_out.arrays if self.held_out else ()
            checks += self._validated(self.state.storage.newest(), held_out)
        return np.array(losses), np.array(checks)


def fit(
    step: TrainStep,
    state: State,
    data: Any,
    batch_size: int,
    epochs: int,
    shuffle: Any,
    validation: Any,
    progress: bool | None,
) -> tuple[State, History]:
    """See `TrainStep.fit`."""
    state.check()
    rows = rows_of(data, "the data")
    if not 0 < batch_size <= rows.count:
        raise ShapeError(
            message(
                f"batch_size {batch_size} with {rows.count} rows of data",
                user_where(),
                f"choose a batch size from 1 to {rows.count}",
            )
        )
    held_out = rows_of(validation, "the validation data") if validation is not None else None
    steps = epochs * -(-rows.count // batch_size)
    with _bar(steps, progress) as advance:
        work = Fit(step, state, rows, batch_size, epochs, shuffle, held_out, advance)
        losses, checks = work.eager() if current() is EAGER else work.native()
    history = {"loss": losses}
    if held_out is not None:
        history["validation_loss"] = checks
    return state.spend(steps), history


def rows_of(data: Any, what: str) -> Rows:
    """Check that all arrays have as many rows, and at least one."""
    leaves, structure = flatten(data if isinstance(data, tuple) else (data,))
    arrays = [as_array(leaf) for leaf in leaves]
    count = leading(arrays, what)
    if not count:
        raise ShapeError(message(f"{what} has no rows", user_where(), "give it at least one"))
    return Rows(arrays, structure, count)


def _some(array: Any, rows: int) -> Any:
    """The first rows."""
    if isinstance(array, DeviceArray):
        return array.part(0, (rows, *array.shape[1:]))
    return array[:rows]


def permutation(key: Any, epoch: int, rows: int) -> np.ndarray:
    """The order of rows in an epoch: what the native driver shuffles, computed by NumPy."""
    if key is None:
        return np.arange(rows)
    scope: dict[str, Any] = {"put": list.__setitem__, "get": list.__getitem__}
    exec(driver.SHUFFLE_TEXT, scope)
    order = [0] * rows
    low, high = (int(word) for word in np.asarray(key, np.uint32))
    scope["shuffle"](order, rows, low, high, epoch)
    return np.array(order)


@contextmanager
def _bar(total: int, progress: bool | None) -> Iterator[Callable[[int], None] | None]:
    """A progress bar over `total` batches: a function that is told how many are done."""
    installed = find_spec("tqdm") is not None
    if progress is None:
        progress = installed and sys.stderr.isatty()
    if not progress:
        yield None
        return
    if not installed:
        raise SettingError(
            message("progress=True needs tqdm", user_where(), 'pip install "gradloom[demo]"')
        )
    from tqdm import tqdm

    with tqdm(total=total, unit="batch") as bar:
        yield lambda done: bar.update(done - bar.n)
