"""What ran: one start of a station, described for its records."""

from __future__ import annotations

import getpass
import os
from typing import Any

import msgspec

from edge.core import box
from edge.core.clock import utc_ns
from edge.core.config import Station
from edge.core.history import Session
from edge.core.ports import Clock
from models.package import Package


def session_of(
    station: Station, model: Package, provider: str, number: int, clock: Clock, *, virtual: bool
) -> Session:
    """The description of a session that begins now; number is the wire's.

    provider: the one that is to serve; each part's record says which one did.
    """
    manifest = model.manifest
    return Session(
        session=number,
        station=station.name,
        started_ns=clock.now_ns(),
        started_utc_ns=utc_ns(),
        who=_who(),
        package=manifest.name,
        version=manifest.version,
        content_sha256=model.content_sha256,
        file_sha256=model.file_sha256,
        views=manifest.views,
        provider=provider,
        threads=station.engine.threads,
        precision=manifest.precision,
        pass_below=manifest.thresholds.pass_below,
        fail_from=manifest.thresholds.fail_from,
        cpu=box.cpu(),
        instruction_sets=box.instruction_sets(),
        versions=box.libraries(),
        settings=_flat(msgspec.to_builtins(station)),
        options=msgspec.json.encode(station).decode(),
        lot=station.records.lot,
        map_shape=manifest.outputs.map_shape,
        cell_px=manifest.outputs.cell_px,
        map_threshold=manifest.outputs.map_threshold if manifest.outputs.map else None,
        type_names=manifest.outputs.type_names,
        mm_per_px=station.mm_per_px,
        virtual=virtual,
    )


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, str]:
    """Values by dotted name, as text."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[before + key] = (
                value if isinstance(value, str) else msgspec.json.encode(value).decode()
            )
    return found


def _who() -> str:
    """Who started it: the user's name and number."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        name = "?"
    return f"{name} ({os.getuid()})"
