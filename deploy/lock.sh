#!/bin/sh
# lock.sh PYTHON: write requirements/*.txt anew from pyproject.toml (needs uv on the PATH or in the
# environment of PYTHON). Hashes for every file, the build backend included, no index address.
set -eu
python=$1
lock() {
    file=$1
    shift
    echo 'setuptools>=77' | "$python" -m uv pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-annotate --no-header \
        "$@" pyproject.toml - -o "requirements/$file.txt"
}
for flavour in cpu openvino gpu dev; do
    lock "$flavour" --extra "$flavour"
done
# The versions of cpu.txt: they are installed over that one, and results are of one ONNX Runtime.
lock archive --constraint requirements/cpu.txt --extra cpu --extra archive
lock report --constraint requirements/cpu.txt --extra cpu --extra report
lock test-openvino --extra openvino --extra test
