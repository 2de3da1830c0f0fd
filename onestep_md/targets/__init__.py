"""Targets: the molecule, its reduced energies and forces, and the dynamics that explores it.

The only folder that imports OpenMM. Energies leave it in kT of the target temperature, lengths
in nm; kJ/mol, Da and ps stay inside. `molecule` reads and checks the input, `evaluator` is the
OpenMM context of one worker, `exploration` is the replica exchange on top of it.
"""
