"""ENCODE: pictures and texts in, unit vectors of one joint space out.

A model is built once with torch (`clip`, `offline`), exported to a folder of ONNX towers (`export`), and run
from that folder alone (`onnx`). Nothing is imported here: a search needs `onnx` and no more.
"""
