"""Preprocessing of batches in the training step: blur, then augmentation.

Both run on the device inside the jitted step, with the step's random key.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import blur, data, errors
from deblur_jax.data import augment, neighbours
from deblur_jax.state import Batch


def check_pairing(
    source: data.Source, config: Mapping[str, Any], *, unpaired: bool,
    window: int = 1) -> None:
  """Checks that source, `data.blur` and method fit together.

  Args:
    source: the training set.
    config: its `augment`, `data.blur` and `method.name` are read.
    unpaired: whether the method learns without pairs.
    window: number of frames that the network takes.

  Raises:
    UserError: they do not.
  """
  name, makes_blur = config['method']['name'], config['data'].get('blur')
  if unpaired and not source.parts:
    raise errors.UserError(
        f'The method {name} learns without pairs, and {source.where} has '
        "pairs: set config.data.train = dict(name='unpaired', blur=DIR, "
        "sharp=DIR), or halves=True as the forms :small and :gopro of its "
        'config do.')
  if source.parts and not unpaired:
    raise errors.UserError(
        f'The method {name} needs pairs, and {source.where} has none: set '
        'method.name=cycle or cycle_physics, or take a source of pairs.')
  if source.parts and 'blur' in source.keys and makes_blur:
    raise errors.UserError(
        f'{source.where} has blurred pictures: leave data.blur out.')
  if source.parts and config['augment'].get('identity'):
    raise errors.UserError(
        f'{source.where} has no pairs, so augment.identity would replace a '
        'blurred picture by a different one: leave it at 0.')
  if 'blur' not in source.keys and not makes_blur:
    raise errors.UserError(
        f'{source.where} has sharp pictures only: set data.blur, which blurs '
        "them, such as dict(kind='dynamic_scene').")
  neighbours.check(source, window, where='data.train')
  if window > 1 and makes_blur:
    raise errors.UserError(
        'data.blur blurs single pictures, not video frames: leave it out.')


def make_prepare(
    config: Mapping[str, Any], unpack: Callable[[Batch], Batch]
) -> Callable[[jax.Array, Batch], Batch]:
  """Makes the preprocessing of a config.

  Args:
    config: its `augment` and `data.blur` are read.
    unpack: as of `loaders.Loader`.

  Returns:
    (key, batch of the loader) -> {'blur', 'sharp', ...}, float32 [n, h, w, c]
    in [0, 1], blurred and augmented.

  Raises:
    UserError: unknown or impossible options.
  """
  change = augment.build(**config['augment'])
  synthesise = make_synthesis(config)

  def prepare(key: jax.Array, batch: Batch) -> Batch:
    key_blur, key_augment = jax.random.split(key)
    batch = _joined(unpack(batch))
    if synthesise and 'to_blur' in batch:
      # Without pairs: the blurred pictures are not the sharp ones.
      made = synthesise(key_blur, batch['to_blur'])
      batch = made | {'sharp': batch['sharp']}
    elif synthesise:
      batch = synthesise(key_blur, batch['sharp'])
    return change(key_augment, batch)

  return prepare


def _joined(batch: Batch) -> Batch:
  """Joins 'blur' and the frames around it along the last axis."""
  if neighbours.window_of(batch) == 1:
    return batch
  blur = jnp.concatenate(neighbours.frames(batch), axis=-1)
  return {'blur': blur, 'sharp': batch['sharp']}


def make_synthesis(
    config: Mapping[str, Any]
) -> Callable[[jax.Array, jax.Array], Batch] | None:
  """Builds the blur of `data.blur`: (key, sharp) -> batch; None without it."""
  options = config['data'].get('blur')
  return blur.from_config(options, where='data.blur') if options else None
