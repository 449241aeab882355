"""Says what of this box decides which providers can run: `python -m models.survey`, as JSON."""

from __future__ import annotations

import sys

import msgspec

from models.session import here

if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(here()) + b"\n")
