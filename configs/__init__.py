"""One complete file an experiment; nothing in deblur_jax imports them."""
