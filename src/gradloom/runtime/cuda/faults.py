"""What the driver says, as errors that say what happened and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from gradloom.errors import DeviceError, DeviceMemoryError, GradloomError, ToolchainError

DOCTOR = "python -m gradloom doctor says what is found"
INVALID_VALUE, OUT_OF_MEMORY = 1, 2


@dataclass(frozen=True)
class Failure:
    """A call of the driver that failed; `kernels` were given to the device and may not be done."""

    function: str
    code: int
    name: str  # such as CUDA_ERROR_NO_DEVICE
    kernels: tuple[str, ...] = ()
    driver_version: int = 0  # 13000 for CUDA 13.0


# What a kernel did, after which nothing more runs on the device in this process.
_DEADLY = {
    700: "read or wrote memory that is not its own",
    702: "took longer than the display allows",
    714: "overflowed its stack",
    715: "has an instruction that the device does not know",
    716: "read or wrote an address that is not aligned for it",
    717: "used an address of another memory space",
    718: "jumped to where no code is",
    719: "failed",
}
_OTHERS = {
    2: (
        "the device is out of memory",
        "free arrays, or end other programs on the device (nvidia-smi lists them)",
    ),
    35: (
        "the driver is older than what calls it",
        "install a newer driver from nvidia.com/drivers",
    ),
    46: ("all devices are in use", "nvidia-smi lists who uses them; exclusive mode allows one"),
    100: (
        "the driver finds no device",
        "nvidia-smi must list one; in a container, start it with --gpus all; CUDA_VISIBLE_DEVICES "
        "must not be empty",
    ),
    101: ("there is no device of that number", "nvidia-smi -L lists those that there are"),
    200: ("the driver cannot read the machine code", ""),
    209: ("the machine code is for other devices", ""),
    218: ("the driver cannot read the PTX", ""),
    222: ("the driver is older than the PTX", ""),
    223: ("the driver is older than the PTX", ""),
    701: (
        "a kernel needs more registers or shared memory than the device has for a block",
        "compile it with most_threads= of the block",
    ),
    720: (
        "the blocks of a cooperative launch do not fit the device at once",
        "take at most Loaded.resident_blocks() of them",
    ),
    803: (
        "the driver in the kernel and the driver library have different versions",
        "restart the machine, or reload the nvidia kernel module",
    ),
    804: (
        "the driver library is for other devices than this one",
        "remove the cuda-compat package",
    ),
}
_UNREADABLE = {200, 209, 218, 222, 223}


def describe(failure: Failure) -> GradloomError:
    """The error that says it."""
    if failure.code in _DEADLY:
        return DeviceError(_deadly(failure))
    what, repair = _OTHERS.get(failure.code, ("the driver refuses a call", DOCTOR))
    if failure.code in _UNREADABLE:
        repair = _unreadable(failure)
    text = f"{what} ({failure.name} from {failure.function})\n  repair: {repair}"
    return DeviceMemoryError(text) if failure.code == OUT_OF_MEMORY else DeviceError(text)


def _deadly(failure: Failure) -> str:
    kernels = failure.kernels
    if len(kernels) == 1:
        who, next_step = f"kernel {kernels[0]}", "compute-sanitizer python ... shows the line"
    else:
        who = f"one of the kernels {', '.join(kernels)}" if kernels else "a kernel"
        next_step = "GRADLOOM_VERIFY=2 waits for each kernel, and so names the one"
    return (
        f"{who} {_DEADLY[failure.code]} ({failure.name} from {failure.function}); nothing more "
        f"runs on the device in this process, arrays on the CPU are as they were\n"
        f"  repair: run again; {next_step}"
    )


def version_text(number: int) -> str:
    """A version as people write it.

    >>> version_text(13000), version_text(12080)
    ('13.0', '12.8')
    """
    return f"{number // 1000}.{number % 1000 // 10}"


def _unreadable(failure: Failure) -> str:
    known = f"the driver knows CUDA {version_text(failure.driver_version)}; "
    return (
        f"{known if failure.driver_version else ''}install a driver as new as the toolkit, or "
        f"compile for this device's architecture; {DOCTOR}"
    )


def no_package(error: ImportError) -> ToolchainError:
    """cuda-bindings is not installed."""
    return ToolchainError(
        f"cuda-bindings cannot be imported ({error})\n"
        f'  repair: pip install "gradloom[cuda]"; {DOCTOR}'
    )


def no_driver(error: RuntimeError) -> DeviceError:
    """There is no libcuda, or one that lacks functions."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DeviceError(
        f"there is no NVIDIA driver, or one that is too old ({said})\n"
        "  repair: with an NVIDIA GPU, sudo ubuntu-drivers install nvidia:580, or driver 580 or "
        f"newer from nvidia.com/drivers, or docker run --gpus all; {DOCTOR}"
    )


def out_of_memory(wanted: int, free: int, total: int, name: str) -> DeviceMemoryError:
    """So many bytes were wanted of a device that has not as many free."""
    return DeviceMemoryError(
        f"{wanted:,} bytes wanted on {name}, which has {free:,} of {total:,} free\n"
        f"  repair: memory_limit={free} plans the program into what is free; smaller batches, or "
        "the end of other programs on the device (nvidia-smi lists them), leave more"
    )
