"""First samples of a target, before a flow exists: replica exchange and annealing."""
