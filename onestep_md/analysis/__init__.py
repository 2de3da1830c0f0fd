"""Trajectories with weights, torsions, records of runs, figures and the report.

The only folder that imports mdtraj, matplotlib and Jinja2. Records, figures and the report work
from the files of a finished run folder, so that a report can be redrawn at any time without the
flow or the force field.
"""
