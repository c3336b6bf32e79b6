"""LNURL-pay and what goes with it (LUD-06, 12, 16, 18, 21; NIP-57): pure."""
