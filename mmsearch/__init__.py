"""Multimodal text and image search on your own machine."""
