"""`edge conformance`: a played station that holds anyone's controller against docs/wire.md."""
