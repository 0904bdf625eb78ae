"""NEAREST NEIGHBOURS: the exact scan, the HNSW graph, and the choice between them."""
