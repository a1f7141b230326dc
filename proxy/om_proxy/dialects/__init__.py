"""How callers say who asks and who pays: one module for each published way."""
