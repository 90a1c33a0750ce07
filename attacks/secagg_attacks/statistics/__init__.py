"""Statistics of the attacks: intervals of proportions, ROC curves, bootstrap, many tests at once.

NumPy and SciPy only."""
