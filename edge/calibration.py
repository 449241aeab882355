"""Limits for a package from known parts: its own session judges them, and a certificate is made.

The pictures take the station's decision path (edge/report/judge.py): fit, envelope, engine worker.
models/calibrate.py chooses the limits, models/relimited.py seals the package with them, and
models/certificate.py says what was proven.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge.core import box
from edge.core.clock import utc_ns
from edge.core.errors import EdgeError, FootageError
from edge.core.types import Fault
from edge.report.judge import Judged, Known, data_sha256, inspector, judged, only, open_known
from models import calibrate, certificate, tiles
from models import package as packages
from models.calibrate import Asked, Choice, Units, choose, fared, shortfall, units_of
from models.certificate import Certificate, Data, Promise, Unit
from models.package import Package
from models.relimited import relimited
from models.splits import dealt
from models.store_files import store_of, utc_text

CALIB = "calib"
_UNREAD = frozenset((Fault.NO_IMAGE, Fault.BAD_FRAME))


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What limits are wanted for, and what they are to keep to.

    unit: None for the group where the data name groups, else the picture. version: of the new
    package; "" for the old one with .1 behind it. who: shown in the certificate.
    """

    package: Package
    data: Path
    asked: Asked
    split: str = CALIB
    unit: Unit | None = None
    provider: str = "cpu"
    threads: int = 2
    version: str = ""
    who: str = ""


class Calibration(msgspec.Struct, frozen=True):
    """What came of it: the certificate and the bytes of the package that it is appended to.

    shortfall: what is missing for what was asked, in a line; "" where it is kept. golden: how many
    parts of the golden set stayed, of how many.
    """

    certificate: Certificate
    shortfall: str
    golden: tuple[int, int]
    data: bytes

    def result(self) -> dict[str, object]:
        """For --json: all but the bytes."""
        return {"certificate": self.certificate, "shortfall": self.shortfall}


def calibration(
    request: Request, tell: Callable[[int, int], None] = lambda done, of: None
) -> Calibration:
    """Judge the pictures, choose limits, and make the package that has them.

    tell: pictures judged, of how many. FootageError for data that cannot be counted, PackageError
    where the package cannot have such limits, EdgeError for a provider that cannot run.
    """
    package = tiles.shown(request.package, None)
    known = _known(request, package)
    with inspector(package, request.provider, request.threads) as by:
        rows = judged(known, by, tell)
    unread = [row for row in rows if row.fault in _UNREAD]
    if unread:
        raise FootageError(f"{request.data}: {unread[0].name}: {unread[0].reason}")
    unit = request.unit or ("group" if any(row.group for row in rows) else "picture")
    names = _names(rows, known, unit, request.data)
    units = units_of(
        calibrate.Judged(name, row.defect, row.score) for name, row in zip(names, rows, strict=True)
    )
    try:
        choice = choose(units, request.asked)
    except ValueError:
        other = "; --unit picture counts each picture by itself" * (unit == "group")
        raise FootageError(
            f"{request.data}: {len(units.defective)} defective and {len(units.good)} good {unit}s: "
            f"of each kind one that is fit to judge is needed{other}"
        ) from None
    made = relimited(
        package,
        choice.limits,
        version=request.version or f"{package.manifest.version}.1",
        seen=[bytes.fromhex(one) for one in known.sha256],
    )
    data = Data(
        name=request.data.resolve().name,
        split=request.split,
        pictures=len(rows),
        left_out=units.left_out,
        pictures_sha256=data_sha256(known.sha256),
        labels_sha256=_labels_sha256(rows, known, names),
    )
    held = _certificate(request, choice, units, unit, data, packages.content_of(made.data))
    return Calibration(
        certificate=held,
        shortfall=shortfall(choice, units, request.asked),
        golden=(made.kept, made.had),
        data=packages.append(made.data, certificate.KEY, certificate.encoded(held)),
    )


