"""The command line: options in, one call, words out. No logic lives here.

Each command imports what it needs when it is called, so that `edge --help` stays quick.
"""

from __future__ import annotations

import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge.core.errors import EdgeError

app = typer.Typer(
    help="Inspect parts, decide in time, command the machine.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
model_app = typer.Typer(help="Look at and build model packages.")
app.add_typer(model_app, name="model")
keys_app = typer.Typer(help="Make and list the keys of stations and controllers.")
app.add_typer(keys_app, name="keys")
bench_app = typer.Typer(help="Time the whole station, and compare and predict.")
app.add_typer(bench_app, name="bench")

JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the result here as JSON.")]


class Pace(StrEnum):
    """How time passes in a replay."""

    MAX = "max"
    RECORDED = "recorded"


class Provider(StrEnum):
    """What the model runs on."""

    CPU = "cpu"
    OPENVINO = "openvino"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


class Scenario(StrEnum):
    """How parts arrive in a bench run."""

    CONSTANT = "constant"
    SINGLE = "single"
    OFFLINE = "offline"
    SERVER = "server"


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

    _check_json(json)
    console = Console()
    result = run_demo(seconds=seconds, rate_hz=rate, seed=seed, console=console)
    console.print(summary(result))
    _write_json(json, result)
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

    _check_json(json)
    result = run_conformance(bind, wait_s=wait_s, say=typer.echo)
    _write_json(json, result)
    if not result.passed:
        raise typer.Exit(1)


class Verb(StrEnum):
    """What a person may ask of a running station."""

    STATUS = "status"
    RESET = "reset"
    HOLD = "hold"
    RESUME = "resume"
    SINGLE = "single"


@app.command()
def ctl(
    verb: Annotated[Verb, typer.Argument(help="single: one part, then hold again.")],
    station: Annotated[str, typer.Option(help="The station's name, from its file.")] = "station",
    reason: Annotated[str, typer.Option(help="Recorded with who asked.")] = "",
) -> None:
    """Ask a running station of this machine: status, reset, hold, resume, single."""
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

    _check_json(json)
    kinds = tuple(kind for kind in KINDS if not only or kind in only)
    if unknown := [kind for kind in only or () if kind not in KINDS]:
        raise EdgeError(f"--only {unknown[0]}: allowed: {' | '.join(KINDS)}")
    result = run_chaos(parts, _rate(rate), seed, typer.echo, folder=keep, kinds=kinds)
    typer.echo(summary(result))
    _write_json(json, result)
    if result.broken:
        raise typer.Exit(1)


@bench_app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    scenario: Annotated[Scenario, typer.Option(help="How parts arrive.")] = Scenario.CONSTANT,
    model: Annotated[str, typer.Option(help="A package's name in the zoo, or its file.")] = "",
    rate: Annotated[
        float | None,
        typer.Option(min=0.01, max=10_000, help="Parts per second (20), constant and server."),
    ] = None,
    parts: Annotated[int | None, typer.Option(min=1, max=50_000_000, help="How many.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, max=20_000, help="Or how long.")
    ] = None,
    provider: Annotated[Provider, typer.Option(help="What to run on.")] = Provider.CPU,
    threads: Annotated[int | None, typer.Option(min=1, max=64, help="Of the session.")] = None,
    footage: Annotated[Path | None, typer.Option(help="Pictures of the product.")] = None,
    arrivals: Annotated[
        Path | None, typer.Option(help="Recorded: one arrival a line, in ms.")
    ] = None,
    gaps: Annotated[str, typer.Option(help="Idle seconds after every 20 parts: 1,5,10,30.")] = "",
    burst: Annotated[int, typer.Option(min=1, max=64, help="Parts at the same instant.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of server's arrivals.")] = 1,
    standby: Annotated[bool, typer.Option(help="A second warm worker.")] = True,
    allocations: Annotated[
        bool | None,
        typer.Option(help="Trace memory over 1,000 further parts; done after 1,000 timed ones."),
    ] = None,
    json: JsonFile = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with every chart here.")] = None,
) -> None:
    """Time the whole station on a schedule of parts, beside the bare model on the same box.

    Without --parts or --minutes: 3,000 parts and at least a minute, after 50 to warm up. Ctrl-C
    finishes the open parts and keeps what was measured; exit code 130 then.
    """
    if context.invoked_subcommand:
        return
    from rich.console import Console

    from bench.latency import result
    from bench.latency.report.page import write as write_page
    from bench.latency.report.summary import summary
    from bench.latency.run import Asked, planned
    from bench.latency.run import run as run_bench

    _check_json(json)
    _check_file("--html", html)
    plan = planned(
        scenario.value,
        rate_hz=rate,
        parts=parts,
        minutes=minutes,
        arrivals=arrivals,
        gaps=gaps,
        burst=burst,
        seed=seed,
        standby=standby,
    )
    asked = Asked(
        model=model,
        plan=plan,
        provider=provider.value,
        threads=threads,
        footage=footage,
        allocations=allocations,
    )
    console = Console()
    found = run_bench(asked, console)
    console.print(summary(found))
    if json:
        result.save(json, found)
    if html:
        write_page(html, [found])
    if not found.complete:
        raise typer.Exit(130)
    if found.conservation_errors:
        raise typer.Exit(1)


@bench_app.command("compare")
def compare_runs(
    before: Annotated[Path, typer.Argument(metavar="A.json", help="A run's --json.")],
    after: Annotated[Path, typer.Argument(metavar="B.json", help="Another's.")],
    force: Annotated[bool, typer.Option("--force", help="Whatever differs between them.")] = False,
) -> None:
    """Compare two runs; exit code 1 where B is worse than A beyond the noise of both."""
    from rich.console import Console

    from bench.latency.report.compare import compare, describe

    comparison = compare(before, after, force=force)
    Console().print(describe(comparison))
    if comparison.regressed:
        raise typer.Exit(1)


@bench_app.command("matrix")
def matrix_of_models(
    model: Annotated[list[str], typer.Option(help="A package; may be repeated.")],
    provider: Annotated[
        list[Provider] | None, typer.Option(help="May be repeated; all there are if absent.")
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers with commas between them.")] = "1,2",
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Of each row.")] = 2.0,
    footage: Annotated[Path | None, typer.Option(help="Pictures of the product.")] = None,
    json: JsonFile = None,
) -> None:
    """Time session.run alone: each package and its FP32 twin on every provider there is."""
    from rich.console import Console

    from bench.latency.box.matrix import describe, matrix
    from bench.latency.frames import frames
    from models import package

    _check_json(json)
    rows = matrix(
        [package.find(name) for name in model],
        pictures_of=lambda one: frames(one, footage).parts,
        providers=None if provider is None else [one.value for one in provider],
        threads=_threads(threads),
        seconds=seconds,
    )
    Console().print(describe(rows))
    _write_json(json, rows)


@bench_app.command("predict")
def predict_model(
    model: Annotated[str, typer.Argument(help="A package file, or a name in the zoo.")],
    against: Annotated[Path | None, typer.Option(help="A run's --json, to judge it by.")] = None,
    json: JsonFile = None,
) -> None:
    """Predict from its graph and a short calibration how long a model will take on this box."""
    from bench.latency.forecast.predict import describe, predict

    _check_json(json)
    prediction = predict(model, against=against)
    typer.echo(describe(prediction))
    _write_json(json, prediction)


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


@app.command()
def replay(
    footage: Annotated[Path, typer.Argument(help="Data-set folder, footage.csv, images, video.")],
    model: Annotated[str, typer.Option(help="A package's name in the zoo, or its file.")],
    split: Annotated[str, typer.Option(help="Which rows of a manifest.csv.")] = "test",
    pace: Annotated[Pace, typer.Option(help="Lock-step, or the recorded times.")] = Pace.MAX,
    provider: Annotated[Provider, typer.Option(help="What to run on.")] = Provider.CPU,
    json: JsonFile = None,
) -> None:
    """Replay footage through the real loop, engine and arm, and score it."""
    from rich.console import Console

    from edge import app as composition
    from edge.panel import summary

    _check_json(json)
    result = composition.replay(
        footage,
        model,
        split=split,
        pace=pace.value,
        provider=provider.value,
        warn=lambda line: typer.echo(f"edge: warning: {line}", err=True),
    )
    Console().print(summary(result))
    _write_json(json, result)


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


def _threads(text: str) -> list[int]:
    counts = text.split(",")
    if not all(count.isdecimal() and 1 <= int(count) <= 64 for count in counts):
        raise EdgeError(f"--threads {text}: allowed: 1 to 64, as 1,2")
    return [int(count) for count in counts]


def _role(text: str) -> str:
    import re

    if not re.fullmatch("[a-z][a-z0-9_-]{0,39}", text):
        raise EdgeError(f"--role {text}: allowed: a-z, then up to 39 of a-z 0-9 _ -")
    return text


def _check_json(path: Path | None) -> None:
    _check_file("--json", path)


def _check_file(option: str, path: Path | None) -> None:
    """Before a run of minutes: is there a place for its result?"""
    if path and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise EdgeError(f"{option} {path}: not a file in a folder that exists")


def _write_json(path: Path | None, result: object) -> None:
    if path is None:
        return
    import msgspec

    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    except OSError as error:
        raise EdgeError(f"--json {path}: {error.strerror}") from None


def main() -> None:
    """Run a command; a user's mistake is one line on stderr and exit code 2."""
    # As Ctrl-C: children are ended and folders removed. `run` and `arm` have their own way.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        typer.echo(f"edge: {' '.join(error.format_message().split())}", err=True)
        sys.exit(2)
    except EdgeError as error:
        typer.echo(f"edge: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
    except OSError as error:  # process boundary: a path no check foresaw is still a person's line
        typer.echo(f"edge: {error.filename or 'system'}: {error.strerror}", err=True)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
