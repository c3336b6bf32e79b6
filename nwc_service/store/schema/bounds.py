"""Bounds that the schema knows, too: the last wall."""

MAX_MSAT = "2100000000000000000"
