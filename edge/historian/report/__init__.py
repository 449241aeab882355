"""The shift report: one page about what a station did, made from its inspection records."""
