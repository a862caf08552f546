"""Process start-up: what makes JAX fast on a CPU, and compiled programs kept on the disk.

    from fer_jax import runtime
    runtime.configure()      # before anything imports jax
    import jax

On x86-64 Linux without an accelerator, with a jax that was measured: memory that is kept, and
convolutions by Eigen; in training by oneDNN, where jaxlib carries it and the processor computes in
bfloat16, in which networks then train. What is reported, and attacks on finished networks, are
float32 everywhere. A user's own settings stay. `FER_JAX_ONEDNN=0` turns oneDNN off, and
`FER_JAX_TUNE=0` everything.
"""

import ctypes
import importlib.metadata
import importlib.util
import mmap
import os
import platform
import sys
from pathlib import Path

MEASURED_JAX = ("0.10.", "0.11.", "0.12.")
# An empty list of fusion types sends convolutions to Eigen, which is faster than XLA's YNN library,
# most of all backwards.
EIGEN_FLAG = "--xla_cpu_experimental_ynn_fusion_type="
ONEDNN_FLAG = "--xla_cpu_experimental_onednn_custom_call=true"
# jaxlib 0.10 knows the flag, but has no oneDNN.
WITHOUT_ONEDNN = ("0.10.",)
CPUINFO = Path("/proc/cpuinfo")
BFLOAT16_FEATURES = {"avx512_bf16", "amx_bf16"}
# mallopt's parameter numbers in glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_MADV_HUGEPAGE = 14  # in Linux's mman.h
# bytes of addresses, 1.5 GiB, whose memory is in huge pages once it is used: less than the
# threshold below
HUGE = 3 << 29


def configure(training: bool = False) -> None:
    """Set the process up for JAX; idempotent. Has no effect on settings that the user has made.

    Args:
        training: the process trains a network.

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
        _add_flag(EIGEN_FLAG)
        if training and _onednn_pays():
            _add_flag(ONEDNN_FLAG)
    if not bfloat16():  # jaxlib cannot keep programs that call oneDNN; they compile in seconds
        _use_compilation_cache()


def bfloat16() -> bool:
    """Return whether networks train in bfloat16 on this CPU: oneDNN is on, and it pays."""
    return ONEDNN_FLAG in os.environ.get("XLA_FLAGS", "").split() and _onednn_pays()


def _add_flag(flag: str) -> None:
    """Append to XLA's flags one that jaxlib knows and the user has not set."""
    name, flags = flag.partition("=")[0], os.environ.get("XLA_FLAGS", "")
    if name not in flags and knows(name):
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()


def knows(name: str) -> bool:
    """Return whether jaxlib knows an XLA flag by this name: an unknown one would stop the process.

    Its library holds the names as text.
    """
    spec = importlib.util.find_spec("jaxlib")
    for folder in (spec and spec.submodule_search_locations) or []:
        for library in Path(folder).glob("libjax_common*"):
            with library.open("rb") as stream:
                content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
                return content.find(name.lstrip("-").encode() + b"\0") >= 0
    return False


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


def _onednn_pays() -> bool:
    """Return whether jaxlib carries oneDNN and the processor computes in bfloat16.

    In float32 oneDNN is no faster than Eigen, and much slower towards kernels.
    """
    if os.environ.get("FER_JAX_ONEDNN") == "0":
        return False
    if importlib.metadata.version("jaxlib").startswith(WITHOUT_ONEDNN):
        return False
    try:
        return not BFLOAT16_FEATURES.isdisjoint(CPUINFO.read_text().split())
    except OSError:  # no Linux
        return False


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
