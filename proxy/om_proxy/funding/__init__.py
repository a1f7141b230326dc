"""Money at the edge: leases that are spent from in memory. No I/O: times are arguments."""
