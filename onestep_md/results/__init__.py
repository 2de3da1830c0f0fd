"""The final numbers of a run and their files."""
