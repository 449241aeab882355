"""Commands for model packages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

model_app = typer.Typer(help="Look at and build model packages.")


@model_app.command()
def info(
    file: Annotated[str, typer.Argument(help="A package file, or a name in the zoo.")],
) -> None:
    """Show what a package is, takes, promises and was measured to do."""
    from models import package
    from models.describe import describe

    typer.echo(describe(package.find(file)))


@model_app.command()
def build(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe's TOML file.")],
    data: Annotated[Path | None, typer.Option(help="Data here instead of the recipe's.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train, quantise, measure and seal a package from its recipe (extra `train`)."""
    from models.build.build import build as run_build

    typer.echo(run_build(recipe, data=data, resume=resume, report=typer.echo))
