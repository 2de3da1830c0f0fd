"""Targets: a molecule or a density, its reduced energies and their gradients.

The only folder that imports OpenMM. Energies leave it in kT of the target temperature, lengths
in nm; kJ/mol, Da and ps stay inside. `molecule` reads and checks the input, `evaluator` is the
OpenMM context of one worker.
"""
