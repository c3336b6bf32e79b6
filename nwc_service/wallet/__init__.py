"""Money, pure: units, invoices, payments, budgets. No I/O, no clock, no randomness."""
