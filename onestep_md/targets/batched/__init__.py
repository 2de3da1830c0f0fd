"""Energies of an OpenMM System in batches, by torch."""
