"""METRICS: how good a ranking is, against known answers, and whether scores tell how sure one may be of it.

One file per family, each with its definition. Those of rankings read `RankedRelevant`, the ranks of the relevant
images of every query, and return one value per query in float64, higher is better unless it is a rank. Ranks count
from 1; equal scores are ordered by the smaller id, as search does. A relevant image that is not in the list has no
rank and counts as never found; a query without any relevant image scores 0 (whether it is kept at all is decided
before).

Those of `calibration`, `separation` and `selective` read scores and what is true, and return one number for all;
what their functions `..._of_counts` return does so for a sample, as the bootstrap draws it.
"""
