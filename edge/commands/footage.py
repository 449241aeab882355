"""Commands over recorded parts: replay and sim."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from edge.commands.options import JsonFile, Provider, check_file, check_json, write_json
from edge.core.errors import EdgeError

if TYPE_CHECKING:
    from edge.core.config import TileOptions
    from edge.playback import Asked, Pace

app = typer.Typer()
SHOWN = 20  # lines of differences and flips on the terminal; --json holds all


@app.command()
def replay(
    footage: Annotated[
        Path, typer.Argument(help="Data-set folder, footage.csv, images, video, or a .mcap.")
    ],
    model: Annotated[
        str, typer.Option(help="A package's name in the zoo, or its file; a .mcap names its own.")
    ] = "",
    split: Annotated[str, typer.Option(help="Which rows of a manifest.csv.")] = "test",
    pace: Annotated[
        str, typer.Option(help="max: virtual time; recorded: real time; 2: twice as fast.")
    ] = "max",
    provider: Annotated[Provider | None, typer.Option(help="What to run on.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=64, help="Of the session.")] = None,
    tiles: Annotated[
        str,
        typer.Option(
            metavar="ROWSxCOLUMNS|STATION.toml",
            help="Judge frames of this size in tiles, or with a station file's [engine.tiles]; "
            "a .mcap names its own.",
        ),
    ] = "",
    record: Annotated[Path | None, typer.Option(help="Write footage here (.mcap).")] = None,
    records: Annotated[Path | None, typer.Option(help="Write records to this database.")] = None,
    first: Annotated[int | None, typer.Option("--from", min=1, help="First part.")] = None,
    last: Annotated[int | None, typer.Option("--to", min=1, help="Last part.")] = None,
    part: Annotated[int | None, typer.Option(min=1, help="One part.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every decision of a .mcap with its own.")
    ] = False,
    against: Annotated[
        str, typer.Option(help="Another package: list the parts it judges otherwise.")
    ] = "",
    max_flips: Annotated[
        int | None, typer.Option(min=0, help="Exit code 1 where more parts change.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="With --against: a page with the pictures.")
    ] = None,
    ray: Annotated[
        str, typer.Option(help="Score an archive on a Ray cluster: its address, or local.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Score an archive, a folder of footage, into this folder.")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Replay footage through the real loop, engine and arm, and score or verify it.

    With --out, score an archive of any size: one Parquet file an item, finished items not again.
    """
    from rich.console import Console

    from edge import playback
    from edge.panel import summary
    from edge.replay import none_judged

    check_json(json)
    check_file("--html", html)
    _check_span(first, last, part)
    speed = _pace(pace)
    given = {
        "--verify": verify,
        "--against": bool(against),
        "--pace": speed != "max",
        "--record": record is not None,
        "--records": records is not None,
        "--from, --to and --part": (first, last, part) != (None, None, None),
        "--max-flips and --html": max_flips is not None or html is not None,
        "--ray": bool(ray),
        "--out": out is not None,
        "--tiles": bool(tiles),
    }
    _check_together([name for name, there in given.items() if there])
    if out:
        _score(footage, model, out, ray, threads or 1, split, provider or Provider.CPU, json)
        return
    asked = playback.Asked(
        footage=footage,
        model=model,
        split=split,
        pace=speed,
        provider=provider.value if provider else None,
        threads=threads,
        tiles=_tiles(tiles) if tiles else None,
        span=(part, part) if part is not None else (first, last),
        record=record,
        records=records,
    )
    if verify:
        _verify(asked, json)
    elif against:
        _against(asked, against, max_flips, html, json)
    else:
        result = playback.replay(asked, _warn).report
        Console().print(summary(result))
        write_json(json, result)
        if none_judged(result.parts, result.faults):
            _nothing_judged(result.parts, playback.missing_tiles(asked))


def _check_span(first: int | None, last: int | None, part: int | None) -> None:
    if part is not None and (first is not None or last is not None):
        raise EdgeError("--part and --from, --to are two answers to one question; give one")
    if first is not None and last is not None and first > last:
        raise EdgeError(f"--from {first}: allowed: up to --to {last}")


# An option, and those that it would pass over without a word.
_ALONE = {
    "--out": (
        *("--verify", "--against", "--pace", "--record", "--records"),
        *("--from, --to and --part", "--max-flips and --html", "--tiles"),
    ),
    "--verify": ("--against", "--pace"),
    "--against": ("--pace",),
}
_NEEDS = {"--max-flips and --html": "--against", "--ray": "--out"}


def _check_together(given: Collection[str]) -> None:
    """EdgeError where one of the options would not be heard beside, or without, another."""
    for option, deaf_to in _ALONE.items():
        if option in given and (unheard := [other for other in deaf_to if other in given]):
            raise EdgeError(f"{option} does not go with {unheard[0]}: give one or the other")
    for option, needed in _NEEDS.items():
        if option in given and needed not in given:
            verb = "belong" if " and " in option else "belongs"
            raise EdgeError(f"{option} {verb} to {needed}")


def _nothing_judged(parts: int, missing: str = "") -> NoReturn:
    larger = f": larger than the package's input; give {missing}" if missing else ""
    typer.echo(f"edge: no picture of the {parts} parts could be judged{larger}", err=True)
    raise typer.Exit(1)


