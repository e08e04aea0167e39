"""Functions on arrays: convolution, pyramids, padding, counting, VGG19."""
