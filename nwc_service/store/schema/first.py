"""Migration 1: accounts, the ledger, connections, requests, payments and invoices."""

from nwc_service.store.schema.bounds import MAX_MSAT

FIRST = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) {strict}",
    # --- accounts and the ledger
    """CREATE TABLE account (
        account_id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        available_msat {int64} NOT NULL DEFAULT 0
            CHECK (available_msat BETWEEN 0 AND """
    + MAX_MSAT
    + """),
        held_msat {int64} NOT NULL DEFAULT 0
            CHECK (held_msat BETWEEN 0 AND """
    + MAX_MSAT
    + """),
        created_at {int64} NOT NULL
    ) {strict}""",
    # The operator's side: one row per node, loss, suspense, equity.
    """CREATE TABLE book (
        name TEXT PRIMARY KEY,
        balance_msat {int64} NOT NULL DEFAULT 0
    ) {strict}""",
    """CREATE TABLE entry (
        entry_id {serial},
        kind TEXT NOT NULL,
        source TEXT NOT NULL,
        destination TEXT NOT NULL,
        amount_msat {int64} NOT NULL
            CHECK (amount_msat > 0 AND amount_msat <= """
    + MAX_MSAT
    + """),
        payment_id TEXT,
        invoice_id TEXT,
        reason TEXT,
        created_at {int64} NOT NULL
    ) {strict}""",
    "CREATE INDEX entry_payment ON entry (payment_id) WHERE payment_id IS NOT NULL",
    "{append_only_entry_update}",
    "{append_only_entry_delete}",
    # --- connections and budgets
    """CREATE TABLE connection (
        connection_id TEXT PRIMARY KEY,
        account_id TEXT NOT NULL REFERENCES account (account_id),
        app TEXT NOT NULL,
        wallet_pubkey TEXT NOT NULL UNIQUE,
        client_pubkey TEXT NOT NULL,
        scopes TEXT NOT NULL,
        notifications TEXT NOT NULL,
        encryption TEXT NOT NULL,
        relays TEXT NOT NULL,
        budget_msat {int64} CHECK (budget_msat > 0),
        budget_renewal TEXT,
        max_payment_msat {int64} CHECK (max_payment_msat > 0),
        created_at {int64} NOT NULL,
        expires_at {int64},
        revoked_at {int64},
        CHECK ((budget_msat IS NULL) = (budget_renewal IS NULL))
    ) {strict}""",
    "CREATE INDEX connection_account ON connection (account_id)",
    """CREATE TABLE budget_period (
        connection_id TEXT NOT NULL REFERENCES connection (connection_id),
        period_start {int64} NOT NULL,
        used_msat {int64} NOT NULL DEFAULT 0 CHECK (used_msat >= 0),
        PRIMARY KEY (connection_id, period_start)
    ) {strict}""",
    # --- requests that change something, each claimed once for ever, and their answers
    """CREATE TABLE request (
        request_id TEXT PRIMARY KEY,
        connection_id TEXT NOT NULL REFERENCES connection (connection_id),
        method TEXT NOT NULL,
        encryption TEXT NOT NULL,
        created_at {int64} NOT NULL,
        claimed_at {int64} NOT NULL,
        payment_id TEXT,
        answered_at {int64}
    ) {strict}""",
    (
        "CREATE INDEX request_waiting ON request (payment_id)"
        " WHERE answered_at IS NULL AND payment_id IS NOT NULL"
    ),
    """CREATE TABLE outbox (
        outbox_id {serial},
        connection_id TEXT NOT NULL REFERENCES connection (connection_id),
        request_id TEXT UNIQUE REFERENCES request (request_id),
        event_id TEXT NOT NULL UNIQUE,
        event TEXT NOT NULL,
        created_at {int64} NOT NULL,
        published_at {int64},
        abandoned_at {int64}
    ) {strict}""",
    (
        "CREATE INDEX outbox_open ON outbox (outbox_id)"
        " WHERE published_at IS NULL AND abandoned_at IS NULL"
    ),
    "CREATE INDEX outbox_created ON outbox (created_at)",
    # --- money out
    """CREATE TABLE payment (
        payment_id TEXT PRIMARY KEY,
        account_id TEXT NOT NULL REFERENCES account (account_id),
        connection_id TEXT REFERENCES connection (connection_id),
        kind TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN
            ('RESERVED', 'DISPATCHED', 'UNKNOWN', 'SETTLED', 'RELEASED')),
        backend TEXT,
        payment_hash TEXT NOT NULL,
        invoice TEXT NOT NULL,
        description TEXT NOT NULL,
        description_hash TEXT,
        amount_msat {int64} NOT NULL
            CHECK (amount_msat > 0 AND amount_msat <= """
    + MAX_MSAT
    + """),
        amount_is_override {int64} NOT NULL,
        fee_reserve_msat {int64} NOT NULL CHECK (fee_reserve_msat >= 0),
        fee_msat {int64} CHECK (fee_msat >= 0 AND fee_msat <= fee_reserve_msat),
        preimage TEXT,
        metadata TEXT,
        created_at {int64} NOT NULL,
        expires_at {int64} NOT NULL,
        dispatched_at {int64},
        unpayable_at {int64},
        accepted_at {int64},
        settled_at {int64},
        proof TEXT,
        budget_period {int64},
        CHECK (state <> 'SETTLED' OR (preimage IS NOT NULL AND fee_msat IS NOT NULL)),
        CHECK (state <> 'RELEASED' OR proof IS NOT NULL),
        CHECK (state NOT IN ('DISPATCHED', 'UNKNOWN') OR backend IS NOT NULL)
    ) {strict}""",
    # I5: at most one live or settled payment per hash in the whole ledger; settled ones stay.
    "CREATE UNIQUE INDEX payment_hash_once ON payment (payment_hash) WHERE state <> 'RELEASED'",
    "CREATE INDEX payment_account ON payment (account_id, created_at, payment_id)",
    "CREATE INDEX payment_account_hash ON payment (account_id, payment_hash)",
    (
        "CREATE INDEX payment_live ON payment (account_id)"
        " WHERE state IN ('RESERVED', 'DISPATCHED', 'UNKNOWN')"
    ),
    # --- money in
    """CREATE TABLE invoice (
        invoice_id TEXT PRIMARY KEY,
        account_id TEXT NOT NULL REFERENCES account (account_id),
        connection_id TEXT REFERENCES connection (connection_id),
        request_id TEXT UNIQUE REFERENCES request (request_id),
        backend TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN
            ('REQUESTED', 'PENDING', 'ACCEPTED', 'SETTLED', 'EXPIRED', 'CANCELED')),
        payment_hash TEXT UNIQUE,
        invoice TEXT NOT NULL,
        description TEXT NOT NULL,
        description_hash TEXT,
        amount_msat {int64} NOT NULL
            CHECK (amount_msat > 0 AND amount_msat <= """
    + MAX_MSAT
    + """),
        received_msat {int64} CHECK (received_msat > 0),
        preimage TEXT,
        metadata TEXT,
        created_at {int64} NOT NULL,
        expires_at {int64} NOT NULL,
        settled_at {int64},
        CHECK (state <> 'SETTLED' OR (received_msat IS NOT NULL AND settled_at IS NOT NULL))
    ) {strict}""",
    "CREATE UNIQUE INDEX invoice_string ON invoice (invoice) WHERE invoice <> ''",
    "CREATE INDEX invoice_account ON invoice (account_id, created_at, invoice_id)",
    (
        "CREATE INDEX invoice_open ON invoice (backend, expires_at)"
        " WHERE state IN ('REQUESTED', 'PENDING', 'ACCEPTED')"
    ),
    (
        "CREATE INDEX invoice_account_open ON invoice (account_id, expires_at)"
        " WHERE state IN ('REQUESTED', 'PENDING', 'ACCEPTED')"
    ),
    # I6: one credit per (backend, payment hash, htlc set), in the credit's own transaction.
    """CREATE TABLE receipt (
        backend TEXT NOT NULL,
        payment_hash TEXT NOT NULL,
        htlc_set TEXT NOT NULL DEFAULT '',
        amount_msat {int64} NOT NULL CHECK (amount_msat > 0),
        invoice_id TEXT,
        created_at {int64} NOT NULL,
        PRIMARY KEY (backend, payment_hash, htlc_set)
    ) {strict}""",
    # Invoices paid inside the ledger, to be cancelled at their node.
    """CREATE TABLE cancellation (
        backend TEXT NOT NULL,
        payment_hash TEXT NOT NULL,
        created_at {int64} NOT NULL,
        done_at {int64},
        PRIMARY KEY (backend, payment_hash)
    ) {strict}""",
    "CREATE INDEX cancellation_open ON cancellation (backend) WHERE done_at IS NULL",
    """CREATE TABLE stream (
        backend TEXT PRIMARY KEY,
        cursor TEXT NOT NULL
    ) {strict}""",
    # What an operator must look at.
    """CREATE TABLE alarm (
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail TEXT NOT NULL,
        raised_at {int64} NOT NULL,
        PRIMARY KEY (kind, subject)
    ) {strict}""",
)
