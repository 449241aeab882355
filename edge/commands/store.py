"""Commands for the package store, and for what a station runs of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.commands.options import JsonFile, Model, StoreFolder, check_json, write_json
from edge.core.errors import PackageError

if TYPE_CHECKING:
    from edge.activation import Verb

store_app = typer.Typer()  # of `edge model`

Station = Annotated[str, typer.Option(help="The station's name, from its file.")]
Reason = Annotated[str, typer.Option(help="Recorded with who asked.")]
WaitS = Annotated[
    float, typer.Option("--wait", min=0, max=86_400, help="Seconds until it is done; 0: only ask.")
]


@store_app.command("list")
def list_packages(store: StoreFolder = "", json: JsonFile = None) -> None:
    """List installed packages and the zoo's; exit code 1 where the store has a damaged file."""
    from models.listing import rows, table
    from models.store import Store

    check_json(json)
    listed = rows(Store.at(store))
    for line in table(listed):
        typer.echo(line)
    write_json(json, listed)
    if any(row.trouble for row in listed):
        raise typer.Exit(1)


@store_app.command()
def install(
    file: Annotated[Path, typer.Argument(help="A package file.")],
    store: StoreFolder = "",
    trusted: Annotated[
        list[str] | None, typer.Option(help="Only if signed by this public key, or .pub file.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Beside another content of this name and version.")
    ] = False,
) -> None:
    """Check a package and put a copy into the store; no station runs it for that."""
    from models import package as packages
    from models.signature import check, trusted_keys
    from models.station_state import ref_of
    from models.store import Store

    if not file.exists() and str(file).partition("@")[0] in packages.zoo_index():
        raise PackageError(f"{file}: no such file; the zoo's are installed when they are activated")
    package = packages.load(file)
    if trusted:
        check(package, trusted_keys(trusted, Path()))
    package = Store.at(store).install(package, force=force)
    typer.echo(f"{ref_of(package)}: {package.path}")


@store_app.command()
def remove(model: Model, store: StoreFolder = "") -> None:
    """Remove a package from the store, unless a station has it as active, previous or shadow."""
    from models.store import Store

    for path in Store.at(store).remove(model):
        typer.echo(f"removed {path}")


@store_app.command()
def activate(
    model: Model,
    station: Station = "station",
    reason: Reason = "",
    wait: WaitS = 600.0,
    store: StoreFolder = "",
) -> None:
    """Have a station judge with this package, from a part boundary on or from its next start."""
    _change("activate", model, station, reason, wait, store)


@store_app.command()
def shadow(
    model: Model = "",
    station: Station = "station",
    off: Annotated[bool, typer.Option("--off", help="End it.")] = False,
    reason: Reason = "",
    wait: WaitS = 600.0,
    store: StoreFolder = "",
) -> None:
    """Have a running station compare a package with its own; it decides nothing."""
    if bool(model) == off:
        raise typer.BadParameter("name a package, or end the shadow with --off: one of the two")
    _change("shadow", model, station, reason, wait, store)


@store_app.command()
def promote(
    model: Model = "",
    station: Station = "station",
    reason: Reason = "",
    wait: WaitS = 600.0,
    store: StoreFolder = "",
) -> None:
    """Have a station judge with what runs as its shadow."""
    _change("promote", model, station, reason, wait, store)


@store_app.command()
def rollback(
    station: Station = "station",
    reason: Reason = "",
    wait: WaitS = 600.0,
    store: StoreFolder = "",
) -> None:
    """Have a station judge again with the package before this one."""
    _change("rollback", "", station, reason, wait, store)


def _change(verb: Verb, model: str, station: str, reason: str, wait_s: float, folder: str) -> None:
    from edge.activation import change
    from models.resolve import installed
    from models.store import Store

    store = Store.at(folder)
    package = installed(model, store) if model else None
    refusal = change(store, station, verb, package, reason=reason, wait_s=wait_s, say=typer.echo)
    if refusal:
        typer.echo(f"edge: {refusal}", err=True)
        raise typer.Exit(2)
