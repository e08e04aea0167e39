"""The physics of blur: differentiable, float32 [0, 1], jit- and vmap-able.

`build` turns a leaf of a config, `data.blur = dict(kind='dynamic_scene', ...)`,
into a function that blurs a batch of sharp pictures inside the jitted step.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.blur import dynamic_scene, sensor, shake, uniform
from deblur_jax.config import bind, call
from deblur_jax.ops import keys
from deblur_jax.state import Array, Batch


def from_config(options: Mapping[str, Any], *, where: str):
  """`build` of a config's leaf; `where` is its place, such as 'data.blur'.

  Raises:
    UserError: no dict with a kind, or as `build`.
  """
  if not (isinstance(options, Mapping) and 'kind' in options):
    raise errors.UserError(
        f'{where} must be a dict that names its kind, such as '
        f"dict(kind='dynamic_scene'), got {options}.")
  return build(**options, where=where)


def build(
    *, kind: str, camera: Mapping[str, Any] | None = None,
    where: str = 'data.blur', **options):
  """A function (key, sharp [n, h, w, 3]) -> {'blur', 'sharp', ...}, [n, ...].

  Picture i of a batch is blurred by fold_in(key, i) alone: the same whatever
  the batch size and however many devices hold it. Blur by one kernel for the
  whole picture comes with 'kernel' [n, size, size] and 'blur_type' [n].

  Args:
    kind: a name in `BLURS`.
    camera: keyword arguments of `sensor.build`: what the camera adds, noise and
      JPEG. Nothing by default.
    where: the place of all this in the config, for messages.
    **options: keyword arguments of that function.

  Raises:
    UserError: an unknown kind or option; what the function itself refuses is
      refused at its first call.
  """
  blur = errors.look_up(BLURS, kind, what='blur')
  blur_one = bind(blur, options, where=where)
  taken = call(sensor.build, camera or {}, where=f'{where}.camera')

  def blur_batch(key, sharp):
    batch = jax.vmap(blur_one)(keys.each(key, len(sharp)), sharp)
    if not camera:
      return batch
    # A key that no picture has.
    return taken(jax.random.fold_in(key, 2**31), batch)

  return blur_batch


def mixture(
    key: Array, sharp: Array, *,
    parts: Sequence[Mapping[str, Any]] = (
        dict(kind='trajectory'), dict(kind='disk')),
    chances: Sequence[float] | None = None) -> Batch:
  """One of several blurs, drawn anew for each picture.

  Args:
    key: a PRNG key.
    sharp: [h, w, 3].
    parts: of each blur its kind, no mixture, and its options.
    chances: of each, scaled to sum one; by default all alike.

  Returns:
    {'blur', 'sharp': [h, w, 3]}, and 'kernel' and 'blur_type' where all parts
    have them, kernels of one size.
  """
  chances = [1.0] * len(parts) if chances is None else chances
  if not parts or len(chances) != len(parts) or not (
      min(chances) >= 0 and sum(chances)):
    raise errors.UserError(
        f'data.blur: chances={tuple(chances)} must be a number for each of '
        f'{len(parts)} parts, none negative, not all 0.')
  key_which, key_draw = jax.random.split(key)
  which = jax.random.choice(
      key_which, len(parts), p=jnp.array(chances) / sum(chances))
  drawn = []
  for number, part in enumerate(parts):
    where, options = f'data.blur.parts[{number}]', dict(part)
    blur = errors.look_up(SINGLE, options.pop('kind', None), what=where)
    drawn.append(call(blur, options, args=(key_draw, sharp), where=where))
  alike = [name for name in drawn[0] if name != 'sharp' and len(
      {pair[name].shape if name in pair else None for pair in drawn}) == 1]
  chosen = {name: jnp.stack([pair[name] for pair in drawn])[which]
            for name in alike}
  return chosen | {'sharp': sharp}


# name -> (key, sharp [h, w, 3], *, options) -> {'blur', 'sharp', ...}
SINGLE = {
    'dynamic_scene': dynamic_scene.dynamic_scene,
    'camera_shake': shake.camera_shake,
} | {name: uniform.make(family) for name, family in uniform.KERNELS.items()}
BLURS = SINGLE | {'mixture': mixture}
