"""The command line: what each command does, and how it talks to the person who runs it."""
