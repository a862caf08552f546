"""From FER-2013's files to ready arrays: first start (reads the CSV), second start (prepared), and
peak memory.

    python benchmarks/read_data.py --data data

Copies nothing and leaves the folder's own prepared files alone: it links the sources into a
temporary folder.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

READ = "import sys, pathlib; from fer_jax import data; print(len(data.load(pathlib.Path(sys.argv[1])).train.labels))"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIR")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for path in [*args.data.glob("*.csv"), *args.data.glob("*.zip")]:
            (Path(folder) / path.name).symlink_to(path.resolve())
        for name in ("first", "second"):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", READ, folder], check=True)
            print(
                f"{name:6} start: {time.perf_counter() - began:.1f} s, the interpreter's own start included",
                flush=True,
            )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory of the larger: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
