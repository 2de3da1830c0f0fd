"""Targets: molecules and densities, their reduced energies and gradients.

OpenMM is imported here alone. Energies leave this folder in kT of the target temperature, lengths
in nm; kJ/mol, Da and ps stay inside. `sources` reads the files of a molecule, `molecule` checks
and describes it, and `evaluator` is the OpenMM context of one worker; `batched` computes the same
energies by torch, and `platforms` chooses. `densities`, `posteriors`
and `particles` are the benchmarks, `python_density` is a function of the user's, and
`density_evaluator` differentiates them.
"""
