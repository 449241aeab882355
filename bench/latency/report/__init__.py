"""A run as a person reads it: a table, a page, a comparison."""
