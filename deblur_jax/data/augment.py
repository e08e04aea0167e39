"""Augmentation inside the jitted step, equal for blur and sharp.

`build` makes a function (key, batch) -> batch from a leaf of a config. Sample i
depends on fold_in(key, i) only, so it is the same for every size of batch and
number of devices.
"""

import functools
import itertools

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.blur import jpeg as jpeg_lib
from deblur_jax.blur import kernels, uniform
from deblur_jax.config import call
from deblur_jax.ops import colour, keys

LABELS = ('kernel', 'blur_type')   # of the blur
_BLOCK = 16   # pixels of JPEG's blocks of colour


def build(*, preset: str | None = None, **overrides):
  """Builds a function augment(key, batch) -> batch.

  Args:
    preset: a name in `PRESETS`; None uses the overrides only.
    **overrides: keyword arguments of `make`; they replace those of the preset.

  Raises:
    UserError: an unknown preset or option, or as of `make`.
  """
  options = errors.look_up(
      PRESETS, preset or 'none', what='augmentation preset')
  return call(make, options | overrides, where='augment')


def make(
    *, identity: float = 0.0, horizontal_flip: float = 0.0,
    vertical_flip: float = 0.0, transpose: float = 0.0, rotate: float = 0.0,
    permute_channels: float = 0.0, saturate: float = 0.0,
    saturation: tuple[float, float] = (0.5, 1.5), noise: float = 0.0,
    brighten: float = 0.0, brightness: tuple[float, float] = (0.8, 1.2),
    jpeg: float = 0.0, quality: tuple[float, float] = (60, 100)):
  """Makes a function augment(key, batch) -> batch.

  A batch has 'blur' and 'sharp', or one of them, float32 [n, h, w, 3] in
  [0, 1]. 'blur' may have several frames along the last axis; they are changed
  equally, each with its own noise. A 'kernel' [n, size, size] is flipped and
  rotated with them. Where the sharp picture replaces the blurred one, 'kernel'
  and 'blur_type' [n] become those of no blur. Other entries stay.

  The changes are applied in the order of the arguments.

  Args:
    identity: probability that the sharp picture replaces the blurred one.
    horizontal_flip: probability that left and right are swapped.
    vertical_flip: probability that top and bottom are swapped.
    transpose: probability that rows and columns are swapped; square only.
    rotate: probability of a rotation by 0, 90, 180 or 270 degrees, all equally
      likely; square only.
    permute_channels: probability of a random one of the 6 orders of channels.
    saturate: probability that S of HSV is multiplied.
    saturation: range of that factor, uniform.
    noise: scale of Gaussian noise on the blurred picture only; each sample
      draws its deviation as |N(0, noise^2)|. The result is clipped to [0, 1].
    brighten: probability that both pictures are multiplied and clipped.
    brightness: range of that factor, uniform.
    jpeg: probability of JPEG compression of the blurred picture only; the
      offset of its blocks is random.
    quality: range of the JPEG quality, uniform.

  Raises:
    UserError: a probability outside [0, 1], a range or noise below 0, or a
      quality outside 1 to 100. The function raises it for pictures that are not
      square where they must be, and for a sharp picture that would replace
      several frames.
  """
  for name, span in (
      ('saturation', saturation), ('brightness', brightness)):
    if len(span) != 2 or not 0 <= span[0] <= span[1]:
      raise errors.UserError(
          f'augment: {name}={tuple(span)} must rise, from 0 or '
          'more: two numbers.')
  kernels.check_range('augment.quality', quality, above=1, maximum=100)
  if noise < 0:
    raise errors.UserError(f'augment: noise={noise} must not be negative.')
  changes = {
      'identity': (_identity, identity),
      'horizontal_flip': (_horizontal_flip, horizontal_flip),
      'vertical_flip': (_vertical_flip, vertical_flip),
      'transpose': (_transpose, transpose),
      'rotate': (_rotate, rotate),
      'permute_channels': (_permute_channels, permute_channels),
      'saturate': (
          functools.partial(_multiply, colour.saturate, saturation), saturate),
      'brighten': (
          functools.partial(_multiply, _brighten, brightness), brighten),
      'jpeg': (functools.partial(_jpeg, quality), jpeg),
  }
  for name, (_, chance) in changes.items():
    if not 0 <= chance <= 1:
      raise errors.UserError(
          f'augment.{name} is a probability, got {chance}; use 0 to 1.')
  *others, brightening, compression = changes.values()
  return _on_batches([*others, (_noise, noise), brightening, compression],
                     square=bool(transpose or rotate))


def _on_batches(changes, *, square):
  """(key, batch) -> batch of a list of (change, amount), in order."""

  def augment_one(key, images):
    # Keys depend on the position: without one change the other draws stay.
    for place, (change, amount) in enumerate(changes):
      if amount:
        images = change(jax.random.fold_in(key, place), images, amount)
    return images

  def augment(key, batch):
    images = {name: batch[name] for name in ('blur', 'sharp') if name in batch}
    _check_images(images, square=square)
    images |= {name: batch[name] for name in LABELS if name in batch}
    own = keys.each(key, len(next(iter(images.values()))))
    return batch | jax.vmap(augment_one)(own, images)

  return augment


def _identity(key, images, chance):
  if 'blur' not in images or 'sharp' not in images:
    return images
  if images['blur'].shape != images['sharp'].shape:
    raise errors.UserError(
        'augment.identity needs the sharp picture of each frame, but only the '
        'middle frame has one: leave it at 0.')
  same = jax.random.bernoulli(key, chance)
  replaced = {'blur': jnp.where(same, images['sharp'], images['blur'])}
  if 'kernel' in images:
    middle = images['kernel'].shape[0] // 2
    point = jnp.zeros_like(images['kernel']).at[middle, middle].set(1)
    replaced['kernel'] = jnp.where(same, point, images['kernel'])
  if 'blur_type' in images:
    replaced['blur_type'] = jnp.where(
        same, len(uniform.BLUR_TYPES), images['blur_type'])
  return images | replaced


