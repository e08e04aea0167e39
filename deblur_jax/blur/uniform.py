"""Blur by one random kernel for the whole picture: the rows of `KERNELS`.

  blur = g(k * g^-1(sharp))

with the camera's response g (`exposure.py`) and mirrored borders. Each kernel
has a blur type, for methods that learn from this weak label.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.blur import exposure, kernels, operators, trajectory
from deblur_jax.state import Array, Batch

# The weak labels: blur_type is an index into this tuple.
BLUR_TYPES = ('motion', 'defocus', 'gaussian', 'mixed')


class Family(NamedTuple):
  """A distribution of kernels: draw(key, *, size, options) -> [size, size].

  Attributes:
    draw: (key, *, size, options) -> a kernel [size, size].
    blur_type: one of BLUR_TYPES; None where `draw` returns (kernel, index into
      BLUR_TYPES).
  """

  draw: Callable[..., Array]
  blur_type: str | None


def make(family: Family) -> Callable[..., Batch]:
  """Makes the function that blurs one picture with a kernel of a family.

  Args:
    family: a row of `KERNELS`.

  Returns:
    A function (key, sharp [h, w, 3], *, gamma, border, **options) -> {'blur',
    'sharp': [h, w, 3], 'kernel': [size, size], 'blur_type': int32 []}. gamma is
    of the response curve, see `exposure.to_light`; border is a name in
    `operators.BORDERS` but 'valid'; the options are those of the family's
    `draw`. It raises a UserError where one of them is invalid.
  """
  def blur_one(
      key, sharp, *, gamma: float = 2.2, border: str = 'reflect', **options):
    if border == 'valid':
      raise errors.UserError(
          "border='valid' makes blurry pictures smaller than sharp ones; "
          "choose 'reflect', 'symmetric', 'edge', 'circular' or 'zero'.")
    drawn = family.draw(key, **options)
    kernel, label = drawn if family.blur_type is None else (
        drawn, BLUR_TYPES.index(family.blur_type))
    light = exposure.to_light(sharp, gamma=gamma)[None]
    light = operators.uniform(kernel, border=border).forward(light)[0]
    # FFT may leave values of -1e-7 where there is no light.
    blur = exposure.to_stored(jnp.clip(light, 0, 1), gamma=gamma)
    return {'blur': blur, 'sharp': sharp, 'kernel': kernel,
            'blur_type': jnp.asarray(label, jnp.int32)}

  blur_one.__signature__ = _joint_signature(blur_one, family.draw)
  return blur_one


def random_mixed(
    key, *, size: int = 31, length: tuple[float, float] = (3.0, 20.0),
    radius: tuple[float, float] = (0.5, 4.0),
    sigma: tuple[float, float] = (0.4, 2.0)) -> Array:
  """Draws a line convolved with a disk or a Gaussian, with equal probability.

  Args:
    key: a PRNG key.
    size: of the kernel, odd.
    length: of the line, as of `kernels.random_line`.
    radius: of the disk, as of `kernels.random_disk`.
    sigma: of the Gaussian, as of `kernels.random_gaussian`.

  Returns:
    [size, size].

  Raises:
    UserError: size is even or below 1, or a range is invalid.
  """
  key_line, key_disk, key_gaussian, key_which = jax.random.split(key, 4)
  first = kernels.random_line(key_line, size=size, length=length)
  second = jnp.where(
      jax.random.bernoulli(key_which),
      kernels.random_disk(key_disk, size=size, radius=radius),
      kernels.random_gaussian(key_gaussian, size=size, sigma=sigma))
  return kernels.mix(first, second)


def random_any(
    key, *, size: int = 31,
    weights: tuple[float, ...] = (0.4, 0.2, 0.2, 0.2)) -> tuple[Array, Array]:
  """Draws a kernel of a random type.

  Args:
    key: a PRNG key.
    size: of the kernel, odd.
    weights: how often each type is drawn, in the order of `BLUR_TYPES`, in any
      unit. Half of the motion kernels are lines, half
      trajectories.

  Returns:
    (kernel [size, size], index into `BLUR_TYPES`, int32 []).

  Raises:
    UserError: size is even or below 1, or weights are not one number for each
      type, none negative and not all 0.
  """
  if len(weights) != len(BLUR_TYPES) or min(weights) < 0 or not sum(weights):
    raise errors.UserError(
        f'weights={tuple(weights)} must be {len(BLUR_TYPES)} numbers, none '
        f'negative, not all 0: of {", ".join(BLUR_TYPES)}.')
  key_which, key_motion, key_draw = jax.random.split(key, 3)
  which = jax.random.choice(
      key_which, len(weights), p=jnp.array(weights) / sum(weights))
  straight = jax.random.bernoulli(key_motion)
  length = (1.0, min(25.0, size))
  radius = (0.5, min(8.0, size / 4))
  drawn = [
      jnp.where(
          straight, kernels.random_line(key_draw, size=size, length=length),
          trajectory.random_trajectory(key_draw, size=size)),
      kernels.random_disk(key_draw, size=size, radius=radius),
      kernels.random_gaussian(
          key_draw, size=size, sigma=(0.4, min(4.0, size / 6))),
      random_mixed(key_draw, size=size, length=length, radius=(
          0.5, min(4.0, size / 4)), sigma=(0.4, min(2.0, size / 6)))]
  return jnp.stack(drawn)[which], which


def _joint_signature(blur_one, draw):
  """A signature with the keyword options of both, for checks of options."""
  own, drawn = (inspect.signature(fn).parameters for fn in (blur_one, draw))
  options = {
      name: option for name, option in {**drawn, **own}.items()
      if option.kind is option.KEYWORD_ONLY}
  inputs = [own['key'], own['sharp']]
  return inspect.Signature([*inputs, *options.values()])


KERNELS = {
    'line': Family(kernels.random_line, 'motion'),
    'disk': Family(kernels.random_disk, 'defocus'),
    'gaussian': Family(kernels.random_gaussian, 'gaussian'),
    'trajectory': Family(trajectory.random_trajectory, 'motion'),
    'gaussian_process': Family(trajectory.random_gaussian_process, 'motion'),
    'mixed': Family(random_mixed, 'mixed'),
    'any': Family(random_any, None),
}
