"""DATASETS: sets of pictures on disk, in the formats they come in, with captions, classes or known answers.

Readers name the file and the line, column or field that is wrong. Nothing in a set is ever executed.
"""
