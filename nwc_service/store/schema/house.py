"""Migration 7: limits of accounts, pauses, requests told apart by a key, sign-ins, samples."""

HOUSE = (
    "ALTER TABLE connection ADD COLUMN paused_at {int64}",
    "CREATE INDEX connection_created ON connection (created_at, connection_id)",
    # The token that made it, where that may make connections only of its own accounts.
    "ALTER TABLE account ADD COLUMN made_by TEXT REFERENCES token (token_id)",
    "CREATE INDEX account_created ON account (created_at, name)",
    # What an account may hold and pay, and whether its apps are served at all.
    "ALTER TABLE account ADD COLUMN frozen_at {int64}",
    "ALTER TABLE account ADD COLUMN max_balance_msat {int64} CHECK (max_balance_msat > 0)",
    "ALTER TABLE account ADD COLUMN max_payment_msat {int64} CHECK (max_payment_msat > 0)",
    "ALTER TABLE account ADD COLUMN max_daily_msat {int64} CHECK (max_daily_msat > 0)",
    """CREATE TABLE account_day (
        account_id TEXT NOT NULL REFERENCES account (account_id),
        day {int64} NOT NULL,
        used_msat {int64} NOT NULL DEFAULT 0 CHECK (used_msat >= 0),
        PRIMARY KEY (account_id, day)
    ) {strict}""",
    # The day in which the payment was counted; NULL where the account had no limit then.
    "ALTER TABLE payment ADD COLUMN account_day {int64}",
    # What was answered to a POST of the admin API that came with an Idempotency-Key; without
    # `status` it is under way, or was when the service was killed.
    """CREATE TABLE keyed_request (
        caller TEXT NOT NULL,
        key TEXT NOT NULL,
        request_hash TEXT NOT NULL,
        status {int64},
        body TEXT,
        created_at {int64} NOT NULL,
        PRIMARY KEY (caller, key)
    ) {strict}""",
    "CREATE INDEX keyed_request_created ON keyed_request (created_at)",
    # Of the page: who is signed in, by the hash of what the browser holds, or may sign in once
    # with a link: a user by the account, else somebody with a token, else the owner.
    """CREATE TABLE session (
        secret_hash TEXT PRIMARY KEY,
        is_link {int64} NOT NULL,
        token_id TEXT REFERENCES token (token_id),
        account_id TEXT REFERENCES account (account_id),
        created_at {int64} NOT NULL,
        expires_at {int64} NOT NULL,
        CHECK (token_id IS NULL OR account_id IS NULL)
    ) {strict}""",
    "CREATE INDEX session_expires ON session (expires_at)",
    # With which key a user signs in at the page (NIP-98).
    "ALTER TABLE account ADD COLUMN nostr_pubkey TEXT",
    (
        "CREATE UNIQUE INDEX account_nostr ON account (nostr_pubkey)"
        " WHERE nostr_pubkey IS NOT NULL"
    ),
    # What was owed and what the backends could send and receive, for the plots.
    """CREATE TABLE sample (
        taken_at {int64} PRIMARY KEY,
        owed_msat {int64} NOT NULL,
        spendable_msat {int64} NOT NULL,
        receivable_msat {int64} NOT NULL
    ) {strict}""",
)
