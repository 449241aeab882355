"""Commands for the keys of stations and controllers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

keys_app = typer.Typer(help="Make and list the keys of stations and controllers.")


@keys_app.command("make")
def make_key(
    name: Annotated[str, typer.Argument(help="Of the key: NAME.key is secret, NAME.pub is not.")],
    folder: Annotated[Path, typer.Option(help="Where the files go.")] = Path("keys"),
) -> None:
    """Make a key pair for a station or a controller."""
    from control import keys

    key = keys.make(folder, name)
    typer.echo(f"{folder / name}.key (secret, mode 0600), {folder / name}.pub: {key.public}")


@keys_app.command("list")
def list_keys(
    folder: Annotated[Path, typer.Option(help="Where the files are.")] = Path("keys"),
) -> None:
    """List the keys in a folder; exit code 1 where others may read a secret one."""
    from control import keys

    listed = keys.listed(folder)
    for key in listed:
        secret = "with its secret" if key.has_secret else "public only"
        safe = "" if key.secret_is_safe else f"  OPEN TO OTHERS: chmod 600 {folder / key.name}.key"
        typer.echo(f"{key.name:20} {key.public}  {secret}{safe}")
    if not all(key.secret_is_safe for key in listed):
        raise typer.Exit(1)
