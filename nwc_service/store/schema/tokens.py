"""Migration 5: tokens of the admin API, and who decided."""

TOKENS = (
    """CREATE TABLE token (
        token_id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        secret_hash TEXT NOT NULL UNIQUE,
        created_at {int64} NOT NULL,
        revoked_at {int64},
        last_used_at {int64}
    ) {strict}""",
    "CREATE UNIQUE INDEX token_name ON token (name) WHERE revoked_at IS NULL",
    # '' of what was decided before, or by nobody's token.
    "ALTER TABLE decision ADD COLUMN decided_by TEXT NOT NULL DEFAULT ''",
)
