"""The inspection records: one SQLite file, a hash chain of events, and what follows from them."""
