"""FACES: upright pixels in, faces with boxes and vectors out; groups of these, and who of a gallery they are."""
