"""Free energies between states of the same atoms, from one trained sampler."""
