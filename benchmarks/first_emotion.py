"""Seconds from the command to the first printed emotion: python benchmarks/first_emotion.py

It starts twice, with a compilation cache of its own: the second start has nothing to compile.
"""

import os
import re
import subprocess
import sys
import tempfile
import time

from fer_jax import files

ROOT = files.root().resolve()
CLIP = ROOT / "results" / "preprocessing_test" / "input_video.mp4"
COMMAND = [sys.executable, str(ROOT / "scripts" / "predict_live_stream.py"), "--source", str(CLIP)]


def seconds_to_first_emotion(cache: str) -> float:
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    began = time.perf_counter()
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout or ():
            if re.match(r"\d\d:\d\d:\d\ds : ", line):
                process.terminate()
                return time.perf_counter() - began
    raise SystemExit("the script ended without printing an emotion")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        for name in ("first", "second"):
            print(f"{name:6} start: {seconds_to_first_emotion(cache):.1f} s", flush=True)
