"""QUERY: what is looked for in, ranked pictures out: encode, route, rerank."""
