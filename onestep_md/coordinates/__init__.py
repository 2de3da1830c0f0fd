"""Internal coordinates of one molecule, and the chart between flow states and Cartesian frames."""
