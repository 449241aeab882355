"""Commands over what was kept: records, and footage that was cut short."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.commands.options import JsonFile, check_file, check_json, write_json
from edge.core.errors import EdgeError

records_app = typer.Typer(help="Ask the inspection records, and check that nobody altered them.")
app = typer.Typer()

Database = Annotated[Path, typer.Argument(metavar="DB", help="The records' database.")]
Since = Annotated[str, typer.Option(help="From then on: 2026-11-22, 2026-11-22T10:00, 2h, 3d.")]
Until = Annotated[str, typer.Option(help="And before then.")]
Lot = Annotated[str, typer.Option(help="Of this lot.")]
OfPackage = Annotated[
    str, typer.Option(help="Judged by it: its name, or the first 8 or more digits of its digest.")
]
SHOWN = 20  # rows and problems on the terminal


class RowVerdict(StrEnum):
    """A verdict in the records; none: the part defaulted or was lost."""

    PASS = "pass"
    FAIL = "fail"
    INDETERMINATE = "indeterminate"
    NONE = "none"


@records_app.command("verify")
def verify_records(
    database: Database,
    head: Annotated[
        str, typer.Option(help="A HASH or EVENT:HASH that must occur, as an earlier verify told.")
    ] = "",
    public_key: Annotated[
        str, typer.Option(help="The key that must have signed, in hex, as verify tells it.")
    ] = "",
    json: JsonFile = None,
) -> None:
    """Check the chain, the signatures and every row; exit code 1 where something was altered."""
    from edge.historian.records.verify import verify
    from edge.page.words import count

    check_json(json)
    found = verify(database, head=head or None, public_key=public_key or None)
    write_json(json, found)
    for line in found.problems[:SHOWN]:
        typer.echo(f"problem: {line}")
    typer.echo(
        f"{found.events} events, {found.parts} parts, {found.sessions} sessions, "
        f"{found.checkpoints} checkpoints, {found.removed} events removed by retention"
    )
    typer.echo(f"head {found.head_event}:{found.head}")
    typer.echo(f"public key {found.public_key}")
    if found.problems:
        typer.echo(f"edge: {database}: {count(len(found.problems), 'problem')}", err=True)
        raise typer.Exit(1)
    typer.echo(
        f"nothing was altered: chain, signatures and rows agree; "
        f"{count(found.unsigned, 'event')} after the last signature"
    )


@records_app.command("query")
def query_records(
    database: Database,
    since: Since = "",
    until: Until = "",
    verdict: Annotated[RowVerdict | None, typer.Option(help="Of the parts.")] = None,
    type_: Annotated[str, typer.Option("--type", help="A defect's type, or a fault.")] = "",
    part: Annotated[int | None, typer.Option(min=1, help="A part's number.")] = None,
    lot: Lot = "",
    package: OfPackage = "",
    limit: Annotated[int | None, typer.Option(min=0, help="At most so many.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV, every column.")] = False,
    parquet: Annotated[
        Path | None, typer.Option(help="Into this Parquet file (extra `archive`).")
    ] = None,
) -> None:
    """List parts, the oldest first: a table of some columns, CSV or Parquet with all."""
    import sys

    from edge.historian.records import export
    from edge.historian.records.query import query

    check_file("--parquet", parquet)
    if csv and parquet:
        raise EdgeError("--csv and --parquet are two answers to one question; give one")
    asked = asked_of(since, until, lot, package) | {
        "verdict": verdict.value if verdict else None,
        "type": type_ or None,
        "part": part,
    }
    if csv:
        export.to_csv(query(database, limit=limit, **asked), sys.stdout)
    elif parquet:
        written = export.to_parquet(query(database, limit=limit, **asked), parquet)
        typer.echo(f"{written} parts in {parquet}")
    else:
        _list(database, SHOWN if limit is None else limit, asked)
    tell_unknown(database, asked)


@records_app.command("show")
def show_part(
    database: Database,
    part: Annotated[int, typer.Argument(min=1, help="The part's number.")],
    session: Annotated[
        int | None, typer.Option(min=1, help="Of which start; the last that had it if absent.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="A page with picture, map, regions and timing.")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Show everything on record of one part: its row, its events, its picture."""
    from edge.historian.records.query import show

    check_json(json)
    check_file("--html", html)
    found = show(database, part, session)
    write_json(json, found)
    if html:
        from edge.historian.report.part import write

        write(html, database, found)
    _tell(found)


