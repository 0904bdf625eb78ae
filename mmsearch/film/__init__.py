"""FILM: films in, pictures with times out: one a second, the first of each shot, or the one at a moment."""
