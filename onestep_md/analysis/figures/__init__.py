"""Figures of the report, each drawn from what a record holds."""
