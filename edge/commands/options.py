"""What several commands take and do alike: options, checks, results."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge.core.errors import EdgeError

JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the result here as JSON.")]


StoreFolder = Annotated[
    str, typer.Option("--store", help="The store's folder; else $EDGE_STORE, or the machine's own.")
]
_NAMES = "NAME, NAME@VERSION, or 8 and more digits of the content's digest."
Model = Annotated[str, typer.Argument(help=_NAMES)]  # of the store, or the zoo
_FILE_TOO = f"A package file, or of the store or the zoo {_NAMES}"
FileOrModel = Annotated[str, typer.Argument(help=_FILE_TOO)]
FileOrModelOption = Annotated[str, typer.Option("--model", help=_FILE_TOO)]


class Provider(StrEnum):
    """What the model runs on."""

    CPU = "cpu"
    OPENVINO = "openvino"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


def with_defaults(arguments: list[str]) -> list[str]:
    """The arguments, with `local` behind a --ray that names no address."""
    found: list[str] = []
    for place, argument in enumerate(arguments):
        found.append(argument)
        alone = place + 1 == len(arguments) or arguments[place + 1].startswith("-")
        if argument == "--ray" and alone:
            found.append("local")
    return found


def check_json(path: Path | None) -> None:
    check_file("--json", path)


def check_file(option: str, path: Path | None) -> None:
    """Before a run of minutes: is there a place for its result?"""
    if path and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise EdgeError(f"{option} {path}: not a file in a folder that exists")


def write_json(path: Path | None, result: object) -> None:
    if path is None:
        return
    import msgspec

    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    except OSError as error:
        raise EdgeError(f"--json {path}: {error.strerror}") from None
