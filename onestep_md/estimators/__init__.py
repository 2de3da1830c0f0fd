"""Numbers and error bars from log weights: ESS, evidence, free energies."""
