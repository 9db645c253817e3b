"""`TrainStep.fit`: epochs of shuffled batches, a validation loss, a progress bar, a clean stop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.codegen import driver
from gradloom.errors import SettingError, ShapeError, message, user_where
from gradloom.frontend.pytree import Structure, flatten, unflatten
from gradloom.frontend.trace import EAGER, current
from gradloom.runtime.arrays import contiguous
from gradloom.train.loop import Course, drive
from gradloom.train.state import State

if TYPE_CHECKING:
    from gradloom.train.step import Compiled, TrainStep

History = dict[str, np.ndarray]


@dataclass
class Rows:
    """The data of a fit: arrays with one leading axis."""

    arrays: list[np.ndarray]
    structure: Structure
    count: int


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
    whole, rest = divmod(rows.count, batch_size)
    held_out = rows_of(validation, "the validation data") if validation is not None else None
    with _bar(epochs * (whole + bool(rest)), progress) as advance:
        run = _eager_epochs if current() is EAGER else _native_epochs
        losses, checks = run(step, state, rows, batch_size, epochs, shuffle, held_out, advance)
    history = {"loss": losses}
    if held_out is not None:
        history["validation_loss"] = checks
    return state.spend(epochs * (whole + bool(rest))), history


def rows_of(data: Any, what: str) -> Rows:
    """Check that all arrays have as many rows, and at least one."""
    leaves, structure = flatten(data if isinstance(data, tuple) else (data,))
    arrays = [np.asarray(leaf) for leaf in leaves]
    counts = {a.shape[0] if a.ndim else -1 for a in arrays}
    if len(counts) != 1 or not counts - {-1, 0}:
        shapes = ", ".join(str(a.shape) for a in arrays) or "nothing"
        raise ShapeError(
            message(
                f"{what} has shapes {shapes}: the numbers of rows do not agree, or there are none",
                user_where(),
                "give arrays with the same, nonzero length of their first axis",
            )
        )
    return Rows(arrays, structure, counts.pop())


def _native_epochs(
    step: TrainStep,
    state: State,
    rows: Rows,
    batch_size: int,
    epochs: int,
    shuffle: Any,
    held_out: Rows | None,
    advance: Callable[[int], None] | None,
) -> tuple[np.ndarray, np.ndarray]:
    whole, rest = divmod(rows.count, batch_size)
    main = step.compiled(state, [a[:batch_size] for a in rows.arrays], rows.structure)
    small = step.compiled(state, [a[:rest] for a in rows.arrays], rows.structure) if rest else None
    order = np.empty(rows.count, np.int64)
    losses, checks = [], []
    together = epochs if small is None and held_out is None else 1
    done = 0
    for epoch in range(0, epochs, together):
        course = _course(main, state, rows, whole, order)
        course.epochs, course.first_epoch = together, epoch
        course.key, course.mode = _mode(shuffle)
        found = _drive(course, advance, done)
        done += whole * together
        if small is not None:
            course = _course(small, state, rows, 1, order)
            course.first_row = whole * batch_size
            course.mode = min(_mode(shuffle)[1], driver.GATHER)
            tail = _drive(course, advance, done)
            done += 1
            losses.append((found.sum() * batch_size + tail[0] * rest) / rows.count)
        else:
            losses += list(found.reshape(together, whole).mean(axis=1))
        if held_out is not None:
            checks.append(_validate(step, state, held_out))
    return np.array(losses), np.array(checks)


def _course(
    compiled: Compiled, state: State, rows: Rows, batches: int, order: np.ndarray
) -> Course:
    arrays = [contiguous(a, t.type.dtype) for a, t in zip(rows.arrays, compiled.types, strict=True)]
    captured = [contiguous(a, a.dtype.name) for a in compiled.traced.captured]
    executable = compiled.program.executable
    return Course(
        executable, state.storage.addresses, [*arrays, *captured], [], batches, order=order
    )


def _drive(course: Course, advance: Callable[[int], None] | None, done: int) -> np.ndarray:
    """The losses of all batches of a course."""
    outputs = course.executable.outputs
    steps = course.batches * course.epochs
    course.results = [
        np.empty((steps if i == 0 else 1, *b.type.shape), b.type.dtype)
        for i, b in enumerate(outputs)
    ]
    watch = (lambda batch: advance(done + batch)) if advance else None
    losses = drive(course, interruptible=True, watch=watch)[0]
    if advance:
        advance(done + steps)
    return losses


def _mode(shuffle: Any) -> tuple[tuple[int, int], int]:
    if shuffle is None:
        return (0, 0), driver.IN_PLACE
    low, high = (int(word) for word in np.asarray(shuffle, np.uint32))
    return (low, high), driver.SHUFFLE


def _validate(step: TrainStep, state: State, rows: Rows) -> float:
    """The loss on held-out rows, in one compiled call."""
    views = state.storage.views
    params = unflatten(state.structure, views)[0]
    return float(step.evaluate(params, *unflatten(rows.structure, rows.arrays)))


def _eager_epochs(
    step: TrainStep,
    state: State,
    rows: Rows,
    batch_size: int,
    epochs: int,
    shuffle: Any,
    held_out: Rows | None,
    advance: Callable[[int], None] | None,
) -> tuple[np.ndarray, np.ndarray]:
    losses, checks = [], []
    batches = -(-rows.count // batch_size)
    for epoch in range(epochs):
        order = permutation(shuffle, epoch, rows.count)
        total = 0.0
        for batch in range(batches):
            picked = order[batch * batch_size : (batch + 1) * batch_size]
            arrays = unflatten(rows.structure, [a[picked] for a in rows.arrays])
            total += float(step.eager_update(state, arrays)) * len(picked)
            if advance:
                advance(epoch * batches + batch + 1)
        losses.append(total / rows.count)
        if held_out is not None:
            checks.append(_validate(step, state, held_out))
    return np.array(losses), np.array(checks)


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
