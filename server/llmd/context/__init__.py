"""Chooses what a request shows to the model, or why nothing is asked."""
