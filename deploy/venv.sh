#!/bin/sh
# venv.sh FOLDER LOCK: make FOLDER a virtual environment with the lock's packages and `edge` in it,
# or say in one line what is missing. The project itself goes in without dependencies and without
# build isolation: pip refuses --require-hashes together with -e.
set -eu
folder=$1 lock=$2
python=${PYTHON:-python3}

stop() { echo "make venv: $1" >&2; exit 1; }

command -v "$python" >/dev/null 2>&1 || stop "no $python here; install Python 3.11 or newer (Debian: python3)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "$("$python" -V) is too old; Python 3.11 or newer is needed (PYTHON=... names another)"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    stop "$python has no venv module (Debian: python3-venv)"

[ -x "$folder/bin/python" ] || "$python" -m venv "$folder" || stop "could not make $folder"
quiet="--quiet --disable-pip-version-check --no-input"
echo "make venv: installing $lock into $folder"
"$folder/bin/python" -m pip install $quiet --require-hashes -r "$lock" ||
    stop "could not install $lock (its lines above say why)"
"$folder/bin/python" -m pip install $quiet --no-deps --no-build-isolation -e . ||
    stop "could not install edge itself"
