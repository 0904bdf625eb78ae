"""DUPLICATES: a library in, groups of pictures out that are the same file, the same picture, or look alike."""
