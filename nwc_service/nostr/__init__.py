"""Nostr itself, pure: events, keys, NIP-04 and NIP-44, one relay connection."""
