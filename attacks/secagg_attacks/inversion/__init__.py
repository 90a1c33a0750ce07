"""Gradient inversion: which images, fed to this model, give this gradient?"""
