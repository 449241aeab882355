"""The machine under a run: what it is, how late it is of itself, what it does without a station."""
