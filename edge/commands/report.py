"""The command that writes a report: of a shift from its records, or of a package on known parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.options import JsonFile, Provider, check_file, check_json, write_json
from edge.commands.records import Lot, OfPackage, Since, Until, asked_of, tell_unknown
from edge.core.errors import ConfigError

app = typer.Typer()
_THREADS = 2


@app.command()
def report(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DB|FOOTAGE", help="The records' database, or with --model labelled footage."
        ),
    ],
    html: Annotated[Path, typer.Option(help="The page to write.")],
    since: Since = "",
    until: Until = "",
    lot: Lot = "",
    package: OfPackage = "",
    model: Annotated[
        str, typer.Option(help="Report on this package, a name in the zoo or a file, on FOOTAGE.")
    ] = "",
    split: Annotated[
        str, typer.Option(help="With --model: which rows of a manifest.csv (test).")
    ] = "",
    fp32: Annotated[
        Path | None,
        typer.Option(help="With --model: its FP32 twin (twins/NAME-fp32.onnx beside it)."),
    ] = None,
    provider: Annotated[
        Provider | None, typer.Option(help="With --model: what to run on (cpu).")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=64, help=f"With --model: of the session ({_THREADS}).")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Write the report of a shift, or with --model that of a package on labelled pictures.

    Of a shift: yield, escapes, defects, latency, faults. Of a package: escapes and overkill with
    exact intervals, by type and group, curves, the worst pictures. One printable page each.
    """
    check_json(json)
    check_file("--html", html)
    of_shift = {"--since": since, "--until": until, "--lot": lot, "--package": package}
    of_model = {"--split": split, "--fp32": fp32, "--provider": provider, "--threads": threads}
    if model:
        _refuse(of_shift, "of a shift's records, and not with --model")
        _quality(source, html, model, split, fp32, provider, threads, json)
        return
    _refuse(of_model, "only with --model")
    if source.is_dir():
        raise ConfigError(f"{source}: a folder; name the package to report on with --model")
    _shift(source, html, since, until, lot, package, json)


def _refuse(given: Mapping[str, object], why: str) -> None:
    for option, value in given.items():
        if value:
            raise ConfigError(f"{option}: {why}")


def _quality(
    footage: Path,
    html: Path,
    model: str,
    split: str,
    fp32: Path | None,
    provider: Provider | None,
    threads: int | None,
    json: Path | None,
) -> None:
    from edge.report.words import in_short, learned_from, notes, summary
    from edge.report.write import Asked, write

    asked = Asked(
        footage=footage,
        model=model,
        split=split or "test",
        fp32=fp32,
        provider=(provider or Provider.CPU).value,
        threads=threads or _THREADS,
    )
    figures = write(html, asked, lambda line: typer.echo(line, err=True))
    write_json(json, figures)
    if warning := learned_from(figures):
        typer.echo(f"edge: {warning}", err=True)
    for line in (*summary(figures.pictures), in_short(figures), *notes(figures), html):
        typer.echo(line)


def _shift(
    database: Path,
    html: Path,
    since: str,
    until: str,
    lot: str,
    package: str,
    json: Path | None,
) -> None:
    import time

    from edge.core.clock import utc_ns
    from edge.historian.report.page import write

    asked = asked_of(since, until, lot, package)
    shift = write(
        html,
        database,
        since_ns=asked["since_ns"] or 0,
        until_ns=asked["until_ns"] or 0,
        lot=lot,
        package=package,
        utc_offset_s=time.localtime().tm_gmtoff,
        written_utc_ns=utc_ns(),
    )
    write_json(json, shift)
    typer.echo(f"{shift.total.parts} parts: {html}")
    tell_unknown(database, asked)
