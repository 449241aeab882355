"""Recorded footage: an MCAP file of a station, opened as the parts and pictures it holds.

A file with its footer is opened by its index: the records are read, the pictures are not. One
whose writer was killed is read through and checked once, and holds the parts up to its last whole
chunk. edge/core/footage.py has the form of the messages.
"""

from sensors.mcap.recording import Recording, open_recording
from sensors.mcap.recovery import Recovered, recover

__all__ = ["Recording", "Recovered", "open_recording", "recover"]
