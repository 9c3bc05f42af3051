"""TrashNet, as a TFDS builder."""
