"""The operator's edge: an HTTP API that the command line speaks to."""
