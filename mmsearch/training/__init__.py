"""TEACH: pictures with captions, pairs or labels in, an encoder or a classifier that knows more out."""
