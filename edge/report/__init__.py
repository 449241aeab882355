"""The quality report: how a package fares on labelled pictures, as one page and as JSON."""
