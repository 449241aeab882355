"""Commands for the signatures of model packages."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.options import FileOrModel, StoreFolder
from edge.core.errors import PackageError

signing_app = typer.Typer()  # of `edge model`


@signing_app.command()
def keygen(
    keyfile: Annotated[
        Path, typer.Argument(help="The secret key's new file; the public one goes to NAME.pub.")
    ],
) -> None:
    """Make a key pair that signs packages."""
    from edge import signing

    public = keyfile.with_suffix(signing.PUBLIC)
    if public == keyfile:
        raise PackageError(
            f"{keyfile}: the secret key's name; {signing.PUBLIC} is the public one's"
        )
    if public.exists():
        raise PackageError(f"{public}: exists; nothing is overwritten")
    signer = signing.make(keyfile, PackageError)
    try:
        signing.publish(signer, public, PackageError)
    except PackageError:
        keyfile.unlink()  # a secret whose public half nobody has is of no use
        raise
    typer.echo(f"{keyfile} (secret, mode 0600), {public}: {signer.public.hex()}")


@signing_app.command()
def sign(
    file: Annotated[Path, typer.Argument(help="A package file.")],
    key: Annotated[Path, typer.Option(help="The secret key's file (edge model keygen).")],
    out: Annotated[Path | None, typer.Option(help="A new file; else FILE is replaced.")] = None,
    who: Annotated[str, typer.Option(help="Who signs, in words; shown, and signed too.")] = "",
) -> None:
    """Sign a package, in place of an earlier signature."""
    from edge import signing
    from edge.core.clock import utc_ns
    from models import package, signature
    from models.store_files import store_of

    if store := store_of(out or file):  # a station's workers read it again, byte for byte
        raise PackageError(
            f"{out or file}: of the store {store}, where no file is altered: sign the package's "
            "own file, or a copy (--out NEW), then: edge model install"
        )
    signer = signing.load(key, PackageError)
    loaded = package.load(file)
    _put(signature.sign(loaded, signer, who=who, utc_ns=utc_ns()), file, out)
    typer.echo(f"{out or file}: signed by {signer.public.hex()}")


@signing_app.command()
def verify(
    model: FileOrModel,
    store: StoreFolder = "",
    trusted: Annotated[
        list[str] | None, typer.Option(help="A public key or .pub file; one of them has signed.")
    ] = None,
) -> None:
    """Say what a package is and who signed it; exit code 2 unless all of it holds."""
    from models import signature
    from models.certificate import certificate_text
    from models.resolve import meant

    loaded = meant(model, store)
    keys = signature.trusted_keys(trusted or (), Path())
    found = signature.check(loaded, keys) if keys else signature.signed(loaded)
    typer.echo(f"{loaded.manifest.name} {loaded.manifest.version}: {loaded.path}, intact")
    typer.echo(f"content_sha256 {loaded.content_sha256}")
    promised = certificate_text(loaded)
    for line in promised:
        typer.echo(f"certificate: {line}")
    if found is None:
        anybody = ": anybody can have written its certificate" if promised else ""
        typer.echo(f"not signed{anybody}")
        return
    typer.echo(f"signed by {found.public}{f' ({found.who})' if found.who else ''}, {found.at}")
    typer.echo("a trusted key" if keys else "whose key that is, --trusted checks")
    if promised:
        typer.echo("the certificate is signed with it")


def _put(data: bytes, file: Path, out: Path | None) -> None:
    """Write a new file, or replace one in a single step: a station may be reading it."""
    if out is not None and out.exists() and not out.samefile(file):
        raise PackageError(f"{out}: exists; nothing is overwritten")
    target = (out or file).resolve()
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with beside.open("xb") as new:
            os.fchmod(new.fileno(), file.stat().st_mode & 0o777)
            new.write(data)
            new.flush()
            os.fsync(new.fileno())
        beside.replace(target)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise PackageError(f"{target}: cannot be written: {error.strerror}") from None
