"""Whole programs on a GPU: one kernel that runs the driver, and a kernel a stage, against the same
programs on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from tests.gpus import FORMS, Loaded, Simulated

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.codegen.words import DONE, STOP
from gradloom.errors import RangeError
from gradloom.runtime.cuda import forms
from gradloom.runtime.cuda.machine import using
from gradloom.settings import settings

RNG = np.random.default_rng(0)
X = RNG.random((37, 50), np.float32)
PICTURES = RNG.random((4, 8, 8, 4), np.float32)
FILTERS = RNG.random((3, 3, 4, 16), np.float32)


def softmax(x):
    return gl.nn.softmax(x)


def sums(x):
    return gnp.sum(x), gnp.sum(x, axis=0), gnp.max(x, axis=1), gnp.mean(x[:, :3], axis=1)


def products(x):
    return x @ x.T, x.T @ x, x[:5] @ x[:3].T


def joined(x):
    return gnp.concatenate([x.T + 1, x.T * 2], axis=0)


def scattered(x):
    rows = np.array([1, 2, 1])
    return (x[:10] * 0).at[rows].add(x[:3]), x[rows], gnp.cumsum(x, axis=1)


def counted(x):
    return gl.fori_loop(0, 10, lambda i, c: c * 0.5 + x, x)


def repeated(x):
    return gl.while_loop(lambda c: gnp.sum(c) < 1e6, lambda c: c * 2, x)


def chosen(x):
    return gl.cond(gnp.sum(x) > 0, lambda x: x + 1, lambda x: x - 1, x)


def scanned(x):
    return gl.grad(lambda x: gl.scan(lambda c, r: (gnp.tanh(c + r), c), x[0], x)[0].sum())(x)


def random(x):
    return gl.random.normal(gl.random.key(3), (40, 7)) + x[0, 0]


def convolved(x):
    def loss(filters):
        return (gl.nn.conv2d(PICTURES, filters, padding="same") ** 2).sum()

    return gl.value_and_grad(loss)(FILTERS)


PROGRAMS = (
    softmax,
    sums,
    products,
    joined,
    scattered,
    counted,
    repeated,
    chosen,
    scanned,
    random,
    convolved,
)


def leaves(tree):
    return [np.asarray(leaf) for leaf in (tree if isinstance(tree, tuple) else (tree,))]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_programs_on_a_gpu_give_what_they_give_on_a_cpu(program, form, machine):
    gpu = machine()
    with settings(disable=FORMS[form]), using(gpu):
        results = gl.jit(program, device="cuda")(X)
    for got, want in zip(leaves(results), leaves(gl.jit(program)(X)), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
    if isinstance(gpu, Simulated):
        kernels = {name for name, _ in gpu.launches}
        assert (kernels == {"persistent"}) == (form.startswith("one"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_programs_in_a_cluster_give_what_they_give_on_a_cpu(program, machine, monkeypatch):
    monkeypatch.setattr("gradloom.gpu.CLUSTER", 1000)  # however many blocks there is work for
    with using(machine(blocks=9)):
        compiled = gl.jit(program, device="cuda")
        results = compiled(X)
    assert "fence." not in compiled.ptx()  # of a barrier for all blocks
    for got, want in zip(leaves(results), leaves(gl.jit(program)(X)), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


def test_a_cluster_gives_the_bits_of_all_blocks(machine, monkeypatch):
    monkeypatch.setattr("gradloom.gpu.CLUSTER", 1000)
    found = {}
    for disabled in ((), ("clusters",)):
        with settings(disable=disabled), using(machine(blocks=9)):
            compiled = [gl.jit(p, device="cuda") for p in (sums, products, convolved)]
            found[disabled] = [leaf for one in compiled for leaf in leaves(one(X))]
            assert all(one.program().gpu.ptx.cluster != bool(disabled) for one in compiled)
    for got, want in zip(found[()], found["clusters",], strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("capability", "clusters"), [(80, False), (90, True), (120, True)])
def test_what_few_blocks_have_work_in_runs_in_a_cluster_where_there_are_any(capability, clusters):
    twice = gl.jit(lambda x: x @ (x.T @ x), target=f"cuda-ptx:sm_{capability}")
    assert ("barrier.cluster" in twice.ptx(X[:20, :9])) == clusters
    assert "barrier.cluster" not in twice.ptx(np.ones((1 << 19, 8), "f"))


@pytest.mark.parametrize("form", FORMS)
def test_the_bits_do_not_depend_on_the_blocks(form, machine):
    found = []
    for blocks in (1, 2, 5):
        with settings(disable=FORMS[form]), using(machine(blocks=blocks)):
            found.append([leaves(gl.jit(p, device="cuda")(X)) for p in (sums, products, convolved)])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            for got, want in zip(one, two, strict=True):
                np.testing.assert_array_equal(got, want)


def test_an_index_out_of_range_names_the_line(machine):
    with using(machine()), pytest.raises(RangeError, match=r"test_entry\.py"):
        gl.jit(lambda x, i: x[i], device="cuda")(X, np.array([1, 99]))


# ---- training


def classify(params, x, y):
    hidden = gnp.tanh(x @ params["w"] + params["b"])
    return gl.nn.softmax_cross_entropy(hidden @ params["v"] + params["c"], y).mean()


def layers(*sizes):
    rng = np.random.default_rng(1)
    first, middle, last = sizes
    return {
        "w": rng.normal(0, 0.3, (first, middle)).astype("f"),
        "b": np.zeros(middle, "f"),
        "v": rng.normal(0, 0.3, (middle, last)).astype("f"),
        "c": np.zeros(last, "f"),
    }


def trained(device):
    """A step, a run, and a fit with shuffled batches and a smaller last one."""
    rng = np.random.default_rng(5)
    xs, ys = rng.random((6, 20, 16)).astype("f"), rng.integers(0, 10, (6, 20))
    step = gl.train_step(classify, gl.optim.adam(1e-2), device=device)
    state, first = step(step.init(layers(16, 32, 10)), xs[0], ys[0])
    state, losses = step.run(state, xs, ys)
    rows = xs.reshape(-1, 16), ys.reshape(-1)
    key = gl.random.key(3)
    state, history = step.fit(state, rows, batch_size=50, epochs=1, shuffle=key, progress=False)
    return [first, losses, history["loss"], *state.params.values()]


@pytest.mark.parametrize("form", FORMS)
def test_training_on_a_gpu_is_training_on_a_cpu(form, machine):
    wanted = trained("cpu")
    with settings(disable=FORMS[form]), using(machine()):
        found = trained("cuda")
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_every_epoch_has_an_order_of_its_own(form):
    """The host makes it, and launches anew: the device gathers by it."""
    rows = RNG.random((9, 4), np.float32)
    weights = np.arange(1, 4, dtype=np.float32)

    def loss(p, x):
        return (x[:, 0] * weights).sum() * p

    def history(device):
        step = gl.train_step(loss, gl.optim.sgd(0.1), device=device)
        key = gl.random.key(7)
        state = step.init(np.ones((), np.float32))
        return step.fit(state, rows, 3, epochs=3, shuffle=key, progress=False)[1]["loss"]

    machine = Simulated()
    with settings(disable=FORMS[form]), using(machine):
        found = history("cuda")
    np.testing.assert_allclose(found, history("cpu"), rtol=1e-5)
    if form.startswith("one"):
        assert [name for name, _ in machine.launches] == ["persistent"] * 3


@pytest.mark.parametrize("form", ["graphs", "launches"])
def test_a_run_that_is_stopped_ends_between_two_steps(form, monkeypatch):
    """In the middle of the second step somebody sets the word; of the third, nothing is done."""
    monkeypatch.setattr(forms, "AHEAD", 1)
    rng = np.random.default_rng(5)
    xs, ys = rng.random((4, 20, 16)).astype("f"), rng.integers(0, 10, (4, 20))
    simulated = Simulated()
    launch = Loaded.launch

    def stopping(loaded, given):
        launch(loaded, given)
        words = np.zeros(2, np.int64)
        simulated.read(given.arguments[2], words)
        if words[DONE] == 1 and "group_1_" in given.kernel:
            words[STOP] = 1
            simulated.write(given.arguments[2], words)

    monkeypatch.setattr(Loaded, "launch", stopping)

    def after(device, steps):
        step = gl.train_step(classify, gl.optim.sgd(0.1), device=device)
        return step.run(step.init(layers(16, 32, 10)), xs[:steps], ys[:steps])[0].params

    with settings(disable=FORMS[form]), using(simulated):
        found = after("cuda", 4)
    for name, wanted in after("cpu", 2).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-6)
