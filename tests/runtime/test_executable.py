"""Calls: arrays in and out, several at once, faults, and the uncompiled entry."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp


def work(x, w):
    h = np.tanh(x @ w)
    return gnp.sum(gnp.exp(h) @ w.T), h


def test_calls_from_several_threads_do_not_meet():
    compiled = gl.jit(work)
    rng = np.random.default_rng(0)
    inputs = [(rng.normal(size=(40, 30)), rng.normal(size=(30, 20))) for _ in range(64)]
    meant = [compiled(*arrays) for arrays in inputs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda arrays: compiled(*arrays), inputs))
    for (total, h), (want, want_h) in zip(found, meant, strict=True):
        assert total == want
        np.testing.assert_array_equal(h, want_h)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[::2],
        lambda x: x[:, ::-1],
        lambda x: np.asfortranarray(x),
        lambda x: x.astype(">f8"),
        lambda x: x[:0],
        lambda x: np.broadcast_to(x[:1], (5, x.shape[1])),
    ],
    ids=["rows", "reversed", "fortran", "swapped", "empty", "broadcast"],
)
def test_any_layout_of_an_argument_is_read(change):
    x = change(np.arange(24.0).reshape(6, 4))
    np.testing.assert_array_equal(gl.jit(lambda x: x * 2.0)(x), x.astype("f8") * 2.0)


def test_results_are_new_arrays_of_their_own():
    compiled = gl.jit(lambda x: (x, x + 1.0))
    x = np.zeros(3)
    same, more = compiled(x)
    same[0] = more[0] = 7.0
    again, _ = compiled(x)
    assert x[0] == 0.0
    assert again[0] == 0.0


def test_scalars_come_back_as_scalars():
    assert isinstance(gl.jit(lambda x: np.sum(x))(np.ones(3, "f4")), np.float32)


@pytest.mark.parametrize("wrong", [5, -6, 10**12])
def test_an_index_out_of_range_is_an_index_error_at_the_users_line(wrong):
    def pick(x, i):
        return gnp.take(x, i) * 2.0

    compiled = gl.jit(pick)
    x = np.arange(5.0)
    assert compiled(x, np.array([4, -5, 0])).tolist() == [8.0, 0.0, 0.0]
    with pytest.raises(IndexError, match=r"out of range[^$]*test_executable\.py:\d+ in pick"):
        compiled(x, np.array([0, wrong, 1]))
    assert compiled(x, np.array([1, 2, 3])).tolist() == [2.0, 4.0, 6.0]


def test_a_scatter_out_of_range_writes_nothing_outside():
    gather = gl.grad(lambda x, i: gnp.sum(gnp.take(x, i) ** 2))
    x = np.arange(5.0)
    np.testing.assert_array_equal(gather(x, np.array([1, 1, 4])), [0, 4, 0, 0, 8])
    with pytest.raises(IndexError):
        gather(x, np.array([1, 99, 4]))


def test_the_uncompiled_entry_gives_the_same_numbers():
    x, w = np.linspace(-1, 1, 12).reshape(3, 4), np.linspace(0, 1, 20).reshape(4, 5)
    meant, meant_h = gl.jit(work)(x, w)
    with gl.settings(interpret=True):
        found, h = gl.jit(work)(x, w)
    np.testing.assert_allclose(found, meant, rtol=1e-12)
    np.testing.assert_allclose(h, meant_h, rtol=1e-12)


def test_an_uncompiled_index_out_of_range_is_an_index_error_too():
    with gl.settings(interpret=True), pytest.raises(IndexError):
        gl.jit(lambda x, i: gnp.take(x, i))(np.ones(3), np.array([3]))


def test_an_uncompiled_fit_is_the_compiled_fit():
    def loss(p, x):
        return np.mean((x - p) ** 2)

    data = np.random.default_rng(0).normal(size=(11, 2))
    histories = []
    for interpret in (False, True):
        with gl.settings(interpret=interpret):
            step = gl.train_step(loss, gl.optim.adam(0.1))
            _, history = step.fit(
                step.init(np.zeros(2)), data, batch_size=4, epochs=3, shuffle=gl.random.key(2)
            )
            histories.append(history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-12)


def test_the_arena_is_poisoned_when_asked_for():
    compiled = gl.jit(work)
    compiled(np.ones((3, 4)), np.ones((4, 5)))
    executable = compiled.program().executable
    with gl.settings(verify=2):
        frame = executable.frame()
    assert (frame.arena == 0xFF).all()
    assert frame.arena.ctypes.data % 64 == 0
    executable.release(frame)
