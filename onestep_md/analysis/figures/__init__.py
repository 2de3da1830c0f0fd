"""Figures of the report, drawn from records of runs."""
