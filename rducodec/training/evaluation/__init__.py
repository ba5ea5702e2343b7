"""What samples are worth, per byte: classifiers trained on them, and on honest rivals of the same size."""
