"""The compiler's last stages for a GPU: plan -> items and tiles -> PTX -> executable.

What comes before, tracing, differentiation, passes, fusion and the arena, is the CPU's
(`pipeline.compile_graph`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from gradloom.clock import Clock
from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cuda.target import VERSIONS, gpu_target, newest
from gradloom.codegen.cut import Host
from gradloom.codegen.driver import program_text, step_text, training_text
from gradloom.errors import DeviceError, SettingError, message, user_where
from gradloom.ir.graph import Graph
from gradloom.ir.types import TensorType
from gradloom.options import TARGET
from gradloom.pipeline import Planned, Ready, Work, code_only
from gradloom.plan.dealt import DevicePlan
from gradloom.plan.needs import Needs
from gradloom.plan.plan import Plan
from gradloom.plan.tiles import CLUSTER
from gradloom.program import GpuCode
from gradloom.runtime.cache import fetch, host_key, make_key, store
from gradloom.runtime.cuda.entry import CudaExecutable
from gradloom.runtime.cuda.forms import Form, form_of
from gradloom.runtime.cuda.kernel import Ptx
from gradloom.runtime.cuda.machine import Elsewhere, Machine, the_machine
from gradloom.runtime.cuda.packages import versions
from gradloom.settings import current as current_settings

CAPABILITY = 90  # unless a target says otherwise
LAUNCHES, IN_CLUSTER, ONE_KERNEL = "launches", "one kernel in a cluster", "one kernel"
WITH_CLUSTERS = 90  # the first GPUs that have them


class Cuda(NamedTuple):
    """A GPU: for one pass, or for training on `batch`, at a precision of `Options`."""

    machine: Machine
    batch: range | None
    precision: str

    @property
    def target(self) -> Target:
        """What kernels are generated for."""
        return gpu_target(newest(self.machine.capability))

    @property
    def kind(self) -> str:
        return f"{self.target} {self.batch} {self.precision} {compiler()}"

    def plan(self, graph: Graph, names: Sequence[str]) -> Planned:
        from gradloom.plan.assemble import undivided_plan  # which a warm start never needs
        from gradloom.plan.device import for_device
        from gradloom.plan.follow import following

        undealt = undivided_plan(graph, names, following)
        device = for_device(undealt, self.precision)
        if self._clusters(device):
            device = for_device(undealt, self.precision, cluster=True)
        _check_counts(device)
        return Planned(device.plan, device)

    def _clusters(self, device: DevicePlan) -> bool:
        """Whether one cluster's blocks are to run a plan: where no stage has work for more of them,
        so that nothing is lost, or where their barrier saves more time than the others would."""
        from gradloom.plan.forms import estimate  # which a warm start never needs

        disabled = current_settings().disable
        if self.machine.capability < WITH_CLUSTERS or {"clusters", "persistent"} & {*disabled}:
            return False
        few, all_ = (estimate(device.plan, cluster=cluster) for cluster in (True, False))
        return device.grains <= CLUSTER or few.resident < all_.resident

    def text(self, plan: Plan) -> str:
        """The text of the driver, which is the CPU's: a block is what there is a thread of a team.
        The order of rows, where one exchange must follow another, is the host's to make."""
        if self.batch is None:
            return program_text(plan)
        return training_text(self.batch, shuffles=False)(plan)

    def form(self, device: DevicePlan) -> str:
        """How it runs: the host launches groups of stages, where one kernel that runs the driver is
        disabled or should take longer; or the blocks of that kernel are a cluster; or they are as
        many as are resident."""
        from gradloom.plan.forms import estimate  # which a warm start never needs

        disabled = current_settings().disable
        expected = estimate(device.plan, cluster=device.cluster)
        if "persistent" in disabled or not (expected.one_kernel or "graphs" in disabled):
            return LAUNCHES
        return IN_CLUSTER if device.cluster else ONE_KERNEL

    def driver(self, device: DevicePlan) -> str:
        """The text that kernels are made of."""
        if self.batch is None or self.form(device) != LAUNCHES:
            return self.text(device.plan)
        return step_text(self.batch)(device.plan)

    def code_key(self, planned: Planned) -> str:
        plan, device = planned
        assert device is not None
        return make_key(
            driver=code_only(self.driver(device)),
            codes="\n".join(map(repr, plan.codes())),
            functions=repr(device.functions),
            target=repr(self.target),
            form=self.form(device),
            compiler=repr(compiler()),
            host=host_key(),
        )

    def ready(self, work: Work, clock: Clock) -> Ready:
        device = work.planned.device
        assert device is not None
        ptx, cached = self.kernels(work.code, device, clock)
        form = form_of(ptx, self.machine)
        clock.book(form.module.seconds)
        clock.mark("load")

        def llvm() -> str:
            driver, chosen = self.driver(device), self.form(device)
            return code_of(device, driver, chosen, self.target, Clock(), as_llvm=True).text

        return Ready(form, cached, GpuCode(device, ptx, f"sm_{self.machine.capability}", llvm))

    def runner(
        self, needs: Needs, form: Form, results: list[TensorType], threads: int | None
    ) -> CudaExecutable:
        return CudaExecutable(needs, form, self.machine, results)

    def kernels(self, code: str, device: DevicePlan, clock: Clock) -> tuple[Ptx, bool]:
        """The kernels of a program, and whether the cache has them."""
        found = fetch(code)
        if found is not None:
            shared_bytes, grains, host, cluster = found.notes["kernels"]
            made = Host(*host) if host else None
            return Ptx(found.object.decode(), shared_bytes, grains, made, cluster), True
        ptx = code_of(device, self.driver(device), self.form(device), self.target, clock)
        notes = ptx.shared_bytes, ptx.grains, ptx.host, ptx.cluster
        store(code, ptx.text.encode(), kernels=notes)
        return ptx, False


