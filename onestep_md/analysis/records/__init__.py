"""Records of finished runs: results, samples and history, written and read in one place."""
