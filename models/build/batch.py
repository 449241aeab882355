"""A package of the same weights that takes several tiles at once.

    python -m models.build.batch PACKAGE COUNT FILE

On a processor a batch gains nothing (docs/packages.md). On a device each run costs the start of
some 40 kernels whatever it holds, so there it pays. The new package judges tiles only; its golden
set and its limits are those of the old one, since its numbers are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import onnx

from edge.core.errors import ConfigError, EdgeError
from models.build.export import batched
from models.manifest import Manifest
from models.package import Package, find, seal, unsealed

_MAX_COUNT = 256


def rebatched(package: Package, count: int) -> bytes:
    """The package file's bytes; ConfigError for a graph that models/build did not make."""
    if not 2 <= count <= _MAX_COUNT or package.manifest.tiling.batch != 1:
        raise ConfigError(
            f"{package.manifest.name}: batch {count}: 2 to {_MAX_COUNT}, of a package without one"
        )
    model = onnx.load_model_from_string(unsealed(package.model_bytes()))
    names = {weight.name for weight in model.graph.initializer}
    if not {"map.shape", "score.shape"} <= names:
        raise ConfigError(f"{package.manifest.name}: not a graph of `edge model build`")
    bytes_ = batched(model, count).SerializeToString(deterministic=True)
    golden = (package.golden_bytes() or b"").decode()
    return seal(bytes_, _manifest(package.manifest, count), golden)


def _manifest(manifest: Manifest, count: int) -> Manifest:
    tiling = msgspec.structs.replace(manifest.tiling, batch=count)
    return msgspec.structs.replace(manifest, name=f"{manifest.name}-by-{count}", tiling=tiling)


def main(arguments: list[str]) -> int:
    """Exit code 0, or 2 with one line about why not."""
    if len(arguments) != 3 or not arguments[1].isdigit():
        print("usage: python -m models.build.batch PACKAGE COUNT FILE", file=sys.stderr)
        return 2
    name, count, file = arguments
    try:
        Path(file).write_bytes(rebatched(find(name), int(count)))
    except (EdgeError, OSError) as error:
        print(f"batch: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
