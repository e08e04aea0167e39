"""The physics of blur: differentiable, float32 [0, 1], jit- and vmap-able.

`build` turns a leaf of a config, `data.blur = dict(kind='dynamic_scene', ...)`,
into a function that blurs a batch of sharp pictures inside the jitted step.
"""

import functools

import jax
import jax.numpy as jnp

from deblur_jax import types
from deblur_jax.blur import dynamic_scene


def build(*, kind: str, **options):
  """A function (key, sharp [n, h, w, 3]) -> {'blur', 'sharp'}, both [n, ...].

  Picture i of a batch is blurred by fold_in(key, i) alone: the same whatever
  the batch size and however many devices hold it.

  Args:
    kind: a name in `BLURS`.
    **options: keyword arguments of that function.

  Raises:
    UserError: an unknown kind or option; what the function itself refuses is
      refused at its first call.
  """
  blur = types.look_up(BLURS, kind, what='blur')

  @functools.wraps(blur)      # so that `types.call` sees the options of `blur`
  def bind(**options):
    return functools.partial(blur, **options)

  blur_one = types.call(bind, options, where='data.blur')

  def blur_batch(key, sharp):
    indices = jnp.arange(sharp.shape[0])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, indices)
    return jax.vmap(blur_one)(keys, sharp)

  return blur_batch


# name -> (key, sharp [h, w, 3], *, options) -> {'blur', 'sharp'}
BLURS = {
    'dynamic_scene': dynamic_scene.dynamic_scene,
}
