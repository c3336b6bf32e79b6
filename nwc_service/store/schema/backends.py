"""Migration 4: an account has a backend of its own."""

BACKENDS = (
    # Of accounts that were there before: filled with the default one at the next start.
    "ALTER TABLE account ADD COLUMN backend TEXT",
)
