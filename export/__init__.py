"""Exports a run to files for phones, servers and browsers, and verifies each on the test split."""
