"""Image deblurring in JAX and Flax: `deblur_jax.restore(x)`, and its parts."""


def __getattr__(name: str):
  if name == 'restore':
    # Not above: it brings jax, and `import deblur_jax` is quick.
    from deblur_jax.app.api import restore
    return restore
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
