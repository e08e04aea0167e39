"""Image deblurring in JAX and Flax; see `deblur_jax.restore`."""


def __getattr__(name: str):
  if name == 'restore':
    # Imported here, because it imports jax: `import deblur_jax` stays fast.
    from deblur_jax.app.api import restore
    return restore
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
