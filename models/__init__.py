"""Packages, the sessions that judge with them, and what builds them.

ONNX Runtime 1.31 starts its telemetry while it is imported: a thread, a device id and a database
under the user's cache, before anybody can call disable_telemetry_events(). It asks this variable
first. Set here, because every module that imports ONNX Runtime lies below; children inherit it.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
