"""Migration 2: proofs, decisions, the guards of the nodes, and what became of old payments."""

GUARDS = (
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
