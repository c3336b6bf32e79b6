"""Migration 8: Lightning addresses, what their payers ask for, and receipts of zaps."""

ADDRESSES = (
    """CREATE TABLE address (
        name TEXT PRIMARY KEY,
        account_id TEXT NOT NULL REFERENCES account (account_id),
        nostr_pubkey TEXT,
        created_at {int64} NOT NULL
    ) {strict}""",
    "CREATE INDEX address_account ON address (account_id, created_at, name)",
    # Of an invoice that a payer asked for: the address, which may be gone by now.
    "ALTER TABLE invoice ADD COLUMN address TEXT",
    (
        "CREATE INDEX invoice_address_open ON invoice (address, expires_at)"
        " WHERE address IS NOT NULL AND state IN ('REQUESTED', 'PENDING', 'ACCEPTED')"
    ),
    (
        "CREATE INDEX invoice_address_gone ON invoice (expires_at)"
        " WHERE address IS NOT NULL AND state IN ('EXPIRED', 'CANCELED')"
    ),
    # A zap, from its request until its receipt was taken; `relays` are those still to be told.
    """CREATE TABLE zap (
        invoice_id TEXT PRIMARY KEY REFERENCES invoice (invoice_id),
        request TEXT NOT NULL,
        relays TEXT NOT NULL,
        receipt TEXT,
        attempts {int64} NOT NULL DEFAULT 0,
        next_at {int64} NOT NULL,
        done_at {int64}
    ) {strict}""",
    "CREATE INDEX zap_open ON zap (next_at) WHERE done_at IS NULL",
)
