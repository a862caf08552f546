#!/bin/sh
# Print a Python that runs and that fer_jax supports, the fastest first: 3.13 and 3.12 train in half
# the time of 3.11, whose jaxlib has no oneDNN. A shim that exists but does not run is passed over.
# With an argument only that one is tried.

serves() { # PYTHON OLDEST NEWEST: it runs, can make environments, and is of such a version
    "$1" -c 'import sys, ensurepip, venv
low, high = (tuple(map(int, text.split("."))) for text in sys.argv[1:])
sys.exit(not low <= sys.version_info[:2] <= high)' "$2" "$3" >/dev/null 2>&1
}

if [ $# -gt 0 ]; then
    serves "$1" 3.11 3.13 && echo "$1" && exit
    echo "$1: must be a Python from 3.11 to 3.13 that runs and has venv" >&2
    exit 2
fi
for version in 3.13 3.12 3.11; do
    for python in "python$version" python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version"*/bin/python \
        "$(UV_PYTHON_DOWNLOADS=never uv python find "$version" 2>/dev/null)"; do
        serves "$python" "$version" "$version" && echo "$python" && exit
    done
done
echo "fer_jax needs Python 3.11 to 3.13, and none was found; name one: make PYTHON=/its/path" >&2
exit 2
