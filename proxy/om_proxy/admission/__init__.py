"""Whether a call may be made, and who pays."""
