"""Commands that time: `edge bench` and its compare and predict."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.options import JsonFile, Provider, check_file, check_json, write_json

bench_app = typer.Typer(help="Time the whole station, and compare and predict.")


class Scenario(StrEnum):
    """How parts arrive in a bench run."""

    CONSTANT = "constant"
    SINGLE = "single"
    OFFLINE = "offline"
    SERVER = "server"


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
    keep: Annotated[
        Path | None, typer.Option(help="Keep records and footage of every part in this folder.")
    ] = None,
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

    check_json(json)
    check_file("--html", html)
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
        keep=keep,
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


@bench_app.command("predict")
def predict_model(
    model: Annotated[str, typer.Argument(help="A package file, or a name in the zoo.")],
    against: Annotated[Path | None, typer.Option(help="A run's --json, to judge it by.")] = None,
    json: JsonFile = None,
) -> None:
    """Predict from its graph and a short calibration how long a model will take on this box."""
    from bench.latency.forecast.predict import describe, predict

    check_json(json)
    prediction = predict(model, against=against)
    typer.echo(describe(prediction))
    write_json(json, prediction)
