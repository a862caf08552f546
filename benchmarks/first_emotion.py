"""From typing the command to the first printed emotion: first start (nothing compiled yet) and
second start.

    python benchmarks/first_emotion.py

Plays the shipped clip with the shipped model, with a compilation cache of its own that is empty at
first.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "results" / "preprocessing_test" / "input_video.mp4"


def seconds_to_first_emotion(cache: str) -> float:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "predict_live_stream.py"),
        "--source",
        str(CLIP),
    ]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(r"\d\d:\d\d:\d\ds : ", line):
                process.terminate()
                return time.perf_counter() - began
    raise SystemExit("the script ended without printing an emotion")


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        for name in ("first", "second"):
            print(f"{name:6} start: {seconds_to_first_emotion(cache):.1f} s", flush=True)


if __name__ == "__main__":
    main()
