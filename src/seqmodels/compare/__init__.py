"""Compare many runs: which setting is better, by how much, how sure, at what cost."""
