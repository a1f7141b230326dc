"""Keys: who a program is."""
