"""Numbered migrations in plain SQL; each driver fills the type tokens.

Constraints here are the last wall: what the code decides by one conditional statement, CHECK
and UNIQUE refuse once more.
"""

_MAX_MSAT = "2100000000000000000"

_FIRST = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) {strict}",
    # --- accounts and the ledger
    """CREATE TABLE account (
        account_id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        available_msat {int64} NOT NULL DEFAULT 0
            CHECK (available_msat BETWEEN 0 AND """
    + _MAX_MSAT
    + """),
        held_msat {int64} NOT NULL DEFAULT 0
            CHECK (held_msat BETWEEN 0 AND """
    + _MAX_MSAT
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
    + _MAX_MSAT
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
    + _MAX_MSAT
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
    + _MAX_MSAT
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

_GUARDS = (
    # What allowed the release, or who stated the settlement, in one word beside `proof`.
    "ALTER TABLE payment ADD COLUMN proof_kind TEXT",
    (
        "UPDATE payment SET proof_kind = CASE WHEN proof LIKE 'rule H%' THEN 'expiry'"
        " WHEN dispatched_at IS NULL OR proof LIKE 'NotSent%' THEN 'not_sent'"
        " ELSE 'final_status' END WHERE proof IS NOT NULL"
    ),
    # The backend's last word on a payment that is not final, and since when it says so.
    "ALTER TABLE payment ADD COLUMN heard TEXT",
    "ALTER TABLE payment ADD COLUMN heard_at {int64}",
    # To whom the operator assigned a receipt that waited in suspense.
    "ALTER TABLE receipt ADD COLUMN assigned_to TEXT",
    "ALTER TABLE receipt ADD COLUMN assigned_at {int64}",
    # Released after a send: asked about again, for a success may come late.
    (
        "CREATE INDEX payment_released ON payment (backend, settled_at)"
        " WHERE state = 'RELEASED' AND dispatched_at IS NOT NULL"
    ),
    "CREATE INDEX payment_released_hash ON payment (payment_hash) WHERE state = 'RELEASED'",
    (
        "CREATE INDEX payment_settled ON payment (backend, dispatched_at)"
        " WHERE state = 'SETTLED' AND kind <> 'internal'"
    ),
    "CREATE INDEX receipt_newest ON receipt (backend, created_at)",
    # I23: which receipt the cursor moved with.
    "ALTER TABLE stream ADD COLUMN payment_hash TEXT",
    # A backend that may not be used as it is, until the operator resumes it.
    """CREATE TABLE pause (
        backend TEXT PRIMARY KEY,
        stops TEXT NOT NULL CHECK (stops IN ('outgoing', 'all')),
        gravity {int64} NOT NULL,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        paused_at {int64} NOT NULL
    ) {strict}""",
    # I20: what a node counted at most, and may never count less of.
    """CREATE TABLE counter (
        backend TEXT NOT NULL,
        name TEXT NOT NULL,
        value {int64} NOT NULL,
        PRIMARY KEY (backend, name)
    ) {strict}""",
    # I19: what each backend said last that it can spend.
    """CREATE TABLE reading (
        backend TEXT PRIMARY KEY,
        spendable_msat {int64} NOT NULL CHECK (spendable_msat >= 0),
        read_at {int64} NOT NULL
    ) {strict}""",
    # What an operator decided, and why.
    """CREATE TABLE decision (
        decision_id {serial},
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        decided_at {int64} NOT NULL
    ) {strict}""",
)

