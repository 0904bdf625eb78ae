"""GROUND TRUTH: benchmark sets on disk, in the formats they come in, as pictures, queries and known answers.

Readers name the file and the line, column or field that is wrong. Nothing in a set is ever executed.
"""
