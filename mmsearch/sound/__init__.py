"""SOUND: recordings in, fingerprints out; which recording an excerpt is of, and where in it (Wang, 2003)."""