def _score(
    archive: Path,
    model: str,
    out: Path,
    ray: str,
    threads: int,
    split: str,
    provider: Provider,
    json: Path | None,
) -> None:
    from rich.console import Console

    from edge.archive.results import SUMMARY
    from edge.archive.score import Finished, score
    from edge.archive.view import summary
    from edge.replay import none_judged

    def say(finished: Finished) -> None:
        told = finished.reason if finished.state == "failed" else f"{finished.parts} parts"
        typer.echo(f"{finished.item}: {finished.state}, {told}")

    if not model:
        raise EdgeError("--model: missing; an archive is scored with one package")
    found = score(
        archive,
        model,
        out,
        ray=ray or None,
        threads=threads,
        provider=provider.value,
        split=split,
        progress=say,
    )
    write_json(json, found)
    Console().print(summary(found))
    typer.echo(f"decisions sha256 {found.decisions_sha256}")
    typer.echo(f"all of it: {out / SUMMARY}")
    for item, reason in found.failed.items():
        typer.echo(f"edge: {item}: {reason}", err=True)
    if none_judged(found.parts, found.faults):
        _nothing_judged(found.parts)
    if found.failed:
        raise typer.Exit(1)


class SimPace(StrEnum):
    """How time passes on a simulated line."""

    VIRTUAL = "virtual"
    REAL = "real"


@app.command()
def sim(
    footage: Annotated[Path, typer.Argument(help="What `edge replay` takes.")],
    model: Annotated[
        str, typer.Option(help="A package's name in the zoo, or its file; a .mcap names its own.")
    ] = "",
    line: Annotated[
        Path | None, typer.Option(help="The line's TOML file: belt, spacing, gate (docs/sim.md).")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.01, max=10_000, help="Parts per second: the belt's speed.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which rows of a manifest.csv.")] = "test",
    pace: Annotated[SimPace, typer.Option(help="As fast as possible, or in real time.")] = (
        SimPace.VIRTUAL
    ),
    parts: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    provider: Annotated[Provider, typer.Option(help="What to run on.")] = Provider.CPU,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Of the session.")] = 2,
    confirm: Annotated[
        bool,
        typer.Option(
            "--confirm", help="Run in real time at 95 % of the highest rate; exit code 1 if late."
        ),
    ] = False,
    json: JsonFile = None,
) -> None:
    """Run footage over a simulated belt: what ends in which bin, and how fast the line may run."""
    from rich.console import Console

    from edge.core import config
    from edge.sim.line import Line
    from edge.sim.simulate import simulate
    from edge.sim.view import summary

    check_json(json)
    drawn = config.load(line, Line) if line else Line()
    console = Console()
    result = simulate(
        footage,
        model,
        line=drawn.at_rate(rate) if rate else drawn,
        split=split,
        pace=pace.value,
        provider=provider.value,
        threads=threads,
        parts=parts,
        confirm=confirm,
        console=console,
        warn=_warn,
    )
    console.print(summary(result))
    write_json(json, result)
    if confirm and not (result.confirmation and result.confirmation.holds):
        typer.echo("edge: --confirm: this line does not hold; see above", err=True)
        raise typer.Exit(1)


def _verify(asked: Asked, json: Path | None) -> None:
    from edge import playback

    found = playback.verify(asked, _warn)
    others = found.parts - found.judged - found.unseen
    typer.echo(
        f"{found.parts} parts: {found.judged} judged again, {others} without an answer in time "
        f"then, {found.unseen} NOT compared (their picture was lost)"
    )
    for line in found.elsewhere:
        typer.echo(f"elsewhere: {line}")
    for line in found.differences[:SHOWN]:
        typer.echo(f"differs: {line}")
    differing = len(found.differences)
    first = f", the first {SHOWN} shown" if differing > SHOWN else ""
    typer.echo(f"{differing} of the compared parts differ{first}")
    typer.echo(f"decisions sha256 {found.replayed_sha256}")
    write_json(json, found)
    if differing:
        typer.echo(f"edge: {differing} parts were decided otherwise", err=True)
        raise typer.Exit(1)


def _against(
    asked: Asked, new: str, most: int | None, html: Path | None, json: Path | None
) -> None:
    from edge import playback
    from edge.historian.report.flips import write as write_page

    flips = playback.against(asked, new, _warn)
    for flip in flips[:SHOWN]:
        scores = " -> ".join(
            "-" if s is None else f"{s:.4f}" for s in (flip.old_score, flip.new_score)
        )
        typer.echo(
            f"part {flip.part} ({flip.truth or 'unlabelled'}): {flip.old} -> {flip.new}, {scores}"
        )
    first = f", the first {SHOWN} shown" if len(flips) > SHOWN else ""
    typer.echo(f"{len(flips)} parts change their verdict{first}")
    write_json(json, flips)
    if html:
        shown = playback.pictures(asked, (flip.part for flip in flips))
        write_page(html, (asked.model or "its own package", new), flips, shown)
    if most is not None and len(flips) > most:
        typer.echo(f"edge: more than {most} parts change their verdict", err=True)
        raise typer.Exit(1)


def _warn(line: str) -> None:
    typer.echo(f"edge: warning: {line}", err=True)


def _pace(text: str) -> Pace:
    match text:
        case "max":
            return "max"
        case "recorded":
            return "recorded"
        case _:
            return _factor(text)


def _factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0.01 <= factor <= 1000.0:
        raise EdgeError(f"--pace {text}: allowed: max | recorded | 0.01 to 1000 times as fast")
    return factor


def _tiles(text: str) -> TileOptions:
    """Frames by their size, with what a station file says where it says nothing, or by the file."""
    from edge.core import config

    if text.endswith(".toml"):
        tiles = config.load(Path(text), config.Station).engine.tiles
        if tiles is None:
            raise EdgeError(f"--tiles {text}: it has no table [engine.tiles]")
        return tiles
    if size := re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text):
        return config.TileOptions(frame_px=(int(size[1]), int(size[2])))
    raise EdgeError(
        f"--tiles {text}: allowed: ROWSxCOLUMNS of a frame, as 2048x2448, or a station file (.toml)"
    )
