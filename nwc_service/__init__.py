"""A self-hosted Nostr Wallet Connect (NIP-47) wallet service with its own ledger."""

__version__ = "0.1.0"
