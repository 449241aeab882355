"""Commands around a running station: run, arm, ctl, demo, and what breaks or checks them."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.options import JsonFile, check_json, write_json
from edge.core.errors import EdgeError

app = typer.Typer()


class Rest(StrEnum):
    """What happens to a part when the machine does nothing."""

    REJECT = "reject"
    PASS = "pass"


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="How long to run.")] = 20.0,
    rate: Annotated[float, typer.Option(min=0.1, max=10_000, help="Parts per second.")] = 20.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the parts; random if absent.")] = None,
    json: JsonFile = None,
) -> None:
    """Run a whole station on synthetic parts, with an arm, and watch it."""
    from rich.console import Console

    from edge.demo import demo as run_demo
    from edge.panel import summary

    check_json(json)
    console = Console()
    result = run_demo(seconds=seconds, rate_hz=rate, seed=seed, console=console)
    console.print(summary(result))
    write_json(json, result)
    if result.conservation_errors or result.commands != result.parts:
        typer.echo(
            f"edge: {result.parts} parts, {result.commands} commands seen, "
            f"{result.conservation_errors} conservation errors: not a sound run",
            err=True,
        )
        raise typer.Exit(1)


@app.command()
def run(
    station: Annotated[Path, typer.Argument(metavar="STATION.toml", help="The station file.")],
    feed: Annotated[int | None, typer.Option(hidden=True)] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run a station until its source ends, or SIGTERM or Ctrl-C."""
    from edge import app as composition
    from edge.core import config
    from edge.core.process import die_with_parent
    from edge.eventlog import EventLog

    if parent is not None:
        die_with_parent(parent)
    options = config.load(station, config.Station)
    keys = station.absolute().parent
    if feed is None:
        balance = composition.run(options, EventLog(sys.stderr), keys)
    else:
        balance = composition.run_fed(options, feed, keys)
    typer.echo(
        f"{balance.triggers} parts, {balance.decided} decided, {balance.acks} acked, "
        f"{balance.errors} conservation errors"
    )
    if balance.errors:
        raise typer.Exit(1)


@app.command()
def arm(
    connect: Annotated[str, typer.Option(help="The station's address, tcp://HOST:PORT.")],
    role: Annotated[str, typer.Option(help="disposition moves parts; others follow.")] = (
        "disposition"
    ),
    rest: Annotated[Rest, typer.Option(help="A part's way if nothing moves.")] = Rest.REJECT,
    part_sensor: Annotated[bool, typer.Option(help="A sensor sees parts go by.")] = False,
    line_stop: Annotated[bool, typer.Option(help="A lost beat stops the line.")] = False,
    sensor: Annotated[
        Path | None, typer.Option(help="A FIFO: one line a part at the part sensor.")
    ] = None,
    move_ms: Annotated[
        float | None, typer.Option(min=0, max=60_000, help="Send Done so long after the action.")
    ] = None,
    confirm: Annotated[bool, typer.Option(help="Confirm each part as it leaves.")] = False,
    state: Annotated[bool, typer.Option(help="Tell the pose of each movement.")] = False,
    key: Annotated[Path | None, typer.Option(help="This arm's own .key file (CURVE).")] = None,
    server_key: Annotated[
        str, typer.Option(help="The station's public key, or its .pub file.")
    ] = "",
    simulated: Annotated[bool, typer.Option(help="Follow the station's virtual clock.")] = False,
    log: Annotated[Path | None, typer.Option(help="Append one JSON line an action.")] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Be the reference controller: default until a provably fresh ACCEPT."""
    if rest is Rest.PASS and not (part_sensor or sensor or line_stop):
        raise EdgeError("--rest pass: needs --sensor FIFO, --part-sensor or --line-stop")
    from control.access import client_of
    from control.arm_link import identity, serve
    from edge.core.process import die_with_parent

    if parent is not None:
        die_with_parent(parent)
    hello = identity(
        rest=rest.value,
        part_sensor=part_sensor,
        line_stop=line_stop,
        simulated=simulated,
        role=_role(role),
    )
    serve(
        connect,
        hello,
        log,
        typer.echo,
        sensor=sensor,
        move_ms=move_ms,
        confirm=confirm,
        state=state,
        secure=client_of(key, server_key),
    )


@app.command()
def conformance(
    bind: Annotated[str, typer.Option(help="Where the controller connects: tcp://HOST:PORT.")],
    wait_s: Annotated[float, typer.Option(min=0.1, max=3600, help="For the controller.")] = 30.0,
    json: JsonFile = None,
) -> None:
    """Hold a controller against docs/wire.md; exit code 1 a rule failed, 2 nobody came."""
    from control.conformance.run import conformance as run_conformance

    check_json(json)
    result = run_conformance(bind, wait_s=wait_s, say=typer.echo)
    write_json(json, result)
    if not result.passed:
        raise typer.Exit(1)


class Verb(StrEnum):
    """What a person may ask of a running station."""

    STATUS = "status"
    RESET = "reset"
    HOLD = "hold"
    RESUME = "resume"
    SINGLE = "single"
    LOT = "lot"


@app.command()
def ctl(
    verb: Annotated[Verb, typer.Argument(help="single: one part, then hold again.")],
    station: Annotated[str, typer.Option(help="The station's name, from its file.")] = "station",
    reason: Annotated[
        str, typer.Option(help="Recorded with who asked; the name of the lot for `lot`.")
    ] = "",
) -> None:
    """Ask a running station of this machine: status, reset, hold, resume, single, lot."""
    import msgspec

    from edge.desk import ask, socket_path

    answer = ask(socket_path(station), verb.value, reason)
    if not answer.pop("ok", False):
        raise EdgeError(f"{verb.value}: {answer.get('error', 'refused')}")
    typer.echo(msgspec.json.format(msgspec.json.encode(answer)).decode())


@app.command()
def chaos(
    parts: Annotated[int, typer.Option(min=100, max=10_000_000, help="How many.")] = 20_000,
    rate: Annotated[str, typer.Option(help="Parts per second, or max.")] = "max",
    seed: Annotated[int, typer.Option(min=0, help="Of the faults and the parts.")] = 1,
    json: JsonFile = None,
    keep: Annotated[Path | None, typer.Option(help="Leave every log in this folder.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="A kind of fault; may be repeated.")
    ] = None,
) -> None:
    """Break everything around a real station and judge it; exit code 1 if a promise broke."""
    from bench.chaos.drive import chaos as run_chaos
    from bench.chaos.panel import summary
    from bench.chaos.plan import KINDS

    check_json(json)
    kinds = tuple(kind for kind in KINDS if not only or kind in only)
    if unknown := [kind for kind in only or () if kind not in KINDS]:
        raise EdgeError(f"--only {unknown[0]}: allowed: {' | '.join(KINDS)}")
    result = run_chaos(parts, _rate(rate), seed, typer.echo, folder=keep, kinds=kinds)
    typer.echo(summary(result))
    write_json(json, result)
    if result.broken:
        raise typer.Exit(1)


def _rate(text: str) -> float:
    """Parts a second; 0 for `max`."""
    if text == "max":
        return 0.0
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.1 <= rate <= 10_000:
        raise EdgeError(f"--rate {text}: allowed: max | 0.1 to 10000 parts per second")
    return rate


def _role(text: str) -> str:
    import re

    if not re.fullmatch("[a-z][a-z0-9_-]{0,39}", text):
        raise EdgeError(f"--role {text}: allowed: a-z, then up to 39 of a-z 0-9 _ -")
    return text
