"""Drawn pictures of rubbish, as a TFDS builder."""
