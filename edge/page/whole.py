"""Pages are written whole or not at all: a browser may look at any instant."""

from __future__ import annotations

import os
from pathlib import Path

from edge.core.errors import ConfigError


def write_whole(html: Path, text: str) -> None:
    """Write a page's text; ConfigError where it cannot be written, and the old one stays."""
    part = html.with_name(f"{html.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="replace")
        part.replace(html)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(f"{html}: cannot be written: {error.strerror}") from None
