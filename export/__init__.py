"""From a run to files that a phone or a server answers with, each proven on the test split."""
