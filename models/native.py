"""The compiled helper between a session and its answer; None where it was not built.

After each session.run the worker's caches hold nothing but activations, and every call into NumPy
or OpenCV first fetches its code: of one part of `deeppcb` on 2 cores the envelope took 0.33 ms in
26 such calls (0.14 when repeated), the map's peak 0.09. One call each brings that to 0.05 and 0.01.
`helper` has `measure`, `agreement` and `regions` (models/_native.c); whoever uses it has a road
in Python that comes to the same. One that was built from an older source is left alone.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import Any

RECORD_BYTES = 20  # of a region (models.decode.REGION)

helper: Any = None
with suppress(ImportError):  # no compiler at installation
    helper = importlib.import_module("models._native")
if getattr(helper, "RECORD", None) != RECORD_BYTES:
    helper = None