def _certificate(
    request: Request, choice: Choice, units: Units, unit: Unit, data: Data, content_sha256: str
) -> Certificate:
    asked, limits, libraries = request.asked, choice.limits, box.libraries()
    ran = [f"{name} {libraries[name]}" for name in libraries if name.startswith(("onnx", "edge"))]
    return Certificate(
        content_sha256=content_sha256,
        pass_below=limits.pass_below,
        fail_from=limits.fail_from,
        confidence=asked.confidence,
        unit=unit,
        escape=Promise(asked=asked.escape, bound=choice.escape),
        overkill=Promise(asked=asked.overkill, bound=choice.overkill),
        uncaught=choice.uncaught,
        failed=choice.failed,
        defective=fared(units.defective, limits),
        good=fared(units.good, limits),
        data=data,
        provider=request.provider,
        threads=request.threads,
        library=", ".join(ran),
        processor=" ".join((box.cpu(), *box.instruction_sets()))[:200],
        who=request.who,
        at=utc_text(utc_ns()),
    )


# ---- which pictures, and of which units ----


def _known(request: Request, package: Package) -> Known:
    """The labelled pictures that limits may be chosen on; FootageError where they are not."""
    folder, split = request.data, request.split
    if not folder.is_dir():
        raise FootageError(f"{folder}: not a folder with a manifest.csv, or with good/ and defect/")
    known = open_known(folder, package, split)
    seen = package.manifest.pictures.digests()
    learned = sum(bytes.fromhex(one) in seen for one in known.sha256)
    if (folder / "manifest.csv").is_file():
        if learned and split != CALIB:
            raise FootageError(
                f"{folder}: {package.manifest.name} has seen {learned} of the {len(known.sha256)} "
                f"pictures of split {split}; allowed: --split {CALIB}, or pictures that it has not"
            )
        return known
    return _of_split(known, split, seen, folder) if learned else known


def _of_split(known: Known, split: str, seen: frozenset[bytes], folder: Path) -> Known:
    """One split of the folders that a package was built from, dealt as the build dealt it."""
    split_of: dict[bytes, str] = {}
    for label in ("good", "defect"):
        rows = zip(known.sha256, known.footage.rows, strict=True)
        split_of |= dealt(bytes.fromhex(one) for one, row in rows if row.label == label)
    built = {one for one, its in split_of.items() if its in ("train", CALIB)}
    if built != seen:
        raise FootageError(
            f"{folder}: the package has seen some of these pictures, and they are not those of its "
            "build: give a manifest.csv with splits, or pictures that it has not seen"
        )
    taken = [
        place for place, one in enumerate(known.sha256) if split_of[bytes.fromhex(one)] == split
    ]
    if not taken:
        raise FootageError(f"{folder}: no pictures of split {split!r}; it has train, calib, test")
    digests = tuple(known.sha256[place] for place in taken)
    return msgspec.structs.replace(known, footage=only(known, taken), sha256=digests)


def _names(rows: list[Judged], known: Known, unit: Unit, folder: Path) -> list[str]:
    """The unit of each picture: its group, or itself, copies under other names included."""
    if unit == "picture":
        return list(known.sha256)
    for row in rows:
        if not row.group:
            raise FootageError(f"{folder}: {row.name}: no group; allowed: a group, --unit picture")
    return [row.group for row in rows]


def _labels_sha256(rows: list[Judged], known: Known, names: list[str]) -> str:
    """SHA-256 of one line a picture, sorted: digest, label, unit."""
    lines = sorted(
        f"{digest} {'defect' if row.defect else 'good'} {name}\n"
        for digest, row, name in zip(known.sha256, rows, names, strict=True)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_new(made: Calibration, out: Path) -> None:
    """Write the package as a new file; EdgeError where it cannot be, or something is there."""
    if store := store_of(out):
        raise EdgeError(f"{out}: of the store {store}: write elsewhere, then: edge model install")
    try:
        with out.open("xb") as file:
            file.write(made.data)
    except FileExistsError:
        raise EdgeError(f"{out}: exists; nothing is overwritten") from None
    except OSError as error:
        out.unlink(missing_ok=True)  # what there is of it is no package
        raise EdgeError(f"{out}: cannot be written: {error.strerror}") from None
