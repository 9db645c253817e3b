"""What a compiled program says of itself is true."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.codegen.source import program_source, run_source
from gradloom.frontend.pytree import flatten

RNG = np.random.default_rng(0)
SCALE = np.full(6, 0.5, np.float32)


def array(*shape, dtype="float32"):
    return RNG.standard_normal(shape).astype(dtype)


def loss(params, x, y):
    return gnp.mean(gl.nn.softmax_cross_entropy(gl.nn.mlp(params, x * SCALE, gnp.tanh), y))


def made():
    """A training step, a state, and a batch."""
    step = gl.train_step(loss, gl.optim.adam(1e-2))
    state = step.init(gl.nn.mlp_init(gl.random.key(0), (6, 16, 8, 4)))
    return step, state, (array(8, 6), np.arange(8, dtype=np.int32) % 4)


@gl.jit
def jitted(x, w):
    return gnp.sum(gnp.tanh(x @ w) * 2.0, axis=0)


X, W = array(5, 7), array(7, 4)


@pytest.fixture(scope="module", params=["step", "jit"])
def asked(request):
    """Something compiled, and arguments."""
    if request.param == "jit":
        return jitted, (X, W)
    step, state, batch = made()
    return step, (state, *batch)


# ---- every question has an answer


def test_explain_has_a_line_for_each_kernel_and_a_reason_between(asked):
    thing, args = asked
    text, plan = thing.explain(*args), thing.program(*args).plan
    lines = text.splitlines()
    for kernel in plan.kernels:
        (line,) = [line for line in lines if line.startswith(f"{kernel.name} ")]
        assert f"{kernel.flops:,}" in line
        assert all(str(where) in line for where in kernel.where)
    assert sum(line.startswith("    | ") for line in lines) == len(plan.kernels) - 1
    assert lines[0] == f"{plan.nodes} operations -> {len(plan.kernels)} kernels"
    assert f"{sum(k.flops for k in plan.kernels):,} flops" in lines[1]


def test_explain_names_what_the_trace_absorbed():
    step, state, batch = made()
    text = step.explain(state, *batch)
    assert "arrays closed over: captured_0 float32[6]" in text
    text = jitted.explain(X, W)
    assert re.search(r"part of the code: 2 \(test_inspection\.py:\d+ in jitted\)", text)
    assert "arrays closed over: none" in text


def test_reasons_are_those_of_the_planner():
    text = gl.jit(lambda x, w, v: gnp.tanh(x @ w) @ v).explain(
        array(8, 8), array(8, 8), array(8, 8)
    )
    assert "a product reads whole rows and columns of it" in text
    step, state, batch = made()
    assert "updates of state wait for every reader" in step.explain(state, *batch)
    text = gl.jit(lambda x: (gnp.sum(x, axis=1), gnp.exp(x))).explain(array(3, 4))
    assert "reads nothing that the kernel before it writes" in text


def test_nothing_runs_before_it_is_asked():
    step, state, batch = made()
    assert step.memory(state, *batch).arena_bytes > 0
    assert state.steps == 0
    state.check()


def test_what_was_never_compiled_says_so():
    with pytest.raises(gl.StateError, match="not been compiled"):
        gl.jit(lambda x: x).explain()


def test_llvm_and_assembly(asked):
    thing, args = asked
    assert re.search(r"define .*i64 @program\(", thing.llvm(*args))
    assert re.search(r"^_?program:", thing.assembly(*args), re.MULTILINE)


def test_pictures(asked, tmp_path):
    thing, args = asked
    drawing = thing.draw(tmp_path / "pictures" / "it", *args)
    assert [f.name for f in drawing.files] == ["it_graph.svg", "it_arena.svg"]
    assert [f.read_text() for f in drawing.files] == [drawing.graph, drawing.arena]
    for text in (drawing.graph, drawing.arena, drawing._repr_svg_()):
        assert ET.fromstring(text).tag.endswith("svg")
    assert thing.draw(*args) == type(drawing)(drawing.graph, drawing.arena)


# ---- memory


def test_memory_is_the_plan(asked):
    thing, args = asked
    report, program = thing.memory(*args), thing.program(*args)
    plan = program.plan
    assert report.arena_bytes == plan.arena_bytes <= report.separate_bytes
    assert report.call_bytes >= program.executable.arena_bytes
    assert report.buffers == plan.buffers
    assert f"{report.call_bytes:,} bytes" in str(report)
    assert all(b.name in str(report) for b in plan.buffers)


def test_memory_of_state_and_batch():
    step, state, batch = made()
    report = step.memory(state, *batch)
    assert report.state_bytes == state.nbytes
    assert report.input_bytes == sum(a.nbytes for a in (*batch, SCALE))
    assert report.output_bytes == np.float32().nbytes
    assert report.staging_bytes >= sum(a.nbytes for a in batch)


def touched_bytes(executable, call):
    """Which bytes of the arena and of a margin behind it a call writes."""
    touched = None
    for pattern in (0x55, 0xAA):
        frame = executable.frame(gathering=True)
        frame.arena[:] = pattern
        executable.release(frame)
        with gl.settings(verify=0):  # which would fill the arena itself
            call()
        changed = frame.arena != pattern
        touched = changed if touched is None else touched | changed
    return np.flatnonzero(touched)


def test_measured_bytes_are_the_planned_ones():
    margin = 4096
    step, state, batch = made()
    executable = step.program(state, *batch).executable
    report = step.memory()
    executable._frames.clear()
    executable.reserve(executable.staging_bytes + margin, extra_slots=0)
    handle = [state]

    def one():
        handle[0], _ = step(handle[0], *batch)

    def many():
        handle[0], _ = step.fit(handle[0], batch, batch_size=8, shuffle=gl.random.key(0))

    last = max(b.offset + b.type.nbytes for b in report.buffers if b.space == "arena")
    assert touched_bytes(executable, one)[-1] + 1 == last
    assert last <= report.arena_bytes < last + 64
    x, y = batch  # behind the arena: x, 192 bytes, and y, 32 of its cache line
    assert x.nbytes % 64 == 0
    assert report.staging_bytes == x.nbytes + 64
    assert touched_bytes(executable, many)[-1] + 1 == report.arena_bytes + x.nbytes + y.nbytes


# ---- source

FUNCTIONS = {
    "elementwise": (lambda x: gnp.exp(-x * x) + 0.1, (array(3, 5),)),
    "softmax": (lambda x: gl.nn.softmax(x), (array(4, 6),)),
    "product": (lambda x, w: gnp.tanh(x @ w), (X, W)),
    "gradient": (gl.grad(lambda x, w: gnp.sum(gnp.tanh(x @ w) ** 2), argnums=1), (X, W)),
    "booleans": (lambda x: (x > 0, gnp.where(x > 0, x, 0.0)), (array(3, 3),)),
    "gather": (lambda x, i: x[i], (array(5, 2), np.array([0, -1, 3], np.int32))),
    "scatter": (
        gl.grad(lambda x, i: gnp.sum(x[i] ** 2)),
        (array(5, 2), np.array([0, -1, 3, 0], np.int32)),
    ),
    "integers": (lambda n: (n // 3, n % 3, n << 1), (np.arange(-4, 4, dtype=np.int32),)),
    "inputs returned": (lambda x: (x, x, -x), (array(2),)),
    "nothing to loop over": (lambda x: x * 2.0, (array(0, 3),)),
    "double": (lambda x: gnp.log(x * x + 1), (array(4, dtype="float64"),)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_source_computes_what_the_machine_code_does(name):
    function, args = FUNCTIONS[name]
    compiled = gl.jit(function)
    expected, _ = flatten(compiled(*args))
    found = run_source(compiled.source(), args)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6)


def test_source_of_a_training_step_updates_its_state():
    step, state, batch = made()
    text = step.source(state, *batch)
    views = [view.copy() for view in state.storage.views]
    for _ in range(2):
        (found,) = run_source(text, [*views, *batch, SCALE])
        state, expected = step(state, *batch)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    for mine, its in zip(views, state.storage.views, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-6)


def test_source_says_whose_lines_its_kernels_are(asked):
    thing, args = asked
    text, plan = thing.source(*args), thing.program(*args).plan
    for kernel in plan.kernels:
        assert re.search(rf"^# .*\b{kernel.name}\b.*{re.escape(str(kernel.where[0]))}", text, re.M)
        for stage in kernel.stages:
            assert text.count(f"def {stage.code.name}(") == 1


def test_source_runs_by_itself(asked, capsys):
    thing, args = asked
    exec(compile(thing.source(*args), "program.py", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()


def test_source_stops_at_an_index_out_of_range():
    text = gl.jit(lambda x, i: x[i]).source(array(5), np.array([0], np.int32))
    with pytest.raises(IndexError, match="index 7 is out of range for an axis of size 5"):
        run_source(text, [array(5), np.array([7], np.int32)])


def test_source_is_the_same_text_each_time(asked):
    thing, args = asked
    program = thing.program(*args)
    assert thing.source(*args) == thing.source(*args)
    assert program_source(program.plan, program.driver).count("ARENA_BYTES = ") == 1
