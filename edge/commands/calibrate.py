"""The command that chooses a package's limits on known parts, with a guarantee."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.options import (
    FileOrModel,
    JsonFile,
    Provider,
    StoreFolder,
    check_file,
    check_json,
    write_json,
)
from edge.core.errors import EdgeError

calibrate_app = typer.Typer()  # of `edge model`


class Unit(StrEnum):
    """What is counted."""

    PICTURE = "picture"
    GROUP = "group"


@calibrate_app.command()
def calibrate(
    model: FileOrModel,
    data: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="manifest.csv and pictures, or good/ and defect/."),
    ],
    escape: Annotated[
        float, typer.Option(help="Share of defective units that may pass, at most.")
    ] = 0.002,
    overkill: Annotated[
        float, typer.Option(help="Share of good units that may fail or be held, at most.")
    ] = 0.02,
    confidence: Annotated[float, typer.Option(help="How sure of each of the two.")] = 0.95,
    split: Annotated[str, typer.Option(help="Which rows of the manifest.csv.")] = "calib",
    unit: Annotated[
        Unit | None,
        typer.Option(help="What counts as one: else the group, where the manifest has groups."),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write the package with these limits here.")
    ] = None,
    accept_supported: Annotated[
        bool,
        typer.Option("--accept-supported", help="Certify the weaker rates that are proven."),
    ] = False,
    version: Annotated[
        str, typer.Option(help="Of the new package; else the old one with .1 behind it.")
    ] = "",
    who: Annotated[str, typer.Option(help="Who calibrates, in words; in the certificate.")] = "",
    provider: Annotated[Provider, typer.Option(help="What to score on.")] = Provider.CPU,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Of the session.")] = 2,
    store: StoreFolder = "",
    json: JsonFile = None,
) -> None:
    """Choose PASS and FAIL limits that keep to rates of escapes and overkill, proven on known
    parts, or say what is missing (exit code 2).
    """
    from edge.calibration import Request, calibration, write_new
    from models.calibrate import Asked, percent
    from models.certificate import told
    from models.resolve import meant

    for option, share in (
        ("--escape", escape), ("--overkill", overkill), ("--confidence", confidence),
    ):  # fmt: skip
        if not 0 < share < 1:
            raise EdgeError(f"{option} {share:g}: allowed: above 0, below 1")
    if len(who) > 200 or not who.isprintable():
        raise EdgeError("--who: allowed: up to 200 printable characters")
    check_json(json)
    check_file("--write", write)
    if write is not None and write.exists():
        raise EdgeError(f"--write {write}: exists; nothing is overwritten")
    made = calibration(
        Request(
            package=meant(model, store),
            data=data,
            asked=Asked(escape=escape, overkill=overkill, confidence=confidence),
            split=split,
            unit=None if unit is None else unit.value,
            provider=provider.value,
            threads=threads,
            version=version,
            who=who,
        )
    )
    for line in told(made.certificate):
        typer.echo(line)
    write_json(json, made.result())
    if made.shortfall and not accept_supported:
        raise EdgeError(f"not proven, {percent(confidence)} sure: {made.shortfall}")
    if write is None:
        typer.echo("nothing is written (--write OUT)")
        return
    write_new(made, write)
    kept, had = made.golden
    typer.echo(f"{write}: {kept} of {had} golden parts are kept; unsigned: edge model sign")
