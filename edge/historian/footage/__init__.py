"""Footage: recorded parts as MCAP files."""

from edge.historian.footage.writer import FootageWriter

__all__ = ["FootageWriter"]
