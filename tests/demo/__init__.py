"""`python -m tests.demo`: the service and two independent client libraries, end to end."""
