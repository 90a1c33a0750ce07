"""Membership inference: was this example among what the model was trained on?"""
