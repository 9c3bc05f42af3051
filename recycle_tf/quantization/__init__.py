"""Integers of 8 bits, simulated in float: what both training and export need to know about them."""
