"""Models of blur: differentiable functions of float32 images in [0, 1].

They work under `jax.jit` and `jax.vmap`. `build` turns a config leaf,
`data.blur = dict(kind='dynamic_scene', ...)`, into a function that blurs a
batch of sharp pictures inside the jitted step.
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
  """Calls `build` with the options of a config leaf.

  Args:
    options: the leaf: a dict with `kind` and the options of that blur.
    where: the leaf's place in the config, such as 'data.blur', for messages.

  Returns:
    The function that `build` returns.

  Raises:
    UserError: the leaf is no dict with a kind, or `build` refuses it.
  """
  if not (isinstance(options, Mapping) and 'kind' in options):
    raise errors.UserError(
        f'{where} must be a dict that names its kind, such as '
        f"dict(kind='dynamic_scene'), got {options}.")
  return build(**options, where=where)


def build(
    *, kind: str, camera: Mapping[str, Any] | None = None,
    where: str = 'data.blur', **options):
  """Builds the function that blurs a batch of sharp pictures.

  Picture i of a batch is blurred with fold_in(key, i) alone, so that its blur
  depends neither on the batch size nor on the number of devices.

  Args:
    kind: a name in `BLURS`.
    camera: keyword arguments of `sensor.build`: the noise and the JPEG
      compression of the camera. By default there is neither.
    where: the place of these options in the config, for messages.
    **options: keyword arguments of the blur `kind`.

  Returns:
    A function (key, sharp [n, h, w, 3]) -> {'blur', 'sharp', ...}, arrays
    [n, ...]. A blur with one kernel for the whole picture adds 'kernel'
    [n, size, size] and 'blur_type' [n].

  Raises:
    UserError: the kind or an option is unknown. A bad value of an option is
      refused at the first call of the returned function.
  """
  blur = errors.look_up(BLURS, kind, what='blur')
  blur_one = bind(blur, options, where=where)
  add_sensor = call(sensor.build, camera or {}, where=f'{where}.camera')

  def blur_batch(key, sharp):
    batch = jax.vmap(blur_one)(keys.each(key, len(sharp)), sharp)
    if not camera:
      return batch
    # No picture of the batch uses this key.
    return add_sensor(jax.random.fold_in(key, 2**31), batch)

  return blur_batch


def mixture(
    key: Array, sharp: Array, *,
    parts: Sequence[Mapping[str, Any]] = (
        dict(kind='trajectory'), dict(kind='disk')),
    weights: Sequence[float] | None = None) -> Batch:
  """Blurs a picture with one of several blurs, drawn for each picture.

  Args:
    key: a PRNG key.
    sharp: [h, w, 3] in [0, 1].
    parts: for each blur a dict of its kind and options. A part is no mixture.
    weights: how often each part is drawn, in any unit; by default all equally.

  Returns:
    {'blur', 'sharp': [h, w, 3]}. 'kernel' and 'blur_type' are added where all
    parts have them with the same shape.

  Raises:
    UserError: the number of weights is not that of the parts, a weight is
      negative, all are 0, or a part's kind or option is unknown.
  """
  weights = [1.0] * len(parts) if weights is None else weights
  if not parts or len(weights) != len(parts) or not (
      min(weights) >= 0 and sum(weights)):
    raise errors.UserError(
        f'data.blur: weights={tuple(weights)} must be a number for each of '
        f'{len(parts)} parts, none negative, not all 0.')
  key_which, key_draw = jax.random.split(key)
  which = jax.random.choice(
      key_which, len(parts), p=jnp.array(weights) / sum(weights))
  drawn = []
  for number, part in enumerate(parts):
    where, options = f'data.blur.parts[{number}]', dict(part)
    blur = errors.look_up(SINGLE, options.pop('kind', None), what=where)
    drawn.append(call(blur, options, args=(key_draw, sharp), where=where))
  common = [name for name in drawn[0] if name != 'sharp' and len(
      {pair[name].shape if name in pair else None for pair in drawn}) == 1]
  chosen = {name: jnp.stack([pair[name] for pair in drawn])[which]
            for name in common}
  return chosen | {'sharp': sharp}


# name -> (key, sharp [h, w, 3], *, options) -> {'blur', 'sharp', ...}
SINGLE = {
    'dynamic_scene': dynamic_scene.dynamic_scene,
    'camera_shake': shake.camera_shake,
} | {name: uniform.make(family) for name, family in uniform.KERNELS.items()}
BLURS = SINGLE | {'mixture': mixture}
