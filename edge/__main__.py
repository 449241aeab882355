"""The command line: every command by its name. No logic lives here, nor in edge/commands.

Each command imports what it needs when it is called, so that `edge --help` stays quick.
"""

from __future__ import annotations

import signal
import sys

import typer

from edge.commands import (
    bench,
    calibrate,
    doctor,
    footage,
    golden,
    keys,
    model,
    provide,
    records,
    report,
    signing,
    station,
    store,
)
from edge.commands.options import with_defaults
from edge.core.errors import EdgeError

app = typer.Typer(
    help="Inspect parts, decide in time, command the machine.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(station.app)
app.add_typer(footage.app)
app.add_typer(report.app)
app.add_typer(records.app)
app.add_typer(records.records_app, name="records")
model.model_app.add_typer(store.store_app)
model.model_app.add_typer(golden.golden_app)
model.model_app.add_typer(calibrate.calibrate_app)
model.model_app.add_typer(provide.provide_app)
model.model_app.add_typer(signing.signing_app)
app.add_typer(model.model_app, name="model")
app.add_typer(doctor.doctor_app)
app.add_typer(keys.keys_app, name="keys")
app.add_typer(bench.bench_app, name="bench")


def main() -> None:
    """Run a command; a user's mistake is one line on stderr and exit code 2."""
    # As Ctrl-C: children are ended and folders removed. `run` and `arm` have their own way.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    try:
        code = app(with_defaults(sys.argv[1:]), standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message().replace("Value error, ", "")  # the parser's own word
        typer.echo(f"edge: {' '.join(message.split())}", err=True)
        sys.exit(2)
    except EdgeError as error:
        typer.echo(f"edge: {' '.join(str(error).split())}", err=True)
        for row in getattr(error, "table", ()):
            typer.echo(row, err=True)
        sys.exit(2)
    except OSError as error:  # process boundary: a path no check foresaw is still a person's line
        typer.echo(f"edge: {error.filename or 'system'}: {error.strerror}", err=True)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
