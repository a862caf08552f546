"""Process start-up: what makes JAX fast on a CPU, and a compilation cache that outlives the
process.

    from fer_jax import runtime
    runtime.configure()      # before anything imports jax
    import jax

Nothing here changes a result beyond rounding. On a GPU, on other platforms and on jax versions that
were not measured the CPU settings stay off; `FER_JAX_TUNE=0` turns them off everywhere.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path

# The XLA flag is known to these: an unknown flag would stop the process.
MEASURED_JAX = ("0.10.", "0.11.", "0.12.")
# An empty list of fusion types sends convolutions to Eigen, which is faster than XLA's YNN library,
# most of all backwards.
CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type="
# mallopt's parameter numbers in glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_MADV_HUGEPAGE = 14  # in Linux's mman.h
# bytes of addresses, 1.5 GiB, whose memory is in huge pages once it is used: less than the
# threshold below
HUGE = 3 << 29


def configure() -> None:
    """Set the process up for JAX; idempotent. Has no effect on settings that the user has made.

    Raises:
        RuntimeError: jax has been imported already, and with it XLA's flags read.
    """
    if os.environ.get("FER_JAX_CONFIGURED") == str(os.getpid()):
        return
    if "jax" in sys.modules:
        raise RuntimeError("fer_jax.runtime.configure() must be called before jax is imported")
    os.environ["FER_JAX_CONFIGURED"] = str(os.getpid())
    if tuned():
        _keep_freed_memory()
        flags = os.environ.get("XLA_FLAGS", "")
        if "ynn_fusion_type" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {CPU_FLAG}".strip()
    _use_compilation_cache()


def tuned() -> bool:
    """Whether the CPU settings apply: a measured jax on x86-64 Linux that will run on the CPU, and
    not turned off.
    """
    if os.environ.get("FER_JAX_TUNE") == "0":
        return False
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return (
        importlib.metadata.version("jaxlib").startswith(MEASURED_JAX)
        and not _accelerator_expected()
    )


def cache_folder() -> Path:
    """Where this package keeps what can be fetched or computed again: a folder of its own in the
    user's cache.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fer_jax"


def _accelerator_expected() -> bool:
    """Whether jax will pick a GPU or TPU, judged without importing it."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return not platforms.startswith("cpu")
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return bool(plugins) or importlib.util.find_spec("jax_plugins") is not None


def _keep_freed_memory() -> None:
    """Stop glibc from giving large buffers back after every step: faulting them in again costs as
    much as the arithmetic.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
    except (OSError, AttributeError):  # musl, or no libc by that name
        return
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(_M_ARENA_MAX, 1)  # all threads share one heap, which is ...
    _use_huge_pages(libc)


def _use_huge_pages(libc: ctypes.CDLL) -> None:
    """Have the heap grow into huge pages: with small ones, looking up addresses takes a tenth of a
    step and more.

    Reserves addresses, not memory; where even that is refused, pages stay small.
    """
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if block := libc.malloc(HUGE):
        page = os.sysconf("SC_PAGE_SIZE")
        libc.madvise(-(-block // page) * page, HUGE - page, _MADV_HUGEPAGE)
        libc.free(block)  # to the heap, which keeps it


def _use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that a second start does not compile
    again.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
