"""Pure functions on arrays: convolution, pyramids, padding, counting."""