_METHODS = (
    # --- connections that an app made, and what any of them may pay
    "ALTER TABLE connection ADD COLUMN parent_id TEXT REFERENCES connection (connection_id)",
    "ALTER TABLE connection ADD COLUMN request_id TEXT REFERENCES request (request_id)",
    "ALTER TABLE connection ADD COLUMN internal_only {int64} NOT NULL DEFAULT 0",
    "ALTER TABLE connection ADD COLUMN destinations TEXT",
    "ALTER TABLE connection ADD COLUMN relays_by_user {int64} NOT NULL DEFAULT 0",
    "ALTER TABLE connection ADD COLUMN lud16 TEXT",
    "ALTER TABLE connection ADD COLUMN link_state TEXT",
    "ALTER TABLE connection ADD COLUMN metadata TEXT",
    (
        "CREATE UNIQUE INDEX connection_request ON connection (request_id)"
        " WHERE request_id IS NOT NULL"
    ),
    "CREATE INDEX connection_parent ON connection (parent_id) WHERE parent_id IS NOT NULL",
    # What selects the account in a keysend's TLV 696969.
    "ALTER TABLE account ADD COLUMN keysend_id TEXT",
    "UPDATE account SET keysend_id = {random_hex}",
    "CREATE UNIQUE INDEX account_keysend ON account (keysend_id)",
    # --- one answer per item of a multi_pay, told apart by its `d` tag
    "ALTER TABLE request ADD COLUMN d_tag TEXT",
    # A request that is answered when the invoice is final.
    "ALTER TABLE request ADD COLUMN invoice_id TEXT",
    (
        "CREATE INDEX request_waiting_invoice ON request (invoice_id)"
        " WHERE answered_at IS NULL AND invoice_id IS NOT NULL"
    ),
    "CREATE INDEX request_unanswered ON request (claimed_at) WHERE answered_at IS NULL",
    # --- money out without an invoice at hand
    "ALTER TABLE payment ADD COLUMN payee TEXT",
    "ALTER TABLE payment ADD COLUMN own_preimage TEXT",
    "ALTER TABLE payment ADD COLUMN tlv_records TEXT",
    "ALTER TABLE payment ADD COLUMN offer TEXT",
    "ALTER TABLE payment ADD COLUMN payer_note TEXT",
    "ALTER TABLE payment ADD COLUMN bolt12_id TEXT",
    "CREATE INDEX payment_offer ON payment (account_id, bolt12_id) WHERE bolt12_id IS NOT NULL",
    "ALTER TABLE payment ADD COLUMN parent_budget_period {int64}",
    # --- money in: hold invoices, any amount, keysends and offers
    """CREATE TABLE invoice_with_holds (
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
        amount_msat {int64}
            CHECK (amount_msat > 0 AND amount_msat <= """
    + _MAX_MSAT
    + """),
        received_msat {int64} CHECK (received_msat > 0),
        preimage TEXT,
        metadata TEXT,
        created_at {int64} NOT NULL,
        expires_at {int64} NOT NULL,
        settled_at {int64},
        is_hold {int64} NOT NULL DEFAULT 0,
        min_cltv_expiry_delta {int64},
        accepted_at {int64},
        settle_deadline {int64},
        payer_payment_id TEXT,
        resolution TEXT CHECK (resolution IN ('settle', 'cancel')),
        offer_id TEXT,
        payer_note TEXT,
        CHECK (state <> 'SETTLED' OR (received_msat IS NOT NULL AND settled_at IS NOT NULL)),
        CHECK (is_hold = 1 OR (resolution IS NULL AND payer_payment_id IS NULL))
    ) {strict}""",
    (
        "INSERT INTO invoice_with_holds (invoice_id, account_id, connection_id, request_id,"
        " backend, state, payment_hash, invoice, description, description_hash, amount_msat,"
        " received_msat, preimage, metadata, created_at, expires_at, settled_at)"
        " SELECT invoice_id, account_id, connection_id, request_id, backend, state,"
        " payment_hash, invoice, description, description_hash, amount_msat, received_msat,"
        " preimage, metadata, created_at, expires_at, settled_at FROM invoice"
    ),
    "DROP TABLE invoice",
    "ALTER TABLE invoice_with_holds RENAME TO invoice",
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
    (
        "CREATE INDEX invoice_held ON invoice (backend, accepted_at)"
        " WHERE is_hold = 1 AND state IN ('PENDING', 'ACCEPTED')"
    ),
    "CREATE INDEX receipt_hash ON receipt (payment_hash)",
    """CREATE TABLE offer (
        offer_id TEXT PRIMARY KEY,
        account_id TEXT NOT NULL REFERENCES account (account_id),
        connection_id TEXT REFERENCES connection (connection_id),
        request_id TEXT UNIQUE REFERENCES request (request_id),
        backend TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('REQUESTED', 'ACTIVE', 'FAILED')),
        offer TEXT NOT NULL,
        node_offer_id TEXT,
        bolt12_id TEXT,
        description TEXT NOT NULL,
        issuer TEXT,
        amount_msat {int64}
            CHECK (amount_msat > 0 AND amount_msat <= """
    + _MAX_MSAT
    + """),
        single_use {int64} NOT NULL,
        metadata TEXT,
        created_at {int64} NOT NULL,
        expires_at {int64}
    ) {strict}""",
    (
        "CREATE UNIQUE INDEX offer_of_node ON offer (backend, node_offer_id)"
        " WHERE node_offer_id IS NOT NULL"
    ),
    "CREATE INDEX offer_account ON offer (account_id, bolt12_id)",
    "CREATE UNIQUE INDEX offer_string ON offer (offer) WHERE offer <> ''",
    "CREATE INDEX offer_requested ON offer (created_at) WHERE state = 'REQUESTED'",
    "CREATE INDEX invoice_offer ON invoice (offer_id, created_at) WHERE offer_id IS NOT NULL",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _GUARDS, _METHODS)
