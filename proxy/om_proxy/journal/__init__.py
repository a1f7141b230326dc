"""The journal: what an edge must not forget, on the disk before it counts."""
