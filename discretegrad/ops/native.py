"""C kernels for tensors on the CPU, compiled when the first of them is needed by the compiler that is there.

An operation keeps its kernels in `native.c` beside its reference; all of them make one shared library for float32 and
one for float64. It is called through ctypes with the tensors' addresses, so nothing of torch is included or linked.
Compiled libraries stay in a folder of the user's (`DISCRETEGRAD_CACHE`, by default `discretegrad` in `XDG_CACHE_HOME`
or `~/.cache`) under a name that tells what they were made from. They are compiled for the processor that compiles them,
or for what `DISCRETEGRAD_MARCH` names, a value of the compiler's `-march` such as `x86-64-v3`. Without a compiler, off
Linux, or with `DISCRETEGRAD_NATIVE=0` there is no library, and slower operations run.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).parent
REALS = {torch.float32: "float", torch.float64: "double"}
# Nobody looks at the flags of floating-point exceptions, or at errno; while they count, conditions and roots in a loop
# keep it from vectors.
FLAGS = ("-O3", "-fPIC", "-std=gnu11", "-fno-trapping-math", "-fno-math-errno")
SERIAL = 1 << 14
"""Up to so many numbers to look at, a second thread is not worth waking."""


def available() -> bool:
    """Whether there are kernels; compiles them if need be."""
    return library(torch.float32) is not None


def function(name: str, pointers: int, sizes: int) -> Callable[..., bool]:
    """A kernel for Python: it takes so many tensors or None, then so many integers.

    Called with the dtype of its real numbers, then with the arguments; all tensors are contiguous. Its threads are
    torch's, unless `work`, how many numbers it looks at, is small. Returns False where it met logits that have no
    probabilities: NaN, infinity, or all of them minus infinity.
    """

    @functools.cache
    def found(dtype: torch.dtype) -> Callable[..., int]:
        shared = library(dtype)
        assert shared is not None, f"no library for {dtype}"
        kernel: Callable[..., int] = getattr(shared, name)
        kernel.argtypes = [ctypes.c_void_p] * pointers + [ctypes.c_int64] * (sizes + 1)  # type: ignore[attr-defined]
        kernel.restype = ctypes.c_int  # type: ignore[attr-defined]
        return kernel

    def run(dtype: torch.dtype, *arguments: Tensor | int | None, work: int) -> bool:
        threads = torch.get_num_threads() if work > SERIAL else 1
        addresses: list[Any] = [*arguments, threads]
        for number in range(pointers):  # a comprehension would be one more call
            if addresses[number] is not None:
                addresses[number] = addresses[number].data_ptr()
        failed = found(dtype)(*addresses)
        if failed == 1:
            raise MemoryError(f"the kernel {name} could not allocate its tables.")
        if failed == 2:
            raise IndexError("indices must lie in 0..C-1, the categories that there are.")
        return failed == 0

    return run


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """What a kernel writes to. Every output is made here, so that tests can fill it before."""
    return torch.empty(shape, dtype=dtype, device="cpu")


def noise_or_seed(noise: Tensor, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
    """Contiguous noise of that dtype as `(noise, None)`; a seed that is expanded to its shape as `(None, seed)`."""
    return (None, noise) if noise.dtype is torch.int64 else (noise.to(dtype).contiguous(), None)


def flags(mask: Tensor | None, variables: torch.Size) -> Tensor | None:
    """A mask that is broadcastable to the variables, as kernels take it: a byte a row."""
    return None if mask is None else mask.expand(variables).contiguous().view(torch.uint8)


def differentiated(*tensors: Tensor) -> bool:
    """Whether a graph is wanted, which a kernel does not make."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The kernels for a dtype; None where there are none."""
    if dtype not in REALS or not sys.platform.startswith("linux") or os.environ.get("DISCRETEGRAD_NATIVE") == "0":
        return None
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0]) is None:
        return None
    try:
        return _load(compiler, f"-DREAL={REALS[dtype]}")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        if dtype == torch.float32:  # the first of the two
            warnings.warn(
                "discretegrad's C kernels could not be compiled, and slower operations run instead; set CC to another "
                "compiler, DISCRETEGRAD_CACHE to a folder of yours, DISCRETEGRAD_MARCH to a processor that the "
                f"compiler knows, or DISCRETEGRAD_NATIVE=0. {said}",
                RuntimeWarning,
                stacklevel=2,
            )
        return None


def _load(compiler: list[str], real: str) -> ctypes.CDLL:
    """Compile, unless that was done before, and load.

    OpenMP's functions are left open when linking, and found in the runtime that torch has loaded, whose threads are
    then shared: a pool of our own would wait for the processors that torch's is still spinning on. If torch has another
    OpenMP than the compiler means, loading fails, and kernels without threads serve.
    """
    sources, headers = sorted(HERE.glob("*/native.c")), sorted(HERE.rglob("*.h"))
    text = [_run([*compiler, "--version"]), _processor(), *(path.read_text() for path in (*headers, *sources))]

    def load(openmp: str) -> ctypes.CDLL:
        flags = [*FLAGS, march(), real, openmp]
        key = hashlib.sha256("\0".join([*compiler, *flags, *text]).encode()).hexdigest()[:24]
        path = cache() / f"{key}.so"
        if not path.exists():
            _compile(compiler, flags, sources, path)
        return ctypes.CDLL(str(path))

    try:
        return load("-fopenmp")
    except (OSError, subprocess.SubprocessError):
        return load("-fopenmp-simd")


def _compile(compiler: list[str], flags: list[str], sources: list[Path], path: Path) -> None:
    """In a folder of its own and then renamed: whoever else compiles, or is interrupted, leaves nothing half done."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        objects = []
        for source in sources:
            objects.append(f"{folder}/{source.parent.name}.o")
            _run([*compiler, *flags, "-c", str(source), "-o", objects[-1]])
        _run([*compiler, "-shared", *objects, "-o", f"{folder}/library.so"])
        os.replace(f"{folder}/library.so", path)


def _run(command: list[str]) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=True, stdin=subprocess.DEVNULL
    ).stdout


def cache() -> Path:
    """Where compiled libraries are kept."""
    own = os.environ.get("DISCRETEGRAD_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "discretegrad"


def march() -> str:
    """The flag that says which processor kernels are compiled for."""
    return f"-march={os.environ.get('DISCRETEGRAD_MARCH') or 'native'}"


def _processor() -> str:
    """What -march=native depends on: a folder may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    told = ("model name", "flags", "Features", "CPU part", "isa")
    return "\n".join([platform.machine(), *(line for line in lines if line.startswith(told))])
