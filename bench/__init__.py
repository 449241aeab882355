"""Benches, which measure a box without ONNX Runtime's telemetry as the product runs without it."""

import models as models  # first: see there
