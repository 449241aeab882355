"""The command that makes a package's golden set anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.core.errors import ConfigError

golden_app = typer.Typer()  # its command stands among those of `edge model`


@golden_app.command()
def golden(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE|NAME", help="A recipe's TOML file, or a zoo name.")
    ],
    data: Annotated[Path | None, typer.Option(help="Data here instead of the recipe's.")] = None,
) -> None:
    """Choose the golden set of a built package again; nothing is trained, no weight changes."""
    from models.build.recipe import read
    from models.build.sealing import recipe_of, remade

    path = recipe_of(recipe)
    if data is not None and read(path).golden.source != "calib":
        raise ConfigError(f"--data {data}: {recipe} draws its golden set; it looks at no data")
    typer.echo(remade(path, data=data, report=typer.echo))
