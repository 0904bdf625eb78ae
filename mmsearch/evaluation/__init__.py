"""MEASURE: how good a ranking is, against known answers."""
