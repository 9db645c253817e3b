"""`gl.train_step`: forward, reverse and update as one native call, for one batch or a whole run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.arguments import Accept, acceptor, stack_acceptor
from gradloom.device_array import DeviceArray
from gradloom.errors import DtypeError, StateError, message, user_where
from gradloom.frontend.pytree import Structure, check_same, flatten, paths, unflatten
from gradloom.frontend.trace import EAGER, current, type_of
from gradloom.inspectable import Inspectable
from gradloom.ir.graph import Graph
from gradloom.jitted import jit, signature
from gradloom.options import budget, parse
from gradloom.pipeline import Program, compile_graph
from gradloom.placement import as_array, check_captured, chosen, placed, where_of
from gradloom.plan.arena import padded
from gradloom.runtime.arrays import contiguous
from gradloom.runtime.course import Course
from gradloom.tracing import Leaf, Traced, leaf_of, record
from gradloom.train.loop import drive, leading
from gradloom.train.optim import GradientTransformation, apply_updates
from gradloom.train.state import State, Storage
from gradloom.transform import check_float, value_and_grad

if TYPE_CHECKING:
    from gradloom.plan.plan import Plan


@dataclass
class Compiled:
    """The program for one signature of the batch."""

    traced: Traced
    program: Program
    types: tuple[Leaf, ...]  # of the batch
    data: range  # which of the program's inputs are the batch
    has_aux: bool
    layout: int  # of the state
    where: str  # what it is compiled for
    accept: Accept
    accept_stacks: Accept

    def arrays(self, leaves: Sequence[Any]) -> list[Any]:
        """Leaves of these types, or stacks of them, as the program takes them."""
        pairs = zip(leaves, self.types, strict=True)
        return [contiguous(leaf, kind.type.dtype) for leaf, kind in pairs]


class TrainStep(Inspectable):
    """What `train_step` returns; see there."""

    def __init__(
        self, loss: Callable[..., Any], optimizer: GradientTransformation, **options: Any
    ) -> None:
        functools.update_wrapper(self, loss, updated=())
        self.loss = loss
        self.optimizer = optimizer
        self.options = parse(options)
        self._compiled: dict[Any, Compiled] = {}
        self._latest: Compiled | None = None
        self.evaluate = jit(self._loss_alone, device=self.options.device)

    # ---- the four verbs

    def init(self, params: Any) -> State:
        """A state with copies of `params`, a pytree of floating-point arrays."""
        leaves, structure = flatten(params)
        for leaf, path in zip(leaves, paths(structure), strict=True):
            check_float(leaf, f"the parameter {path}")
            _check_real(leaf, path)
        tree = (params, self.optimizer.init(params))
        everything, whole = flatten(tree)
        return State(Storage(everything, whole, len(leaves)))

    def __call__(self, state: State, *batch: Any) -> tuple[State, Any]:
        """One update on one batch: `(state, loss)`, or `(state, (loss, aux))`."""
        state.check()
        if current() is EAGER:
            out = self.eager_update(state, batch)
            return state.spend(1), out
        storage, compiled, arrays = state.storage, self._latest, None
        if compiled is not None and compiled.layout == storage.layout:
            arrays = compiled.accept(batch)
            if chosen or compiled.where != "cpu":
                arrays = self._meant(compiled, arrays)
        if compiled is None or arrays is None:
            leaves, structure = flatten(batch)
            compiled, leaves = self._find(state, leaves, structure)
            arrays = compiled.arrays(leaves)
        if compiled.traced.captured:
            arrays += [contiguous(a, a.dtype.name) for a in compiled.traced.captured]
        if self.options.verify:
            self._verify(compiled, state, arrays)
        results = compiled.program.executable(arrays, storage)
        return state.spend(1), _result(compiled, results) if compiled.has_aux else results[0]

    def run(self, state: State, *batches: Any) -> tuple[State, Any]:
        """One update for each batch, in one native call.

        The arrays of `batches` are those of a step, stacked on a leading axis.  Returns the losses,
        and aux if there is any, stacked likewise.
        """
        state.check()
        if current() is EAGER:
            return self._eager_run(state, batches)
        storage, compiled, arrays = state.storage, self._latest, None
        if compiled is not None and compiled.layout == storage.layout:
            arrays = compiled.accept_stacks(batches)
            if chosen or compiled.where != "cpu":
                arrays = self._meant(compiled, arrays)
        if compiled is None or arrays is None:
            leaves, structure, _ = _stacks(batches)
            compiled, _ = self._find(state, [_first(leaf) for leaf in leaves], structure)
            arrays = compiled.arrays(leaves)
        count = len(arrays[0])
        if compiled.traced.captured:
            arrays += [contiguous(a, a.dtype.name) for a in compiled.traced.captured]
        if count and self.options.verify:
            data = len(compiled.types)
            self._verify(compiled, state, [*(a[0] for a in arrays[:data]), *arrays[data:]])
        course = Course(storage, arrays, count, keep=True)
        results = drive(compiled.program.executable, course, interruptible=True)
        return state.spend(count), _result(compiled, results)

    def fit(
        self,
        state: State,
        data: Any,
        batch_size: int = 32,
        epochs: int = 1,
        shuffle: Any = None,
        validation: Any = None,
        progress: bool | None = None,
    ) -> tuple[State, dict[str, np.ndarray]]:
        """Train for `epochs` passes over `data`, a tuple of arrays with one leading axis of rows.

        `shuffle` is a key (`gl.random.key(0)`): every epoch has its own order of rows.  The last
        batch of an epoch may be smaller; it is a second program.  `validation` is a tuple like
        `data`, whose loss is taken after each epoch.  `progress` shows a bar; None does so on a
        terminal.  Returns the state and a history of arrays, one entry an epoch: "loss", and
        "validation_loss" if there is validation.

        KeyboardInterrupt stops between two updates and leaves `state` usable as far as it came.
        """
        from gradloom.train.fit import fit

        return fit(self, state, data, batch_size, epochs, shuffle, validation, progress)

    def _loss_alone(self, params: Any, *batch: Any) -> Any:
        out = self.loss(params, *batch)
        return out[0] if isinstance(out, tuple) else out

    # ---- tracing and compiling

    def compiled(self, state: State, leaves: Sequence[Any], structure: Structure) -> Compiled:
        """The program for this signature of the batch, compiled if it is new."""
        return self._find(state, leaves, structure)[0]

    def _meant(self, compiled: Compiled, arrays: list[Any] | None) -> list[Any] | None:
        """The arrays that a program accepts, if it runs where a call with them is to run."""
        meant = arrays is not None and compiled.where == where_of(self.options, arrays)
        return arrays if meant else None

    def _find(
        self, state: State, leaves: Sequence[Any], structure: Structure
    ) -> tuple[Compiled, list[Any]]:
        """The program for these leaves of a batch, and the leaves as it takes them."""
        where, leaves = placed(self.options, leaves)
        key = (structure, tuple(map(signature, leaves)), state.storage.layout, where)
        found = self._compiled.get(key)
        if found is None:
            types = tuple(map(leaf_of, leaves))
            found = self._compiled[key] = self._compile(state, types, structure, where)
        self._latest = found
        return found, leaves

    def _compile(
        self, state: State, types: tuple[Leaf, ...], structure: Structure, where: str
    ) -> Compiled:
        kinds = [Leaf(t) for t in state.storage.types]
        held = len(kinds)
        has_aux = False

        def update(values: list[Any]) -> Any:
            nonlocal has_aux
            tree = unflatten(state.storage.structure, values[:held])
            (out, tree), has_aux = self._update(tree, unflatten(structure, values[held:]))
            leaves, found = flatten(tree)
            check_same(state.storage.structure, found, "the optimizer's update")
            return out, leaves

        traced = record(update, [*kinds, *types])
        check_captured(where, traced.captured)
        results = len(traced.graph.outputs) - held
        graph = Graph(
            traced.graph.inputs,
            traced.graph.outputs[:results],
            tuple(zip(traced.graph.inputs, traced.graph.outputs[results:], strict=False)),
        )
        out = Traced(graph, traced.structure.children[0], traced.captured, traced.clock)
        data = range(held, held + len(types))

        # Behind the arena, where batches are gathered (`codegen.driver.staging`).
        staged = sum(padded(leaf.type.nbytes) for leaf in types if leaf.type.ndim)

        def more(plan: Plan) -> int:
            return staged + state.nbytes

        names = self._names(state, structure, out)
        within = budget(self.options, more)
        options = self.options
        program = compile_graph(
            graph,
            names,
            data,
            within,
            options.threads,
            traced.clock,
            options.flush_denormals,
            where,
            options.precision,
        )
        program.executable.reserve(staged, extra_slots=1)
        also = None if where == "cpu" else DeviceArray
        accept = acceptor(structure, types, also), stack_acceptor(structure, types, also)
        return Compiled(out, program, types, data, has_aux, state.storage.layout, where, *accept)

    def _verify(self, compiled: Compiled, state: State, arrays: Sequence[Any]) -> None:
        from gradloom.verification import verify

        verify(compiled.program, [*state.storage.newest(), *map(np.asarray, arrays)])

    def _update(self, tree: Any, batch: Any) -> tuple[tuple[Any, Any], bool]:
        """The training step as a user would write it."""
        params, optimizer = tree
        aux_found = False

        def loss(parameters: Any) -> tuple[Any, Any]:
            nonlocal aux_found
            out = self.loss(parameters, *batch)
            aux_found = isinstance(out, tuple) and len(out) == 2
            return out if aux_found else (out, None)

        loss.__name__ = getattr(self.loss, "__name__", "the loss")
        (value, aux), grads = value_and_grad(loss, has_aux=True)(params)
        updates, optimizer = self.optimizer.update(grads, optimizer, params)
        return ((value, aux), (apply_updates(params, updates), optimizer)), aux_found

    def _names(self, state: State, batch: Structure, traced: Traced) -> list[str]:
        names = []
        for path in paths(state.storage.structure):
            cleaned = path.replace("[", ".").replace("]", "").strip(".").split(".")
            first, *rest = cleaned
            names.append("_".join((("p" if first == "0" else "opt"), *rest)))
        leaves = list(paths(batch))
        names += [f"batch_{i}" for i in range(len(leaves))]
        return names + [f"captured_{i}" for i in range(len(traced.captured))]

    # ---- eagerly

    def eager_update(self, state: State, batch: Any) -> Any:
        """One update in NumPy: the loss, or `(loss, aux)`.  The state is changed in place."""
        tree = unflatten(state.storage.structure, state.storage.views)
        ((value, aux), tree), has_aux = self._update(tree, batch)
        fresh, found = flatten(tree)
        check_same(state.storage.structure, found, "the optimizer's update")
        for view, leaf in zip(state.storage.views, fresh, strict=True):
            view[...] = leaf
        return (value, aux) if has_aux else value

    def _eager_run(self, state: State, batches: Any) -> tuple[State, Any]:
        arrays, structure, count = _stacks(batches)
        results = []
        for i in range(count):
            out = self.eager_update(state, unflatten(structure, [a[i] for a in arrays]))
            results.append(flatten(out))
        stacked = [np.stack(column) for column in zip(*(r for r, _ in results), strict=True)]
        return state.spend(count), unflatten(results[0][1], stacked) if results else np.zeros(0)

    # ---- questions

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The program for `(state, *batch)`, or the one used last."""
        if args:
            leaves, structure = flatten(args[1:])
            return self._find(args[0], leaves, structure)[0].program
        if self._latest is None:
            raise StateError(
                message(
                    "this step has not been compiled",
                    user_where(),
                    "call it first, or give a state and an example batch here",
                )
            )
        return self._latest.program


