"""Who may connect to a station: from the keys named in its file to the gates of its sockets.

A socket that others can reach needs keys; loopback and ipc may do without.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import zmq

from control.gate import Gate, is_local, secure_client
from control.keys import Key, load_public, load_secret
from edge.core.clock import now_ns
from edge.core.config import ControllerOptions, PublishOptions
from edge.core.errors import ConfigError

Event = Callable[[str, int, str], None]
GateFor = Callable[["zmq.Context[zmq.Socket[bytes]]"], Gate]

LISTENER = "listener"  # a key that may only listen to what is published


def controller_gate(options: ControllerOptions, folder: Path, event: Event) -> GateFor | None:
    """Who may be a controller, None for anyone on this machine; ConfigError for keys missing.

    folder: where relative key files of the station file are looked up.
    """
    if not options.key:
        if not is_local(options.bind):
            raise ConfigError(_keyless("controller.bind", options.bind))
        if options.allow:
            raise ConfigError("controller.allow: needs controller.key, the station's own .key file")
        return None
    if not options.allow:
        wanted = "[[controller.allow]] with key and role"
        raise ConfigError(f"controller.allow: empty, so nobody could connect; allowed: {wanted}")
    return _gate(
        "edge.controllers", load_secret(folder / options.key), _roles(options, folder), event
    )


def publish_gate(
    options: PublishOptions, controller: ControllerOptions, folder: Path, event: Event
) -> GateFor | None:
    """Who may listen: the controllers' keys and those of [publish]; None for anyone here."""
    if not controller.key:
        if not is_local(options.bind):
            raise ConfigError(_keyless("publish.bind", options.bind))
        if options.allow:
            raise ConfigError("publish.allow: needs controller.key, the station's own .key file")
        return None
    allowed = _roles(controller, folder)
    for key in options.allow:
        allowed.setdefault(load_public(key, folder), frozenset({LISTENER}))
    return _gate("edge.publish", load_secret(folder / controller.key), allowed, event)


def client_of(key: Path | None, server_key: str) -> Callable[[zmq.Socket[bytes]], None] | None:
    """What makes a controller's socket a client of a station with keys; None without keys."""
    if key is None and not server_key:
        return None
    if key is None or not server_key:
        raise ConfigError("--key and --server-key: one needs the other")
    own, server = load_secret(key), load_public(server_key, Path())
    return lambda socket: secure_client(socket, own, server)


def _keyless(key: str, address: str) -> str:
    return (
        f"{key} = {address}: others can reach it, so controller.key and [[controller.allow]] are "
        "needed (edge keys make NAME); allowed without: tcp://127.0.0.1:PORT | ipc://PATH"
    )


def _roles(options: ControllerOptions, folder: Path) -> dict[str, frozenset[str]]:
    roles: defaultdict[str, set[str]] = defaultdict(set)
    for allowed in options.allow:
        roles[load_public(allowed.key, folder)].add(allowed.role)
    return {key: frozenset(names) for key, names in roles.items()}


def _gate(domain: str, server: Key, allowed: dict[str, frozenset[str]], event: Event) -> GateFor:
    return partial(Gate, domain=domain, server=server, allowed=allowed, event=event, now_ns=now_ns)
