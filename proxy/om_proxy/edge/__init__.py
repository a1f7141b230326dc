"""One edge before the server: who it is, what it tells, and what it hears."""
