"""Migration 6: the operator's lists of all accounts, a page at a time."""

LISTS = (
    "CREATE INDEX payment_created ON payment (created_at, payment_id)",
    "CREATE INDEX invoice_created ON invoice (created_at, invoice_id)",
)
