"""Relays that other people run, spoken to over websockets."""
