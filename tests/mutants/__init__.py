"""Money bugs that other wallets had, each as a patch, and the tests that must see it."""
