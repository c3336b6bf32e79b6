"""The tables of the simulated network, in steps: an older file is brought up to date."""

_FIRST = """
CREATE TABLE IF NOT EXISTS node (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    service_key BLOB NOT NULL CHECK (length(service_key) = 32),
    outside_key BLOB NOT NULL CHECK (length(outside_key) = 32),
    mode TEXT NOT NULL,
    available_msat INTEGER NOT NULL  -- at most all bitcoin
        CHECK (available_msat BETWEEN 0 AND 2100000000000000000)
) STRICT;
CREATE TABLE IF NOT EXISTS invoice (
    our_id TEXT PRIMARY KEY,
    payment_hash TEXT NOT NULL UNIQUE,
    preimage TEXT NOT NULL,
    invoice TEXT NOT NULL,
    amount_msat INTEGER CHECK (amount_msat > 0),
    status TEXT NOT NULL CHECK (status IN ('open', 'settled', 'canceled')),
    received_msat INTEGER CHECK (received_msat > 0),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    settled_at INTEGER,
    settle_index INTEGER UNIQUE,
    CHECK ((status = 'settled') = (settle_index IS NOT NULL)),
    CHECK ((status = 'settled') = (received_msat IS NOT NULL))
) STRICT;
CREATE TABLE IF NOT EXISTS outside_invoice (
    payment_hash TEXT PRIMARY KEY,
    preimage TEXT NOT NULL,
    invoice TEXT NOT NULL,
    answer TEXT NOT NULL CHECK (answer IN ('settle', 'hold', 'fail'))
) STRICT;
CREATE TABLE IF NOT EXISTS payment (
    payment_id INTEGER PRIMARY KEY AUTOINCREMENT,
    direction TEXT NOT NULL CHECK (direction IN ('incoming', 'outgoing')),
    our_id TEXT,
    payment_hash TEXT NOT NULL,
    amount_msat INTEGER NOT NULL CHECK (amount_msat > 0),
    fee_msat INTEGER NOT NULL CHECK (fee_msat >= 0),
    state TEXT NOT NULL CHECK (state IN ('pending', 'settled', 'failed', 'duplicate')),
    reason TEXT,
    created_at INTEGER NOT NULL,
    resolved_at INTEGER,
    CHECK ((state = 'failed') = (reason IS NOT NULL))
) STRICT;
CREATE INDEX IF NOT EXISTS payment_of_hash ON payment (payment_hash);
CREATE UNIQUE INDEX IF NOT EXISTS one_live_payment ON payment (payment_hash)
    WHERE direction = 'outgoing' AND state IN ('pending', 'settled');
CREATE VIEW IF NOT EXISTS send AS
    SELECT payment.*, CASE state WHEN 'settled' THEN preimage END AS proof
    FROM payment LEFT JOIN outside_invoice USING (payment_hash)
    WHERE direction = 'outgoing';
"""

# An update has the place in the order that the settling had before, so cursors stay good.
_KEYSEND_HOLD_OFFER = """
ALTER TABLE node ADD COLUMN mined_blocks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE node ADD COLUMN keysend_answer TEXT NOT NULL DEFAULT 'settle'
    CHECK (keysend_answer IN ('settle', 'hold', 'fail'));

CREATE TABLE offer (
    offer_id TEXT PRIMARY KEY,
    our_id TEXT NOT NULL UNIQUE,
    offer TEXT NOT NULL UNIQUE,
    amount_msat INTEGER CHECK (amount_msat > 0),
    single_use INTEGER NOT NULL CHECK (single_use IN (0, 1)),
    expires_at INTEGER
) STRICT;
CREATE TABLE outside_offer (
    offer TEXT PRIMARY KEY,
    amount_msat INTEGER CHECK (amount_msat > 0),
    answer TEXT NOT NULL CHECK (answer IN ('settle', 'hold', 'fail')),
    expires_at INTEGER
) STRICT;

ALTER TABLE invoice RENAME TO old_invoice;
CREATE TABLE invoice (
    our_id TEXT UNIQUE,  -- of what the service asked for
    payment_hash TEXT PRIMARY KEY,
    preimage TEXT,
    invoice TEXT NOT NULL,
    amount_msat INTEGER CHECK (amount_msat > 0),
    status TEXT NOT NULL CHECK (status IN ('open', 'accepted', 'settled', 'canceled')),
    received_msat INTEGER CHECK (received_msat > 0),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    settled_at INTEGER,
    is_hold INTEGER NOT NULL DEFAULT 0 CHECK (is_hold IN (0, 1)),
    hold_blocks INTEGER CHECK (hold_blocks > 0),
    settle_deadline INTEGER,
    tlv_records TEXT,
    offer_id TEXT REFERENCES offer,
    CHECK (preimage IS NOT NULL OR (is_hold = 1 AND status <> 'settled')),
    CHECK ((status = 'settled') = (settled_at IS NOT NULL)),
    CHECK ((status IN ('accepted', 'settled')) = (received_msat IS NOT NULL)),
    CHECK ((status = 'accepted') = (settle_deadline IS NOT NULL)),
    CHECK ((is_hold = 1) = (hold_blocks IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX one_invoice_of_a_text ON invoice (invoice) WHERE invoice <> '';
CREATE INDEX held_invoice ON invoice (settle_deadline) WHERE status = 'accepted';
CREATE TABLE invoice_update (
    update_id INTEGER PRIMARY KEY AUTOINCREMENT,
    payment_hash TEXT NOT NULL REFERENCES invoice,
    status TEXT NOT NULL CHECK (status IN ('accepted', 'settled')),
    UNIQUE (payment_hash, status)
) STRICT;
INSERT INTO invoice (our_id, payment_hash, preimage, invoice, amount_msat, status,
                     received_msat, created_at, expires_at, settled_at)
    SELECT our_id, payment_hash, preimage, invoice, amount_msat, status, received_msat,
           created_at, expires_at, settled_at FROM old_invoice;
INSERT INTO invoice_update (update_id, payment_hash, status)
    SELECT settle_index, payment_hash, 'settled' FROM old_invoice WHERE status = 'settled';
DROP TABLE old_invoice;

ALTER TABLE outside_invoice ADD COLUMN amount_msat INTEGER;
ALTER TABLE outside_invoice ADD COLUMN expires_at INTEGER;
ALTER TABLE outside_invoice ADD COLUMN offer TEXT REFERENCES outside_offer;
ALTER TABLE outside_invoice ADD COLUMN payer_note TEXT;

ALTER TABLE payment ADD COLUMN preimage TEXT;  -- of a keysend
ALTER TABLE payment ADD COLUMN tlv_records TEXT;  -- of a keysend
ALTER TABLE payment ADD COLUMN payer_note TEXT;
DROP VIEW send;
CREATE VIEW send AS
    SELECT payment.*,
           CASE state WHEN 'settled'
                THEN coalesce(payment.preimage, outside_invoice.preimage) END AS proof
    FROM payment LEFT JOIN outside_invoice USING (payment_hash)
    WHERE direction = 'outgoing';
"""

STEPS = (_FIRST, _KEYSEND_HOLD_OFFER)
