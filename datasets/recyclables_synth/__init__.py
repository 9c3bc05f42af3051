"""Synthetic images of waste, as a TFDS builder."""
