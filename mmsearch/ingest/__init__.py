"""INGEST: folders of pictures in, a library out: plan, embed in worker processes, commit."""
