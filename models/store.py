"""The package store of a machine: installed packages by name and version, and who uses which.

    packages/NAME/VERSION-<12 of content_sha256>.onnx     a package, byte for byte, read-only
                  VERSION-<12>.<8 of file_sha256>.onnx    the same content, signed otherwise
    stations/NAME.json                                    models/station_state.py
    .lock                                                 held by whoever changes something

Reading takes no lock: every file is put in its place whole. A file's time is when it was installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge.core.clock import utc_ns
from edge.core.errors import PackageError
from models import installed, station_state
from models import package as packages
from models.installed import LEAST_DIGITS, NAMED_DIGITS, Installed
from models.package import Package
from models.probation import Counts
from models.station_state import StationState, Step, ref_of
from models.store_files import changing, folder_of, write


class Store:
    """One folder of packages and states; made by the first change, not by reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._packages, self._stations = self.folder / "packages", self.folder / "stations"

    @classmethod
    def at(cls, option: str | Path = "") -> Store:
        """The store that an option names, or the machine's own (models.store_files.folder_of)."""
        return cls(folder_of(option))

    # ---- packages ----

    def installed(self) -> list[Installed]:
        """One file a content (models.installed.contents); by name, the oldest version first."""
        return installed.contents(self.files())

    def files(self) -> list[Installed]:
        """Every file, also those that another of the same content stands for."""
        return installed.files(self._packages)

    def strays(self) -> list[Path]:
        """Files among the packages that nobody installed: they are never used."""
        return installed.strays(self._packages)

    def matching(self, text: str) -> list[Installed]:
        """What `find` chooses from."""
        return installed.matching(self.installed(), text)

    def find(self, text: str) -> Package:
        """The package that NAME (its newest version), NAME@VERSION or a digest's start names.

        Newest by the numbers and words of the version (models.installed.natural). PackageError
        where nothing fits, or two contents of one version, and where the file is damaged.
        """
        found = self.matching(text)
        if found and found[0].name == text:
            found = [one for one in found if one.version == found[-1].version]
        return self._one(found, text).load()

    def holding(self, content_sha256: str, file_sha256: str = "") -> Package | None:
        """The package of that content: with those bytes, else signed, else installed last.

        PackageError where there are only damaged files of it.
        """
        found = installed.loaded(self.files(), content_sha256)
        exact = [one for one in found if one.file_sha256 == file_sha256]
        return installed.best(exact or found)

    def install(self, file: str | Path | Package, *, force: bool = False) -> Package:
        """Check a package file and put a copy into the store; again is fine.

        Another content of a name and version that is there is refused, or with force kept beside
        it. No intact file is ever altered: the workers of a running station read theirs again.
        """
        package = file if isinstance(file, Package) else packages.load(file)
        with changing(self.folder):
            return self._install(package, force=force)

    def remove(self, text: str) -> list[Path]:
        """Remove one package with all its files, and say which went.

        PackageError where a station has it as active, previous or shadow, and where several fit:
        of these the newest is never taken, as `find` would.
        """
        with changing(self.folder):
            one = self._one(self.matching(text), text)
            if uses := self.uses(one.digest):
                raise PackageError(f"{one} is {', '.join(uses)}: it stays")
            same = [other.path for other in self.files() if other[:3] == one[:3]]
            for path in same:
                path.unlink()
            return same

    def uses(self, digest: str, states: Sequence[StationState] | None = None) -> list[str]:
        """Who uses a content, by 12 digits or more: "active at cell-1", ...; of all stations."""
        return [
            f"{use} at {state.station}"
            for state in (self.states() if states is None else states)
            for use, ref in state.used().items()
            if ref.content_sha256.startswith(digest)
        ]

    # ---- stations ----

    def stations(self) -> list[str]:
        """The names of all stations that the store knows."""
        return sorted(path.stem for path in self._stations.glob("*.json"))

    def states(self) -> list[StationState]:
        """Of all stations that the store knows; EdgeError naming a file that is damaged."""
        return [state for name in self.stations() if (state := self.state(name))]

    def state(self, station: str) -> StationState | None:
        """What the store remembers of a station; EdgeError naming the file if it is damaged."""
        return station_state.read(self._stations, station)

    def record(
        self,
        station: str,
        step: Step,
        *,
        who: str,
        model: str = "",
        new: Package | None = None,
        old: Package | None = None,
        reason: str = "",
        probation: Counts | None = None,
    ) -> StationState:
        """Take a step (models.station_state.after) and write it down before returning.

        model: the station file's engine.model; a state made for another is begun anew, and ""
        leaves it. old: what really served until now, which the state may not know. Both packages
        are installed where they are not, so that a rollback finds them. Three fsyncs or more, up
        to 0.1 s: never in the deadline loop's thread.
        """
        with changing(self.folder):
            for package in (old, new):
                if package is not None:
                    self._install(package, force=True)
            text = model or (new.manifest.name if new else "")
            state = station_state.begun(self.state(station), station, text, is_firm=bool(model))
            if old is not None:
                state = msgspec.structs.replace(state, active=ref_of(old))
            meant = None if new else station_state.meant(state, step)
            if meant and self.holding(meant.content_sha256) is None:
                raise PackageError(f"{meant} is not in {self.folder}: install it")
            state = station_state.after(
                state,
                step,
                at_ns=utc_ns(),
                who=who,
                new=ref_of(new) if new else None,
                reason=reason,
                probation=probation,
            )
            station_state.save(self._stations, state)
        return state

    def started(self, station: str, package: Package, *, model: str) -> None:
        """A station begins with this package: hold on to it until somebody activates another.

        Else a restart would take up a newer version that was only installed. Nothing is written on
        a machine without a store, nor where engine.model is a file, nor where the state says so.
        """
        if model.endswith(".onnx") or not self.folder.is_dir():
            return
        state = self.state(station)
        same = state is not None and state.model == model and state.active == ref_of(package)
        if not same:
            self.record(station, "start", who="the station", model=model, new=package)

    # ---- with the lock held ----

    def _install(self, package: Package, *, force: bool) -> Package:
        path = installed.place_of(package, self._packages)
        if package.path == path or installed.holds(path, package):
            return msgspec.structs.replace(package, path=path)
        named = package.manifest.name, package.manifest.version
        there = {one.digest: one for one in self.files() if one[:2] == named}
        if there and package.content_sha256[:NAMED_DIGITS] not in there and not force:
            raise PackageError(
                f"{package.path}: another {next(iter(there.values()))} is installed: "
                "give a new content a new version, or keep both with --force"
            )
        write(path, package.model_bytes(), is_read_only=True)
        return msgspec.structs.replace(package, path=path)

    def _one(self, found: list[Installed], text: str) -> Installed:
        """The only one that fits, also with the digits that its file's name does not have."""
        if len(found) == 1 and not found[0].is_meant(text):
            found = []
        if not found:
            there = ", ".join(f"{one.name}@{one.version}" for one in self.installed())
            raise PackageError(
                f"no package {text!r} in {self.folder}; there are: {there or 'none'}"
            )
        if len(found) > 1:
            names = ", ".join(map(str, found))
            raise PackageError(f"{text!r} can be: {names}; {LEAST_DIGITS} digits or more name one")
        return found[0]


def address(package: Package) -> str:
    """A package as one process tells another of it: "PATH#SHA256" of its file."""
    return f"{package.path.absolute()}#{package.file_sha256}"


def at_address(text: str) -> Package:
    """The package at an address; PackageError unless it is that very file, intact."""
    path, mark, file_sha256 = text.rpartition("#")
    if not mark or not path.startswith("/"):
        raise PackageError(f"{text[:200]!r}: a package is named by its path, # and its SHA-256")
    package = packages.load(path)
    if package.file_sha256 != file_sha256:
        raise PackageError(f"{path}: another file than was asked for")
    return package
