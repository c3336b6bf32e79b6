"""Lightning backends: adapters of the port in `nwc_service.backend`.

Nobody imports this package by name; entry points find its classes.
"""
