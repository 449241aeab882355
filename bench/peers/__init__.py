"""Peers: the same package and the same frames through other people's runtimes, in turns.

The files run_*.py are each run in a virtual environment of their own and import nothing of this
product. Each prints, as its last line, one JSON object: the schema is `Turn` in turn.py.
"""
