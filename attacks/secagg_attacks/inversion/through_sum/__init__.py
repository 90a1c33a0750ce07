"""What leaks through a sum: attacks on the mean update of many clients, as secure aggregation opens it."""
