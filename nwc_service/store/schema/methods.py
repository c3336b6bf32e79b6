"""Migration 3: what the methods beyond the core of NIP-47 need."""

from nwc_service.store.schema.bounds import MAX_MSAT

METHODS = (
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
    + MAX_MSAT
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
    + MAX_MSAT
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
