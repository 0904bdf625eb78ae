"""VISUAL WORDS: local descriptors in; words, signatures, an inverted file and its scores out."""
