"""KEEP: the library folder. The catalog is the truth, the vectors are what it lists, the rest is cache."""
