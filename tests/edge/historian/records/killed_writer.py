"""A writer as a real process, to be killed: killed_writer.py DATABASE SESSION FIRST_PART.

It writes one line to standard output after each commit: the number of its last message in it.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("line", Path(__file__).with_name("conftest.py"))
assert spec is not None
assert spec.loader is not None
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)

line = conftest.Line(Path(sys.argv[1]), every=40)
line.told = line.begin(int(sys.argv[2]))
print(line.told, flush=True)
part = int(sys.argv[3])
while True:
    for _ in range(3):
        line.open(part)
        line.close(part, 0.875 if part % 5 == 0 else 0.125)
        part += 1
    line.note("confirm", part - 1, "accept")
    line.open(part)  # open across the commit
    line.books.commit(line.told)
    print(line.told, flush=True)
    line.close(part)
    part += 1
    if part % 400 == 0:
        line.books.retain(keep_parts=200)
