"""`python -m bench.peers [NAME ...]`: peers on the same package and frames, in turns, as a table.

Needs a package index for the peers' own environments, once; some 5 GB of disk for all of them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer
from rich.console import Console

from bench.latency.box import host
from bench.latency.frames import frames
from bench.peers.figures import Comparison, Taken, remarks, rows, table
from bench.peers.roster import NAMES, ROSTER, Peer, Work
from bench.peers.turn import UnavailableError
from edge.core.errors import EdgeError
from models import package

BARE = ("bare", "session.run")
WIDTH = 150


def chosen(names: Sequence[str]) -> list[Peer]:
    """The roster's rows of these names (all for none), and always the bare session's."""
    if unknown := [name for name in names if name not in NAMES]:
        raise EdgeError(f"{unknown[0]}: no peer; allowed: {', '.join(NAMES)}")
    return [peer for peer in ROSTER if not names or peer.name in names or peer.name == BARE[0]]


def in_turns(peers: Sequence[Peer], work: Work, rounds: int) -> dict[tuple[str, str], Taken]:
    """Every peer once a round, a later one first each time, so that drift hits all alike.

    A peer that fails is left out of the rounds after it, and has no figures.
    """
    taken = {(peer.name, peer.variant): Taken([]) for peer in peers}
    for turn in range(rounds):
        shift = turn % len(peers)
        for peer in (*peers[shift:], *peers[:shift]):
            key = (peer.name, peer.variant)
            if taken[key].reason:
                continue
            try:
                taken[key].turns.append(peer.take(*key, work))
            except UnavailableError as why:
                work.say(f"{peer.name} {peer.variant}: {why}")
                taken[key] = Taken([], str(why))
    return taken


def compared(
    names: Sequence[str], model: str, parts: int, rounds: int, say: Callable[[str], None]
) -> Comparison:
    """Run the peers; a peer that cannot be measured is a row with the reason."""
    peers, loaded = chosen(names), package.find(model)
    shown = frames(loaded)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    box = host.probe()
    with tempfile.TemporaryDirectory(prefix="edge-peers-") as name:
        folder = Path(name)
        views = {
            view.name: np.stack([p[view.name] for p in shown.parts])
            for view in loaded.manifest.views
        }
        np.savez(folder / "frames.npz", allow_pickle=False, **views)
        a_turn = max(1, parts // rounds)
        work = Work(loaded.path.resolve(), folder / "frames.npz", a_turn, folder, say)
        taken = in_turns(peers, work, rounds)
    return Comparison(
        model=loaded.manifest.name,
        model_sha256=loaded.file_sha256,
        frames=len(shown.parts),
        frames_from=shown.source,
        parts=a_turn * rounds,
        rounds=rounds,
        started=started,
        host=box,
        rows=rows(taken, BARE),
    )


def command(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME")] = None,
    model: Annotated[str, typer.Option(help="A package's name in the zoo, or its file.")] = (
        "deeppcb"
    ),
    parts: Annotated[int, typer.Option(min=1, max=1_000_000, help="Of each peer.")] = 500,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Turns of each peer.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Write the result here as JSON.")] = None,
) -> None:
    """Time peers on the same package and frames, one at a time, in turns."""
    if json and (json.is_dir() or not json.absolute().parent.is_dir()):
        raise EdgeError(f"--json {json}: not a file in a folder that exists")
    say = Console(stderr=True, highlight=False, soft_wrap=True).print
    result = compared(names or [], model, parts, rounds, say)
    console = Console(width=WIDTH, highlight=False)
    console.print(table(result))
    for line in remarks(result.rows):
        console.print(line, markup=False)
    if json:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")


def main() -> None:
    """A user's mistake is one line on stderr and exit code 2."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    try:
        code = app(standalone_mode=False)
    except (typer.TyperException, EdgeError) as error:
        text = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        typer.echo(f"bench.peers: {' '.join(text.split())}", err=True)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