def _horizontal_flip(key, images, chance):
  flip = jax.random.bernoulli(key, chance)
  return _each(images, lambda x: jnp.where(flip, x[:, ::-1], x))


def _vertical_flip(key, images, chance):
  flip = jax.random.bernoulli(key, chance)
  return _each(images, lambda x: jnp.where(flip, x[::-1], x))


def _transpose(key, images, chance):
  swap = jax.random.bernoulli(key, chance)
  return _each(images, lambda x: jnp.where(swap, x.swapaxes(0, 1), x))


def _rotate(key, images, chance):
  key_happens, key_turns = jax.random.split(key)
  turns = jax.random.randint(key_turns, (), 0, 4)
  turns = jnp.where(jax.random.bernoulli(key_happens, chance), turns, 0)

  def rotate(x):
    x = jnp.where(turns % 2 == 1, jnp.rot90(x), x)
    return jnp.where(turns >= 2, x[::-1, ::-1], x)

  return _each(images, rotate)


def _permute_channels(key, images, chance):
  key_happens, key_order = jax.random.split(key)
  orders = jnp.array(list(itertools.permutations(range(3))))
  drawn = jax.random.randint(key_order, (), 0, len(orders))
  order = orders[jnp.where(jax.random.bernoulli(key_happens, chance), drawn, 0)]
  return _each_picture(images, lambda x: jnp.take(x, order, axis=-1))


def _multiply(change, factors, key, images, chance):
  """change(picture, factor), the factor drawn from a range, or else 1."""
  key_happens, key_factor = jax.random.split(key)
  factor = jnp.where(
      jax.random.bernoulli(key_happens, chance),
      jax.random.uniform(key_factor, minval=factors[0], maxval=factors[1]), 1.0)
  return _each_picture(images, lambda x: change(x, factor))


def _brighten(x, factor):
  return jnp.clip(x * factor, 0, 1)


def _noise(key, images, spread):
  if 'blur' not in images:
    return images
  key_sigma, key_noise = jax.random.split(key)
  blur = images['blur']
  sigma = spread * jnp.abs(jax.random.normal(key_sigma))
  noisy = blur + sigma * jax.random.normal(key_noise, blur.shape)
  return images | {'blur': jnp.clip(noisy, 0, 1)}


def _jpeg(qualities, key, images, chance):
  if 'blur' not in images:
    return images
  key_happens, key_quality, key_corner = jax.random.split(key, 3)
  quality = jax.random.uniform(
      key_quality, minval=qualities[0], maxval=qualities[1])
  # Blocks of colour are 16 pixels wide; the first ones begin beyond the border.
  top, left = jax.random.randint(key_corner, (2,), 0, _BLOCK)

  def compress(x):
    height, width, channels = x.shape
    wide = jnp.pad(x, ((_BLOCK, _BLOCK), (_BLOCK, _BLOCK), (0, 0)), mode='edge')
    framed = jax.lax.dynamic_slice(
        wide, (top, left, 0), (height + _BLOCK, width + _BLOCK, channels))
    return jax.lax.dynamic_slice(
        jpeg_lib.compress(framed, quality=quality),
        (_BLOCK - top, _BLOCK - left, 0), x.shape)

  happens = jax.random.bernoulli(key_happens, chance)
  of_frames = jax.vmap(compress, in_axes=2, out_axes=2)
  lossy = _each_picture({'blur': images['blur']}, of_frames)['blur']
  return images | {'blur': jnp.where(happens, lossy, images['blur'])}


def _each(images, change):
  return {name: image if name == 'blur_type' else change(image)
          for name, image in images.items()}


def _each_picture(images, change):
  """change of each RGB picture, or of all frames of one."""
  def of_frames(x):
    return change(x.reshape(*x.shape[:-1], -1, 3)).reshape(x.shape)

  return {name: image if name in LABELS else of_frames(image)
          for name, image in images.items()}


def _check_images(images, *, square):
  shapes = {name: image.shape for name, image in images.items()}
  if not shapes:
    raise errors.UserError(
        "A batch to augment needs 'blur' or 'sharp', and has neither.")
  shape, *others = shapes.values()
  if any(other[:-1] != shape[:-1] for other in others):
    raise errors.UserError(f'blur and sharp must have one shape, got {shapes}.')
  if len(shape) != 4 or shapes.get('sharp', shape)[-1] != 3 or shape[-1] % 3:
    raise errors.UserError(f'Expected pictures [n, h, w, 3], got {shapes}.')
  if square and shape[1] != shape[2]:
    raise errors.UserError(
        'augment turns pictures on their side, so they must be square, '
        f'got {shape[1]}x{shape[2]}; use square crops, or transpose=0 and '
        'rotate=0.')


_NOISE = 2 / 255

# DeepDeblur's two official codes, Torch7 (CVPR 2017) and PyTorch; DeblurGAN;
# `flips` are the 8 symmetries of the square: NAFNet, Restormer and others.
PRESETS = {
    'deepdeblur_torch7': dict(
        identity=0.1, horizontal_flip=0.5, rotate=1.0, permute_channels=1.0,
        saturate=0.1, noise=_NOISE),
    'deepdeblur_pytorch': dict(
        horizontal_flip=0.5, vertical_flip=0.5, transpose=0.5,
        permute_channels=1.0, saturate=1.0, noise=_NOISE),
    'deblurgan': dict(horizontal_flip=0.5),
    'flips': dict(horizontal_flip=0.5, vertical_flip=0.5, transpose=0.5),
    'none': {},
}
