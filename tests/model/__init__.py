"""`python -m tests.model`: the payment protocol, searched for every way to lose money."""
