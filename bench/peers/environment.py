"""A virtual environment for each peer, from pinned versions, made when it is first asked for.

What pip is told elsewhere (an index, a folder of wheels) holds here too: PIP_INDEX_URL,
PIP_FIND_LINKS, pip.conf.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from bench.peers.turn import UnavailableError, run

REQUIREMENTS = Path(__file__).parent
ENVIRONMENTS = Path(__file__).parents[2] / "build" / "peers"
INSTALL_S = 1800.0
STAMP = "installed.sha256"


def python_of(
    name: str,
    say: Callable[[str], None],
    *,
    folder: Path = ENVIRONMENTS,
    requirements: Path = REQUIREMENTS,
) -> Path:
    """The interpreter of a peer's environment; UnavailableError with the installer's reason.

    An environment made from other pins, or not made to its end, is made anew.
    """
    pins = requirements / f"requirements-{name}.txt"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    place, stamp = folder / name, folder / name / STAMP
    python = place / "bin" / "python"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted and python.exists():
        return python
    say(f"{name}: making build/peers/{name} from {pins.name}")
    shutil.rmtree(place, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    run([sys.executable, "-m", "venv", str(place)], folder)
    quiet = ("--disable-pip-version-check", "--progress-bar", "off")
    install = ("-m", "pip", "install", *quiet, "-r", str(pins))
    try:
        run([str(python), *install], folder, INSTALL_S)
    except UnavailableError as why:
        raise UnavailableError(f"does not install: {why}") from None
    stamp.write_text(wanted, encoding="ascii")
    return python
