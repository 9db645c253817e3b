"""A device plan as LLVM: its stages, and a kernel to launch each of them on its own."""

from __future__ import annotations

from llvmlite import ir

from gradloom.codegen.cpu.target import Target
from gradloom.codegen.cpu.vectors import I64
from gradloom.codegen.cuda import nest, product, threads
from gradloom.plan.dealt import KERNEL, DevicePlan, Spread


def stages_module(device: DevicePlan, target: Target) -> ir.Module:
    """The stages, each a function `void name(i64 start, i64 stop, ptr...)` of items that all of a
    block enters together."""
    module = ir.Module("gradloom")
    module.triple = target.triple
    for name, found in device.functions.items():
        if isinstance(found, Spread):
            function = nest.emit_nest(module, name, found, target)
        else:
            function = product.emit_product(module, name, found, target)
        function.attributes.discard("noinline")
        function.attributes.add("alwaysinline")
    return module


def shared_bytes(device: DevicePlan, name: str) -> int:
    """The shared memory that a stage needs."""
    found = device.functions[name]
    if isinstance(found, Spread):
        return nest.shared_bytes(found)
    return found.tile.shared_bytes(found.product.dtype)


def stages_text(device: DevicePlan, target: Target) -> str:
    """The stages alone, as functions that others call."""
    module = stages_module(device, target)
    for name in device.functions:
        module.globals[name].linkage = ""
    return str(module)


def launches_text(device: DevicePlan, target: Target) -> str:
    """The stages with a kernel each, `launch_name(ptr...)`: its blocks share all of the items."""
    module = stages_module(device, target)
    for name, found in device.functions.items():
        _kernel(module, name, found.count, found.grain)
    # llvmlite has no word for kernels.
    return str(module).replace(f'define void @"{KERNEL}', f'define ptx_kernel void @"{KERNEL}')


def _kernel(module: ir.Module, name: str, count: int, grain: int) -> None:
    stage = module.globals[name]
    _, _, *pointers = stage.function_type.args
    kind = ir.FunctionType(ir.VoidType(), pointers)
    kernel = ir.Function(module, kind, KERNEL + name)
    b = ir.IRBuilder(kernel.append_basic_block("entry"))
    grains = -(-count // grain)
    number, blocks = (b.zext(of(b), I64) for of in (threads.block, threads.blocks))

    def cut(at: ir.Value) -> ir.Value:
        """The items before the range of a block: grains as evenly as they go, or the end."""
        before = b.mul(b.udiv(b.mul(at, I64(grains)), blocks), I64(grain))
        return b.select(b.icmp_unsigned("<", before, I64(count)), before, I64(count))

    b.call(stage, [cut(number), cut(b.add(number, I64(1))), *kernel.args])
    b.ret_void()
