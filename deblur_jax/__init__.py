"""Image deblurring in JAX and Flax."""
