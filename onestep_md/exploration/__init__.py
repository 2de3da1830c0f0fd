"""How samples of a target are found before a flow exists: replica exchange and annealing."""
