"""Try readers in a process of their own, which is killed if it hangs and replaced if it dies."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mutate import Files

# By the clock, after which the process is killed: a busy machine may stall it for long.
SECONDS = 120.0
_WORKER = (sys.executable, str(Path(__file__).resolve().with_name("worker.py")))


class Outcome(NamedTuple):
    """What a reader made of an input; `fault` is "" if it was accepted, or refused as it should."""

    accepted: bool
    fault: str
    seconds: float  # of processor time
    peak: int  # bytes of memory that reading added at most; 0 where the system does not tell


class Judge:
    """Call it with a target's name and an input: an `Outcome`. Within `with`: it owns a process."""

    def __init__(self, seconds: float = SECONDS, command: Sequence[str] = _WORKER):
        self._seconds, self._command = seconds, command
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Judge":
        self._home = tempfile.TemporaryDirectory(prefix="fuzz-")
        self._cage = Path(self._home.name) / "cage"
        return self

    def __exit__(self, *_) -> None:
        self._stop()
        self._home.cleanup()

    def __call__(self, target: str, files: Files) -> Outcome:
        process = self._process or self._start()
        folder = self._cage / "input"
        shutil.rmtree(folder, ignore_errors=True)
        write(files, folder)
        outcome = self._ask(process, json.dumps({"target": target, "folder": str(folder)}))
        if outcome.fault:  # a process and a folder without whatever it left behind
            self._stop()
        return outcome

    def _ask(self, process: subprocess.Popen, request: str) -> Outcome:
        assert process.stdin and process.stdout
        hung = threading.Event()
        timer = threading.Timer(self._seconds, lambda: (hung.set(), process.kill()))
        timer.start()
        try:
            process.stdin.write(request + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
        except BrokenPipeError:
            reply = ""
        finally:
            timer.cancel()
        if reply:
            return Outcome(**json.loads(reply))
        if hung.is_set():
            return Outcome(False, f"took more than {self._seconds:g} s", self._seconds, 0)
        return Outcome(False, f"the process died with status {process.wait()}", 0.0, 0)

    def _start(self) -> subprocess.Popen:
        """Return once the worker has imported everything, so that the first input is not blamed."""
        self._cage.mkdir()
        self._process = process = subprocess.Popen(
            self._command,
            cwd=self._cage,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what libpng and libjpeg mutter about damage
            text=True,
        )
        assert process.stdout
        if process.stdout.readline() != "ready\n":
            command = " ".join(self._command)
            raise RuntimeError(f"{command} did not start: run it by hand to see why")
        return process

    def _stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None
            shutil.rmtree(self._cage)


def write(files: Files, folder: Path) -> None:
    """Put an input into `folder`, which need not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
