"""PROCESSES: workers apart from where the user stands, and what decodes strangers' pictures within limits."""
