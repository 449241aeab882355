"""Commands for model packages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.commands.options import FileOrModel, StoreFolder

model_app = typer.Typer(help="Look at and build model packages.")


@model_app.command()
def info(model: FileOrModel, store: StoreFolder = "") -> None:
    """Show what a package is, takes, promises and was measured to do."""
    from models.describe import describe
    from models.resolve import meant

    typer.echo(describe(meant(model, store)))


@model_app.command()
def build(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe's TOML file.")],
    data: Annotated[Path | None, typer.Option(help="Data here instead of the recipe's.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train, quantise, measure and seal a package from its recipe (extra `train`)."""
    from models.build.build import build as run_build

    typer.echo(run_build(recipe, data=data, resume=resume, report=typer.echo))


@model_app.command()
def compare(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Their TOML files.")],
    data: Annotated[Path | None, typer.Option(help="Data here instead of the recipes'.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="How many parts train is dealt into.")] = 3,
    fold: Annotated[list[int] | None, typer.Option(help="This one only; may be repeated.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoints.")] = False,
) -> None:
    """Cross-validate recipes over the groups of their train split; calib and test are not read."""
    from models.build.compare import compare as run_compare
    from models.build.compare import table

    found = [
        run_compare(
            recipe, data=data, folds=folds, only=fold or (), resume=resume, report=typer.echo
        )
        for recipe in recipes
    ]
    typer.echo(table(found))
