"""SERVE: the page and the HTTP API over one library, on loopback. Needs the extra `mmsearch[serve]`."""
