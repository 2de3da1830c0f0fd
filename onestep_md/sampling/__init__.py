"""A trained sampler: what it is made of, its file, its samples and the certificates of its map."""
