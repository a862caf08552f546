#!/bin/sh
exec python "$(dirname "$0")/download_data.py" "$@"
