"""The networks of flows in Cartesian coordinates: they read elements, bonds and positions."""
