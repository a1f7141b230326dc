"""OpenMonetize server: ingestion, rating, wallets, analytics, accounts and prompts over typed contracts."""