def machine_for(where: str) -> Machine:
    """The GPU that there is, or, for "cuda-ptx:sm_90", one that is elsewhere."""
    found = TARGET.fullmatch(where)
    if found is None:
        return _young_enough(the_machine())
    capability = int(found[1] or CAPABILITY)
    if capability not in VERSIONS:
        known = ", ".join(f"sm_{number}" for number in VERSIONS)
        raise SettingError(
            message(
                f"sm_{capability} is not among the GPUs to compile for",
                user_where(),
                f"take {known}",
            )
        )
    return cast(Machine, Elsewhere(capability))


def _young_enough(machine: Machine) -> Machine:
    """The machine; raises `DeviceError` where it is older than any that code is made for."""
    if newest(machine.capability):
        return machine
    raise DeviceError(
        message(
            f"this GPU, of compute capability {machine.capability / 10}, is older than 8.0",
            user_where(),
            'take a newer one, or device="cpu"',
        )
    )


def _check_counts(device: DevicePlan) -> None:
    """Raise `DeviceError` where threads, which count in 32 bits, could not count to the end."""
    lines = {s.code.name: k.where for k in device.plan.kernels for s in k.stages}
    for name, found in device.functions.items():
        if found.longest >= 1 << 31:
            raise DeviceError(
                message(
                    f"{found.longest} iterations are more than a GPU's threads count to",
                    next(iter(lines[name]), user_where()),
                    "cut the arrays into parts of less than 2^31 elements",
                )
            )


def compiler() -> dict[str, str]:
    """The packages that make PTX of Python text, with their versions; none where LLVM makes it."""
    return {} if current_settings().cuda_compiler == "llvm" else versions()


def code_of(
    device: DevicePlan,
    driver: str,
    form: str,
    target: Target,
    clock: Clock,
    *,
    as_llvm: bool = False,
) -> Ptx:
    """The kernels of a program: one that runs the driver, or one for each group of its stages;
    `as_llvm`, the LLVM text that they are made of in the place of theirs."""
    from gradloom.runtime.cuda import ptx as made  # which a warm start never needs
    from gradloom.runtime.lowering import Unlowered

    stages = current_settings().cuda_compiler == "llvm"
    emit = made.as_llvm if as_llvm else made.as_ptx
    try:
        if form == LAUNCHES:
            ptx = made.launches(device, driver, target, clock, stages=stages, emit=emit)
        else:
            cluster = form == IN_CLUSTER
            ptx = made.persistent(
                device, driver, target, clock, stages=stages, cluster=cluster, emit=emit
            )
    except Unlowered as error:
        where = next((w for k in device.plan.kernels for w in k.where), user_where())
        raise DeviceError(
            message(
                f"this function cannot run on a GPU: {error}", where, 'take device="cpu" for it'
            )
        ) from error
    if stages or as_llvm:
        return ptx
    from gradloom.runtime.cuda.numba_ptx import with_stages

    return with_stages(ptx, device, target.cpu, clock)
