"""Which package a name means: at the start of a station, and for a person who activates one."""

from __future__ import annotations

from pathlib import Path

from edge.core.config import EngineOptions, Station
from edge.core.errors import PackageError
from models import package as packages
from models.package import Package
from models.store import Store


def resolve(station: Station, store: Store) -> tuple[Package, str]:
    """The package that a station begins with, and why this one, in a few words.

    engine.model is a file: that file. Else a name, in this order: what the store has as active for
    the station, if that was for the same engine.model; what is installed under the name, the newest
    where no version is given; the zoo. engine.content_sha256 must hold of what is found, and wins
    over the state and over newer versions. PackageError where nothing fits, or it is damaged.
    """
    options = station.engine
    text, pin = options.model, options.content_sha256.lower()
    if text.endswith(".onnx"):
        return packages.find(text, content_sha256=pin or None), "the file that engine.model names"
    state, passed_over = store.state(station.name), ""
    if state is not None and state.active is not None:
        active = state.active
        if state.model != text:
            passed_over = f"; {active} was active for engine.model {state.model!r}"
        elif pin and active.content_sha256 != pin:
            passed_over = f"; {active} was active, but is not what engine.content_sha256 pins"
        elif found := store.holding(active.content_sha256, active.file_sha256):
            return found, f"active since {state.since}"
        else:
            why = f"{active}, active at {station.name}, is not in {store.folder}"
            raise PackageError(f"{why}: install it, or activate another")
    found, why = _pinned(text, pin, store) if pin else _named(text, store)
    return found, why + passed_over


def meant(text: str, folder: str | Path = "") -> Package:
    """The package that a person means: a file (.onnx), or what a station would begin with that has
    the text as engine.model and no state. Nothing is installed.

    folder: the store's, as models.store.Store.at. PackageError, with all names there are, where
    the text is none of them.
    """
    if text.endswith(".onnx"):
        return packages.load(text)
    return _named(text, Store.at(folder))[0]


def installed(text: str, store: Store) -> Package:
    """The package that a person names, from the store; one of the zoo is installed for that.

    PackageError as of `meant`, and for a file, which is to be installed first.
    """
    if text.endswith(".onnx"):
        raise PackageError(f"{text}: a file is installed first: edge model install {text}")
    found = meant(text, store.folder)
    return found if store.matching(text) else store.install(found)


def check_pin(options: EngineOptions, package: Package) -> None:
    """PackageError where the station file pins another content than this package's."""
    pin = options.content_sha256.lower()
    if pin and package.content_sha256 != pin:
        manifest = package.manifest
        raise PackageError(
            f"{manifest.name}@{manifest.version} {package.content_sha256[:12]}: the station file "
            f"admits {pin[:12]} alone (engine.content_sha256)"
        )


def _named(text: str, store: Store) -> tuple[Package, str]:
    if store.matching(text):
        found = store.find(text)
        is_name = found.manifest.name == text
        return found, "the newest that is installed" if is_name else "installed"
    return _of_the_zoo(text, store), "from the zoo"


def _pinned(text: str, pin: str, store: Store) -> tuple[Package, str]:
    why = "pinned by engine.content_sha256"
    found = store.holding(pin)
    if found is None:
        return _of_the_zoo(text, store, pin), why
    if not any(pin.startswith(one.digest) for one in store.matching(text)):
        name = f"{found.manifest.name}@{found.manifest.version}"
        raise PackageError(f"engine.content_sha256 pins {name}, engine.model names {text!r}")
    return found, why


def _of_the_zoo(text: str, store: Store, pin: str = "") -> Package:
    name, _, version = text.partition("@")
    if name in packages.zoo_index():
        found = packages.find(name, content_sha256=pin or None)
        if version in ("", found.manifest.version):
            return found
    there = ", ".join(f"{one.name}@{one.version}" for one in store.installed())
    shipped = (packages.find(name).manifest for name in sorted(packages.zoo_index()))
    zoo = ", ".join(f"{one.name}@{one.version}" for one in shipped)
    raise PackageError(
        f"no package named {text!r}; installed in {store.folder}: {there or 'none'}; "
        f"in the zoo: {zoo}"
    )
