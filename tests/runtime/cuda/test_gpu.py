import numpy as np
import pytest
from tests.gpus import FORMS
from tests.runtime.cuda.interpreted import Interpreter, interpreted
from tests.runtime.cuda.kernels import needs_linker

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DeviceMemoryError
from gradloom.runtime.cuda.gpu import Gpu
from gradloom.runtime.cuda.launch import Launch
from gradloom.runtime.cuda.machine import using
from gradloom.settings import settings

device = pytest.fixture(interpreted)
pytestmark = needs_linker
X = np.arange(96, dtype=np.int32)

# x[i] += the number of the block, by way of dynamic shared memory.
NUMBERED = """
.version 8.0
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 kept[];
.visible .entry numbered(.param .u64 x)
{
  .reg .b32 %r<9>; .reg .b64 %d<5>;
  ld.param.u64 %d1, [x];
  cvta.to.global.u64 %d2, %d1;
  mov.u32 %r1, %tid.x;
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mad.lo.s32 %r4, %r2, %r3, %r1;
  mul.wide.u32 %d3, %r4, 4;
  add.s64 %d4, %d2, %d3;
  shl.b32 %r5, %r1, 2;
  mov.u32 %r6, kept;
  add.u32 %r6, %r6, %r5;
  st.shared.u32 [%r6], %r2;
  bar.sync 0;
  ld.shared.u32 %r7, [%r6];
  ld.global.u32 %r8, [%d4];
  add.u32 %r8, %r8, %r7;
  st.global.u32 [%d4], %r8;
  ret;
}
"""


@pytest.mark.parametrize("together", [False, True])
def test_a_program_on_a_gpu(device: Interpreter, together: bool):
    gpu = Gpu()
    assert gpu.capability == 90
    place, other = gpu.allocate(X.nbytes), gpu.allocate(X.nbytes)
    given = X.copy()
    gpu.write(place, given)
    given[:] = -1
    kernels = gpu.load(NUMBERED)
    assert kernels.resident("numbered", 128) == 16  # two on each of eight multiprocessors
    again = gpu.load(NUMBERED)
    assert again.loaded is kernels.loaded
    assert again.seconds == {}
    for _ in range(2):
        kernels.launch(Launch("numbered", (place,), 3, 128, together, threads=32))
    gpu.copy(other, place, X.nbytes)
    found = np.zeros_like(X)
    gpu.read(other, found)
    assert found.tolist() == (X + 2 * (np.arange(96) // 32)).tolist()
    assert [launched.cooperative for launched in device.fake.launches] == [together] * 2
    gpu.free(place)
    gpu.free(other)
    with pytest.raises(DeviceMemoryError):
        gpu.allocate(1 << 40)


def loss(params, x, y):
    hidden = gnp.tanh(x @ params["w"] + params["b"])
    return ((hidden @ params["v"] - y) ** 2).mean()


def parameters():
    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=(2, 8)), "b": np.zeros(8), "v": rng.normal(size=(8, 1))}
    return {name: array.astype("f") for name, array in params.items()}


XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "f")
XS = np.stack([XOR] * 12)
YS = np.stack([XOR[:, :1] != XOR[:, 1:]] * 12).astype("f")


def losses(where: str | None, count: int = 12) -> np.ndarray:
    step = gl.train_step(loss, gl.optim.adam(0.05), device=where)
    return step.run(step.init(parameters()), XS[:count], YS[:count])[1]


@pytest.mark.parametrize("form", FORMS)
def test_training_through_the_driver_is_training_on_the_cpu(device: Interpreter, form: str):
    """XOR by Adam: assembled to machine code, loaded, launched, and run from its PTX."""
    with settings(disable=FORMS[form]), using(Gpu()):
        found = losses("cuda")
    np.testing.assert_allclose(found, losses("cpu"), rtol=1e-5)
    launched = device.fake.launches
    assert ({one.kernel for one in launched} == {"persistent"}) == form.startswith("one")
    assert {one.cooperative for one in launched} == {form == "one kernel"}
    graphs = device.fake.calls("cuGraphLaunch")
    assert graphs == (form == "graphs")  # all steps are one launch
    calls = device.fake.calls("cuLaunchKernel")
    if form == "graphs":
        assert calls == len(launched) / 12  # captured, once
    if form == "launches":
        assert calls == len(launched) >= 2 * 12


def test_a_step_is_one_graph_launch_for_any_state_and_batch(device: Interpreter):
    wanted = losses("cpu", 3)
    with settings(disable=("persistent",)), using(Gpu()):
        step = gl.train_step(loss, gl.optim.adam(0.05), device="cuda")
        for _ in range(2):  # the second state lies elsewhere
            state = step.init(parameters())
            for at in range(3):
                before = device.fake.calls("cuGraphLaunch")
                state, found = step(state, XS[at], YS[at])
                np.testing.assert_allclose(found, wanted[at], rtol=1e-5)
                assert device.fake.calls("cuGraphLaunch") == before + 1
    assert device.fake.calls("cuGraphInstantiate") == 1


def test_a_driver_that_knows_no_loops_is_given_a_graph_for_each_step(device: Interpreter):
    device.fake.reset(version=12020)
    device.fake.execute = device.run
    with settings(disable=("persistent",)), using(Gpu()):
        found = losses("cuda", 3)
    np.testing.assert_allclose(found, losses("cpu", 3), rtol=1e-5)
    assert device.fake.calls("cuGraphLaunch") == 3
    assert device.fake.calls("cuGraphConditionalHandleCreate") == 0
