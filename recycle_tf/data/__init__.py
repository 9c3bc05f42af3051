"""From encoded photographs to batches: sources, decoding, augmentation, the pipeline."""
