"""From FER-2013's files to arrays: first start (reads the CSV), second start, and peak memory.

    python benchmarks/read_data.py --data data

It links the sources into a temporary folder and leaves the folder's own prepared files alone.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fer_jax import cli

READ = """import sys, pathlib
from fer_jax import data
print(len(data.load(pathlib.Path(sys.argv[1])).train.labels))"""


def main() -> None:
    parser = cli.parser(__doc__)
    cli.add_data(parser)
    source = parser.parse_args().data
    with tempfile.TemporaryDirectory() as folder:
        for path in [*source.glob("*.csv"), *source.glob("*.zip")]:
            (Path(folder) / path.name).symlink_to(path.resolve())
        for name in ("first", "second"):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", READ, folder], check=True)
            seconds = time.perf_counter() - began
            print(f"{name:6} start: {seconds:.1f} s, the interpreter's own included", flush=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory of the larger: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
