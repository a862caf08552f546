"""One target under libFuzzer, which varies the decisions that reach new lines of the readers.

Run by `fuzz/fuzz.py --engine atheris`, in an empty folder: python guided.py TARGET OUT -runs=1000
"""

import hashlib
import sys
import tempfile
from pathlib import Path
from random import Random

import atheris  # pyright: ignore

READERS = ["fer_jax", "zipfile", "gzip", "tarfile", "csv", "pickletools", "numpy.lib.format"]

with atheris.instrument_imports(include=READERS):  # pyright: ignore
    from judge import write
    from targets import TARGETS
    from worker import examine, make_warnings_faults


class Decisions(Random):
    """Draws every decision from `data`, and zeros once it has run out."""

    def __init__(self, data: bytes):
        super().__init__(0)
        self._bits = int.from_bytes(data, "little")

    def getrandbits(self, k: int, /) -> int:
        value = self._bits & ((1 << k) - 1)
        self._bits >>= k
        return value

    def random(self) -> float:
        return self.getrandbits(16) / 2**16


def main() -> None:
    name, out = sys.argv[1], Path(sys.argv[2])
    make_warnings_faults()

    def one_input(data: bytes) -> None:
        files = TARGETS[name].generate(Decisions(data))
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            write(files, Path(folder))
            fault = examine(TARGETS[name], Path(folder))["fault"]
        if fault:
            kept = out / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
            write(files, kept)
            raise RuntimeError(f"{kept}: {fault}")

    settings = ("-timeout=120", "-rss_limit_mb=8192", "-len_control=0", "-max_len=512")
    atheris.Setup([sys.argv[0], *settings, *sys.argv[3:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
