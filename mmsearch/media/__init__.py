"""OPEN: what holds sound and films, made by anybody, opened so that it opens nothing else."""