def train_step(
    loss: Callable[..., Any], optimizer: GradientTransformation, **options: Any
) -> TrainStep:
    """Compile `loss`, its gradient and the optimizer's update into one native call.

    `loss(params, *batch)` returns a floating-point scalar, or `(scalar, aux)`; `params` is a pytree
    of floating-point arrays.  Hyper-parameters of the optimizer are run-time values, so other ones
    compile nothing.  `options` are those of `gradloom.options.Options`.

    >>> import gradloom as gl, numpy as np
    >>> def loss(params, x, y):
    ...     return ((x @ params["w"] - y) ** 2).mean()
    >>> step = gl.train_step(loss, gl.optim.sgd(0.1))
    >>> state = step.init({"w": np.zeros(2)})
    >>> x, y = np.eye(2), np.array([1.0, 2.0])
    >>> for _ in range(100):
    ...     state, value = step(state, x, y)
    >>> state.params["w"].round(2)
    array([1., 2.])
    """
    return TrainStep(loss, optimizer, **options)


def _check_real(leaf: Any, path: str) -> None:
    kind = type_of(leaf)
    if kind.is_complex:
        raise DtypeError(
            message(
                f"the parameter {path} is {kind}: optimizers take real parameters",
                user_where(),
                "keep its real and imaginary parts as two parameters, and join them in the loss",
            )
        )


def _stacks(batches: Any) -> tuple[list[Any], Structure, int]:
    """The leaves as arrays, their structure, and how many batches they hold."""
    leaves, structure = flatten(batches)
    arrays = [as_array(leaf) for leaf in leaves]
    return arrays, structure, leading(arrays, "the stack of batches")


def _first(array: Any) -> Any:
    """One batch of a stack; for no batches at all, an example of one."""
    if isinstance(array, DeviceArray):
        return array.part(0, array.shape[1:])
    return array[0] if len(array) else np.zeros(array.shape[1:], array.dtype)


def _result(compiled: Compiled, results: list[Any]) -> Any:
    if not compiled.has_aux:
        return results[0]
    value, aux = unflatten(compiled.traced.structure, results)
    return value, aux
