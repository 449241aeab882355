"""Commands about what a package runs on: prepare and bench, beside those of model.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edge.commands.options import (
    FileOrModel,
    FileOrModelOption,
    JsonFile,
    Provider,
    StoreFolder,
    check_json,
    write_json,
)
from edge.core.errors import EdgeError

if TYPE_CHECKING:
    from models.package import Package

provide_app = typer.Typer()

Providers = Annotated[
    list[Provider] | None, typer.Option(help="May be repeated; all there are if absent.")
]
Cache = Annotated[str, typer.Option(help="Folder for what is built; the user's cache if absent.")]


@provide_app.command()
def prepare(
    model: FileOrModel,
    provider: Providers = None,
    threads: Annotated[int, typer.Option(min=1, max=64, help="As the station file.")] = 2,
    tiled: Annotated[
        bool, typer.Option("--tiled", help="For a station file with [engine.tiles].")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="For one provider, seconds.")] = 900.0,
    cache: Cache = "",
    store: StoreFolder = "",
    again: Annotated[bool, typer.Option("--again", help="Even what is there already.")] = False,
) -> None:
    """Build what providers build for this box, before a station needs it: TensorRT's engines,
    OpenVINO's blobs. Judges the golden set on each. Exit code 2 where one asked for may not serve.
    """
    from models.choose import prepared
    from models.found import survey
    from models.providers import available
    from models.resolve import meant
    from models.tiles import lanes_of

    loaded, seen = meant(model, store), survey()
    names = [one.value for one in provider] if provider else available(seen)
    is_tiled = tiled or loaded.manifest.tiling.tiles_only
    for name in names:
        rated = prepared(
            loaded, name, lanes_of(name, threads).threads if is_tiled else threads,
            tell=_progress, folder=cache, timeout_s=timeout, found=seen, again=again,
        )  # fmt: skip
        flips = "no golden set" if rated.flips is None else f"{rated.flips} verdicts flipped"
        typer.echo(f"{name}: ready, loaded in {rated.load_s:.1f} s, {flips}")


@provide_app.command("bench")
def bench_model(
    model: FileOrModelOption,
    provider: Providers = None,
    threads: Annotated[str, typer.Option(help="Numbers with commas between them.")] = "1,2",
    runs: Annotated[int, typer.Option(min=25, max=1_000_000, help="Of each row.")] = 1000,
    cache: Cache = "",
    store: StoreFolder = "",
    json: JsonFile = None,
) -> None:
    """Time a package and its FP32 twin on every provider there is, and hold their scores against
    the golden set's.
    """
    from rich.console import Console

    from bench.latency.box.matrix import describe, matrix
    from models.resolve import meant

    check_json(json)
    found = matrix(
        _beside_its_twin(meant(model, store)),
        providers=[one.value for one in provider] if provider else None,
        threads=_threads(threads),
        runs=runs,
        folder=cache,
        tell=_progress,
    )
    Console().print(describe(found))
    write_json(json, found)


def _beside_its_twin(package: Package) -> Package:
    """In place of a store's file the zoo's of the same content: a store has no twins."""
    from models.package import find, zoo_index
    from models.store_files import store_of

    name = package.manifest.name
    _, shipped = zoo_index().get(name, ("", ""))
    return find(name) if shipped == package.content_sha256 and store_of(package.path) else package


def _progress(line: str) -> None:
    typer.echo(line, err=True)


def _threads(text: str) -> list[int]:
    counts = text.split(",")
    if not all(count.isdecimal() and 1 <= int(count) <= 64 for count in counts):
        raise EdgeError(f"--threads {text}: allowed: 1 to 64, as 1,2")
    return [int(count) for count in counts]
