"""Federated averaging in which the server learns nothing but the sum."""
