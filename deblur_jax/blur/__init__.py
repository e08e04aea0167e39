"""Models of blur: differentiable functions of float32 images in [0, 1].

They work under `jax.jit` and `jax.vmap`. `build` turns a config leaf,
`data.blur = dict(kind='dynamic_scene', ...)`, into a function that blurs a
batch of sharp pictures inside the jitted step.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import config, errors
from deblur_jax.blur import dynamic_scene, sensor, shake, uniform
from deblur_jax.config import bind, call, convert
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
    *, kind: str, camera: Mapping[str, Any] | None = None, margin: int = 0,
    where: str = 'data.blur', **options):
  """Builds the function that blurs a batch of sharp pictures.

  Picture i of a batch is blurred with fold_in(key, i) alone, so that its blur
  depends neither on the batch size nor on the number of devices.

  Args:
    kind: a name in `BLURS`.
    camera: keyword arguments of `sensor.build`: the noise and the JPEG
      compression of the camera. By default there is neither. Its gamma is that
      of the blur.
    margin: pixels to crop from each side of the blurred pictures and of all
      arrays of their size. Beyond the border of a sharp picture its mirror
      image, or black, moves in; a margin crops it.
    where: the place of these options in the config, for messages.
    **options: keyword arguments of the blur `kind`.

  Returns:
    A function (key, sharp [n, h, w, 3]) -> {'blur', 'sharp', ...}, arrays
    [n, h - 2 margin, w - 2 margin, 3]. A blur with one kernel for the whole
    picture adds 'kernel' [n, size, size] and 'blur_type' [n].

  Raises:
    UserError: the kind or an option is unknown, the margin is below 0, or the
      camera has another gamma than the blur. A bad value of an option, or a
      margin that leaves no picture, is refused at the first call of the
      returned function.
  """
  blur = errors.look_up(BLURS, kind, what='blur')
  blur_one = bind(blur, options, where=where)
  margin = convert(margin, int, where=f'{where}.margin')
  if margin < 0:
    raise errors.UserError(f'{where}.margin must be 0 or more, got {margin}.')
  add_sensor = _sensor(
      camera, gammas(kind, blur_one.keywords), where=where) if camera else None

  def blur_batch(key, sharp):
    _check_margin(margin, sharp.shape[1:3], where)
    batch = jax.vmap(blur_one)(keys.each(key, len(sharp)), sharp)
    batch = _inner(batch, margin, sharp.shape[1:3])
    if not camera:
      return batch
    # No picture of the batch uses this key.
    return add_sensor(jax.random.fold_in(key, 2**31), batch)

  return blur_batch


def gammas(kind: str, options: Mapping[str, Any]) -> Iterator[float]:
  """The gamma of a blur, or those of the parts of a mixture.

  Args:
    kind: a name in `BLURS`.
    options: of that blur; those left out have their defaults.

  Yields:
    Exponents of response curves.

  Raises:
    UserError: the kind of a part is unknown.
  """
  known = config.options(errors.look_up(BLURS, kind, what='blur'))
  value = lambda name: options.get(name, known[name].default)
  if 'gamma' in known:
    yield value('gamma')
  for number, part in enumerate(value('parts') if 'parts' in known else ()):
    _single(part, number)
    yield from gammas(part['kind'], part)


def _sensor(camera, of_blur, *, where):
  """`sensor.build` with the gamma of the blur."""
  options = dict(config.check_table(camera, where=f'{where}.camera'))
  # A mixture without parts is refused when it draws.
  gamma, *others = [*of_blur] or [1.0]
  for other in others:
    if other != gamma:
      raise errors.UserError(
          f'{where}.camera needs one response curve, but the parts have gamma='
          f'{gamma} and {other}; give all parts the same.')
  if options.setdefault('gamma', gamma) != gamma:
    raise errors.UserError(
        f'{where}.camera.gamma={options["gamma"]} is not the gamma of the '
        f'blur, {gamma}: one camera has one response curve; leave it out.')
  return call(sensor.build, options, where=f'{where}.camera')


def _check_margin(margin, size, where):
  if 2 * margin >= min(size):
    raise errors.UserError(
        f'{where}.margin={margin} must leave something of a picture of '
        f'{size[0]}x{size[1]}; choose less, or larger crops.')


def _inner(batch, margin, size):
  """The batch without the margin of its arrays [n, h, w, ...]."""
  height, width = size
  return {
      name: value[:, margin:height - margin, margin:width - margin]
      if value.ndim == 4 and value.shape[1:3] == size else value
      for name, value in batch.items()}


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
    options = {name: value for name, value in part.items() if name != 'kind'}
    drawn.append(call(_single(part, number), options, args=(key_draw, sharp),
                      where=_PART.format(number)))
  common = [name for name in drawn[0] if name != 'sharp' and len(
      {pair[name].shape if name in pair else None for pair in drawn}) == 1]
  chosen = {name: jnp.stack([pair[name] for pair in drawn])[which]
            for name in common}
  return chosen | {'sharp': sharp}


def _single(part, number):
  return errors.look_up(
      SINGLE, part.get('kind'), what=_PART.format(number))


_PART = 'data.blur.parts[{}]'

# name -> (key, sharp [h, w, 3], *, options) -> {'blur', 'sharp', ...}
SINGLE = {
    'dynamic_scene': dynamic_scene.dynamic_scene,
    'camera_shake': shake.camera_shake,
} | {name: uniform.make(family) for name, family in uniform.KERNELS.items()}
BLURS = SINGLE | {'mixture': mixture}
