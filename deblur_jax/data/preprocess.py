"""What happens to a batch before a method sees it: blur, then augmentation.

Both are part of the step's program, on the device, from the step's key.
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
  """A UserError where source, `data.blur` and method do not go together.

  Args:
    source: what to train on.
    config: its `augment`, `data.blur` and `method.name`.
    unpaired: whether the method learns without pairs.
    window: of how many frames it learns.
  """
  name, makes_blur = config['method']['name'], config['data'].get('blur')
  if unpaired and not source.parts:
    raise errors.UserError(
        f'The method {name} learns without pairs, which {source.where} has: '
        "take config.data.train = dict(name='unpaired', blur=DIR, sharp=DIR), "
        "or say halves=True there, as its config's forms :small and :gopro do.")
  if source.parts and not unpaired:
    raise errors.UserError(
        f'The method {name} needs pairs, and {source.where} has none: take '
        'method.name=cycle or cycle_physics, or a source of pairs.')
  if source.parts and 'blur' in source.keys and makes_blur:
    raise errors.UserError(
        f'{source.where} has blurry pictures of its own: leave data.blur out.')
  if source.parts and config['augment'].get('identity'):
    raise errors.UserError(
        f'{source.where} has no pairs, so that augment.identity would put one '
        'picture in the place of another: leave it at 0.')
  if 'blur' not in source.keys and not makes_blur:
    raise errors.UserError(
        f'{source.where} has sharp pictures only: say in data.blur how they '
        "are to be blurred, such as dict(kind='dynamic_scene').")
  neighbours.check(source, window, where='data.train')
  if window > 1 and makes_blur:
    raise errors.UserError(
        'data.blur blurs single pictures, not frames of film: leave it out.')


def make_prepare(
    config: Mapping[str, Any], unpack: Callable[[Batch], Batch]
) -> Callable[[jax.Array, Batch], Batch]:
  """(key, batch of the loader) -> blurred and augmented float32 pairs."""
  change = augment.build(**config['augment'])
  synthesise = make_synthesis(config)

  def prepare(key: jax.Array, batch: Batch) -> Batch:
    key_blur, key_augment = jax.random.split(key)
    batch = _joined(unpack(batch))
    if synthesise and 'to_blur' in batch:
      # Of other pictures than the sharp ones.
      made = synthesise(key_blur, batch['to_blur'])
      batch = made | {'sharp': batch['sharp']}
    elif synthesise:
      batch = synthesise(key_blur, batch['sharp'])
    return change(key_augment, batch)

  return prepare


def _joined(batch: Batch) -> Batch:
  """'blur' with the frames around it along its last axis, if there are any."""
  if neighbours.window_of(batch) == 1:
    return batch
  blur = jnp.concatenate(neighbours.frames(batch), axis=-1)
  return {'blur': blur, 'sharp': batch['sharp']}


def make_synthesis(config: Mapping[str, Any]):
  """`blur.build` of `data.blur`; None where there is none."""
  options = config['data'].get('blur')
  return blur.from_config(options, where='data.blur') if options else None
