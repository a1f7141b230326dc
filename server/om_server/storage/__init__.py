"""The database, its migrations and the queue: the only code that knows which database it is."""
