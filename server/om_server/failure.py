"""What a person can mend: the command line prints it as one line, without a trace."""

from __future__ import annotations


class CommandFailed(Exception):
    """A command could not do its work; the message is one line and holds no secret."""
