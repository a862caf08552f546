"""For each line of JSON on stdin, read the files of a target's input and say what became of it.

Run by `judge.py`, in an empty folder of its own, so that a crash, a hang or an executed pickle
happens to it alone.
"""

import json
import sys
import time
import warnings
from pathlib import Path

from mutate import CANARY
from targets import TARGETS, Target

from fer_jax.data import DataWarning
from fer_jax.errors import InputError

LONGEST_MESSAGE = 1000  # characters, the path of the file not counted
MEMORY, MEMORY_PER_BYTE = 2**30, 8  # what one input may add to the process
SECONDS = 10.0  # of processor time that one input may take; nearly all take milliseconds


def examine(target: Target, folder: Path) -> dict:
    """Let `target` read `folder`, and return the fields of a `judge.Outcome`."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    before, began = _restart_peak(), time.process_time()
    accepted, fault = False, ""
    try:
        target.read(folder)
        accepted = True
    except InputError as error:
        fault = _fault_of_message(str(error), folder)
    # MemoryError and SystemExit too: nothing else may leave a reader.
    except BaseException as error:
        fault = f"raised {type(error).__name__}: {str(error)[:300]}"
    seconds, peak = time.process_time() - began, max(0, _memory("VmHWM") - before)
    if Path(CANARY).exists():
        fault = "executed code from the file"
    elif peak > MEMORY + MEMORY_PER_BYTE * size:
        fault = f"took {peak / 2**20:,.0f} MiB for {size:,} bytes"
    elif seconds > SECONDS:
        fault = f"took {seconds:.0f} s"
    return {"accepted": accepted, "fault": fault, "seconds": seconds, "peak": peak}


def make_warnings_faults() -> None:
    """All but the one kind that is meant for users."""
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", DataWarning)


def _fault_of_message(message: str, folder: Path) -> str:
    if not message.isprintable():
        return f"a message of more than one plain line: {message[:300]!r}"
    length = len(message.replace(str(folder), ""))
    long = length > LONGEST_MESSAGE
    return f"a message of {length:,} characters: {message[:300]}" if long else ""


def _restart_peak() -> int:
    """Forget the peak of memory so far (Linux alone can); the memory in use, bytes."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    return _memory("VmRSS")


def _memory(field: str) -> int:
    """VmRSS or VmHWM: the resident memory or its peak, bytes; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def main() -> None:
    """Serve requests until stdin ends."""
    make_warnings_faults()
    replies = sys.stdout
    sys.stdout = sys.stderr
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        reply = examine(TARGETS[request["target"]], Path(request["folder"]))
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
