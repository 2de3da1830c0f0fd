"""The forms in which a molecule comes in, a module each.

Every module reads its files into one `Structure`: an OpenMM System, a topology with bonds, the
input geometry, and notes of what was chosen. What follows is the same for all of them, and stands
in `targets.molecule`.
"""
