"""Key files: their modes, and one clear line for each way they can be wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from control import keys
from edge.core.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_made_key_is_its_owners_alone_and_reads_back(folder, umask):
    before = os.umask(umask)
    try:
        key = keys.make(folder, "station")
    finally:
        os.umask(before)
    assert [mode(folder), mode(folder / "station.key"), mode(folder / "station.pub")] == [
        0o700,
        0o600,
        0o644,
    ]
    assert keys.load_secret(folder / "station.key") == key
    assert key.secret not in repr(key)
    assert key.secret not in (folder / "station.pub").read_text()
    assert keys.load_public("station.pub", folder) == key.public
    assert keys.load_public(str(folder / "station.pub"), "/") == key.public
    assert keys.load_public(key.public, folder) == key.public


@pytest.mark.parametrize("name", ["", "a" * 61, "a/b", "a b", "é", "a\n"])
def test_a_name_is_plain(folder, name):
    with pytest.raises(ConfigError, match=r"key name .*: allowed: 1 to 60 of"):
        keys.make(folder, name)
    assert not folder.exists()


@pytest.mark.parametrize("end", [keys.SECRET, keys.PUBLIC])
def test_a_key_is_never_replaced_nor_half_made(folder, end):
    keys.make(folder, "arm")
    other = folder / ("arm" + ({keys.SECRET, keys.PUBLIC} - {end}).pop())
    other.unlink()
    before = (folder / ("arm" + end)).read_text()
    with pytest.raises(ConfigError, match=rf"arm\{end}: is there already"):
        keys.make(folder, "arm")
    assert (folder / ("arm" + end)).read_text() == before
    assert not other.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file: cannot be made: File exists"):
        keys.make(tmp_path / "file", "arm")


def test_listed(folder):
    assert keys.listed(folder) == []
    open_, whole, public_only = (keys.make(folder, name) for name in ("a", "b", "c"))
    (folder / "a.key").chmod(0o640)
    (folder / "c.key").unlink()
    assert keys.listed(folder) == [
        keys.Listing("a", open_.public, True, False),
        keys.Listing("b", whole.public, True, True),
        keys.Listing("c", public_only.public, False, True),
    ]
    (folder / "b.pub").write_text(f'public = "{open_.public}"\n')
    with pytest.raises(ConfigError, match=r"b\.pub: not the public half of .*b\.key"):
        keys.listed(folder)


@pytest.mark.parametrize("bits", [0o040, 0o004, 0o020, 0o001])
def test_a_secret_open_to_others_is_refused(folder, bits):
    keys.make(folder, "arm")
    (folder / "arm.key").chmod(0o600 | bits)
    with pytest.raises(ConfigError, match=rf"arm\.key: mode 0{0o600 | bits:o} .*chmod 600 "):
        keys.load_secret(folder / "arm.key")


GOOD, OTHER = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
SECRET = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file"),
        ("\x00", "not TOML"),
        ('public = "x', "not TOML"),
        (f'public = "{GOOD}"', "secret: missing"),
        (f'secret = "{SECRET}"', "public: missing"),
        (f'public = 1\nsecret = "{SECRET}"', "public: expected `str`"),
        (f'public = "{GOOD}"\nsecret = "{SECRET}"\nx = 1', "x: unknown key"),
        (f'public = "{GOOD[1:]}"\nsecret = "{SECRET}"', "public: allowed: 40 Z85 .* got 39"),
        (f'public = "{GOOD}"\nsecret = "{SECRET[:-1]}~"', "secret: allowed: 40 Z85"),
        (f'public = "{GOOD}"\nsecret = "{"#" * 40}"', "secret: allowed: 40 Z85"),
        (f'public = "{OTHER}"\nsecret = "{SECRET}"', "do not belong together"),
    ],
)
def test_a_damaged_secret_file_is_one_line_without_the_secret(tmp_path, text, words):
    path = tmp_path / "arm.key"
    if text is not None:
        path.write_text(text)
        path.chmod(0o600)
    with pytest.raises(ConfigError, match=rf"arm\.key: .*{words}") as caught:
        keys.load_secret(path)
    assert "\n" not in str(caught.value)
    assert SECRET[:20] not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("absent.pub", r"absent\.pub: cannot be read"),
        ("arm.key", "allowed: 40 Z85 characters | the path of a .pub file"),
        (GOOD[:-1], "allowed: 40 Z85 characters"),
        ("#" * 40, "allowed: 40 Z85 characters"),
        ("", "allowed: 40 Z85 characters"),
        ("secret.pub", "secret: unknown key"),
        ("short.pub", "public: allowed: 40 Z85 characters, got 3"),
    ],
)
def test_a_public_key_is_itself_or_a_pub_file(tmp_path, given, words):
    keys.make(tmp_path, "arm")
    (tmp_path / "secret.pub").write_text(f'public = "{GOOD}"\nsecret = "{SECRET}"\n')
    (tmp_path / "short.pub").write_text('public = "abc"\n')
    with pytest.raises(ConfigError, match=words):
        keys.load_public(given, tmp_path)


def test_a_path_that_looks_like_a_key_is_a_path_where_it_is_there(tmp_path):
    name = "a" * 36
    key = keys.make(tmp_path, name)
    assert keys.is_z85(name + ".pub")
    assert keys.load_public(name + ".pub", tmp_path) == key.public
    assert keys.load_public("b" * 36 + ".pub", tmp_path) == "b" * 36 + ".pub"
