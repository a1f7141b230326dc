"""Wallets: who pays, what was set aside for work in progress, and the ledger of every movement."""
