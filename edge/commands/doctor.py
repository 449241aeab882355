"""The command that says what this box can do."""

from __future__ import annotations

import typer

from edge.commands.options import JsonFile, check_json, write_json

doctor_app = typer.Typer()


@doctor_app.command()
def doctor(json: JsonFile = None) -> None:
    """Say what this box can do for a station, what is missing, and how to get it."""
    from rich.console import Console

    from edge.doctor import describe, examine

    check_json(json)
    found = examine()
    Console().print(describe(found))
    write_json(json, found)
