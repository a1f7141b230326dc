"""Values and errors that every slice shares. No I/O, and nothing here imports the rest of the server."""
