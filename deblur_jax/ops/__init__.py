"""Functions of arrays: convolution, pyramids, padding, VGG19, weight files."""