@records_app.command("explain")
def explain_part(
    database: Database,
    part: Annotated[int, typer.Argument(min=1, help="The part's number.")],
    session: Annotated[
        int | None, typer.Option(min=1, help="Of which start; the last that had it if absent.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="Its picture with map, regions, types and areas on it.")
    ] = None,
) -> None:
    """Say why a part was judged as it was: its score, and each region with its type and size."""
    from edge.historian.explain import explained, write_png
    from edge.historian.records.query import show

    check_file("--png", png)
    found = show(database, part, session)
    if found.row is None:
        raise EdgeError(f"{database}: part {part}: open; nothing is decided yet")
    row = found.row
    score = "" if row.score is None else f", score {row.score:.4f}"
    limits = f"PASS below {row.pass_below:g}, FAIL from {row.fail_from:g}"
    typer.echo(f"part {part}: {row.verdict or row.fault or row.cause}{score} ({limits})")
    _tell_judge(found)
    _tell_regions(found)
    if png:
        drawn = explained(database, found)
        write_png(png, drawn.picture)
        typer.echo(f"picture: {png}" + (f"; {drawn.lacks}: boxes alone" if drawn.lacks else ""))


@records_app.command("export")
def export_records(
    database: Database,
    out: Annotated[Path, typer.Argument(help="A folder, made here: parts.csv, events.jsonl.")],
    since: Since = "",
    until: Until = "",
    lot: Lot = "",
    package: OfPackage = "",
) -> None:
    """Write parts, their events and their evidence into a folder of their own."""
    from edge.historian.records.handover import hand_over

    asked = asked_of(since, until, lot, package)
    written = hand_over(database, out, **asked)
    typer.echo(
        f"{written.parts} parts, {written.events} events, {written.pictures} pictures: {out}"
    )
    tell_unknown(database, asked)


@app.command()
def recover(
    footage: Annotated[Path, typer.Argument(help="A .mcap whose writer was killed.")],
    out: Annotated[Path, typer.Argument(help="The whole file to write.")],
) -> None:
    """Copy a recording that was cut short up to its last whole chunk, with an index."""
    from sensors.mcap.recovery import recover as run_recover

    found = run_recover(footage, out)
    typer.echo(f"{found.parts} parts recovered, {found.lost_bytes} bytes lost: {out}")


def asked_of(since: str, until: str, lot: str, package: str) -> dict[str, Any]:
    """What a query is asked, with instants for times; RecordsError for what is no time."""
    from edge.core.clock import utc_ns
    from edge.historian.records.when import parse_when

    now_utc_ns = utc_ns()
    return {
        "since_ns": parse_when(since, now_utc_ns) if since else None,
        "until_ns": parse_when(until, now_utc_ns) if until else None,
        "lot": lot or None,
        "package": package or None,
    }


def tell_unknown(database: Path, asked: dict[str, Any]) -> None:
    """Say of a lot or package that the records do not know that they do not."""
    from edge.historian.records.query import unknown

    for line in unknown(database, **asked):
        typer.echo(f"edge: {line}", err=True)


_HEADER = ("trigger, UTC", "part", "verdict, fault", "action", "score", "latency, ms")
_MORE = "lot, defect type, overrun"


def _list(database: Path, most: int, asked: dict[str, Any]) -> None:
    from edge.historian.records.query import count, query, sessions

    # On a replay's virtual clock a latency means nothing.
    virtual = {one.session for one in sessions(database) if one.virtual}
    judge = ""
    for row in query(database, limit=most, **asked):
        if not judge:
            typer.echo(_columns(*_HEADER, _MORE))
        elif judge != _judge(row):
            typer.echo(f"-- judged by {_judge(row)}; before by {judge}")
        judge = _judge(row)
        typer.echo(_line(row, timed=row.session not in virtual))
    found = count(database, **asked)
    typer.echo(f"{found} parts" + (f", the first {most} shown" if found > most else ""))


def _columns(utc: str, part: str, verdict: str, action: str, *more: str) -> str:
    score, latency, words = more
    return (
        f"{utc:27}  {part:>8}  {verdict:14} {action:7} {score:>8} {latency:>11}  {words}".rstrip()
    )


def _line(row: Any, *, timed: bool) -> str:
    from edge.core.figures import is_picture_overrun
    from edge.historian.records.when import utc_text

    score = "-" if row.score is None else f"{row.score:.4f}"
    latency = f"{row.latency_ms:.2f}" if timed and row.latency_ms is not None else "-"
    verdict = row.verdict or row.fault or row.cause
    overrun = "overrun" if row.overrun else ""
    if is_picture_overrun(row.fault, row.received_ns, row.act_by_ns):
        overrun = "overrun (picture)"
    words = "  ".join(word for word in (row.lot, row.defect_type, overrun) if word)
    return _columns(utc_text(row.utc_ns), str(row.part), verdict, row.action, score, latency, words)


def _judge(row: Any) -> str:
    return f"{row.package} ({row.content_sha256[:12]}) on {row.provider}"


def _tell(found: Any) -> None:
    import msgspec

    from edge.historian.records.when import utc_text

    if found.row is None:
        typer.echo("open: triggered, and nothing more on record")
    else:
        for name, value in msgspec.structs.asdict(found.row).items():
            if name != "regions" and value not in (None, ""):
                typer.echo(f"{name:16} {value}")
        _tell_regions(found)
    _tell_judge(found)
    for event in found.events:
        typer.echo(
            f"event {event.event:>8}  {utc_text(event.utc_ns)}  {event.kind:10} {event.body}"
        )


def _tell_judge(found: Any) -> None:
    from edge.core.history import named

    if found.serving is not None:
        one = found.serving
        typer.echo(f"{'served by':16} {named(one)}, {one.threads} threads, {one.precision}")


def _tell_regions(found: Any) -> None:
    from edge.core.regions import described
    from edge.historian.records.rows import regions_of

    for place, one in enumerate(regions_of(found.row.regions), 1):
        typer.echo(f"region {place:<9} {described(one)}")
