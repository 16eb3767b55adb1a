"""Finds, describes, downloads and plans models."""
