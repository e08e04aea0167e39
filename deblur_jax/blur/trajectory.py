"""Random camera trajectories and their kernels.

There are two models. The first is that of Boracchi & Foi (Modeling the
performance of image restoration from motion blur, TIP 2012), as DeblurGAN uses
it (Kupyn et al. 2018, Algorithm 1): a point with inertia, random shake, a pull
to its start and rare reversals. The second is a smooth Gaussian process.
"""

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.blur import kernels
from deblur_jax.state import Array


def random_trajectory(
    key, *, size: int = 31, steps: int = 2000, length: float | None = None,
    impulse: tuple[float, ...] = (0.01, 0.009, 0.008, 0.007, 0.005, 0.003),
    centripetal: float = 0.7, reversal: float = 0.2, shake: float = 10.0,
    fractions: tuple[float, ...] = (0.1, 0.5, 1.0)) -> Array:
  """Draws the kernel of a hand-held camera, sum one and centred.

  The impulse scale p_s is drawn from `impulse`, the other parameters uniformly
  from 0 to their bounds. Each step, with v renormalised to L / (steps - 1), is

    v += p_s (p_g (N + iN) - p_c x) L / (steps - 1)   shake, and pull back
    v += 2 v e^(i (pi + U(-0.5, 0.5)))                with probability p_b p_s

  It differs from DeblurGAN's code in two points. DeblurGAN scales the kernel to
  maximum one and the blurred picture to [0, 1], which changes contrast and
  colours; this kernel sums to one. DeblurGAN centres the path's bounding box,
  which shifts blurred pictures against sharp ones; this function centres the
  mean of the light. The paper prints p_g * p_c * x for the difference above,
  and other bounds; this function follows DeblurGAN's code and Boracchi & Foi,
  which agree.

  Args:
    key: a PRNG key.
    size: of the kernel, odd.
    steps: of the path, 2 or more.
    length: L, the length of the whole path in pixels, in (0, size]; by default
      60/64 of the size, as in DeblurGAN.
    impulse: values of p_s, 0 or more.
    centripetal: bound of p_c, the strength of the pull to the start.
    reversal: bound of p_b, the probability of a reversal.
    shake: bound of p_g, the size of the random shake.
    fractions: of the path while the shutter is open, in (0, 1]; one is drawn.
      DeblurGAN's are 0.01, 0.1, 0.5 and 1.

  Returns:
    [size, size]; points outside of the kernel are moved to its edge.

  Raises:
    UserError: size is even or below 1, or steps, length, impulse or fractions
      are outside of their ranges.
  """
  y, x, weights = random_path(
      key, steps=steps, impulse=impulse, centripetal=centripetal,
      reversal=reversal, shake=shake, length=_length(length, size),
      fractions=fractions)
  return kernels.splat(*kernels.centre(y, x, weights), weights, size=size)


def random_path(
    key, *, steps, length, impulse, centripetal, reversal, shake, fractions
) -> tuple[Array, Array, Array]:
  """Draws the path of `random_trajectory`.

  Args:
    key: a PRNG key.
    steps: as of `random_trajectory`.
    length: in pixels.
    impulse: as of `random_trajectory`.
    centripetal: as of `random_trajectory`.
    reversal: as of `random_trajectory`.
    shake: as of `random_trajectory`.
    fractions: as of `random_trajectory`.

  Returns:
    (y, x, weights), each [steps]: positions in pixels, and the part of each
    step in [0, 1] during which the shutter is open.

  Raises:
    UserError: steps, impulse or fractions are outside of their ranges.
  """
  if steps < 2:
    raise errors.UserError(f'steps must be at least 2, got {steps}.')
  if not fractions or not all(0 < fraction <= 1 for fraction in fractions):
    raise errors.UserError(
        f'fractions={tuple(fractions)} must lie above 0 and up to 1.')
  if not impulse or min(impulse) < 0:
    raise errors.UserError(
        f'impulse={tuple(impulse)} must be one or more numbers from 0.')
  key_start, key_bounds, key_impulse, key_walk, key_open = (
      jax.random.split(key, 5))
  pace = length / (steps - 1)
  scale = jax.random.choice(key_impulse, jnp.array(impulse))
  pull, reversing, shaken = jax.random.uniform(key_bounds, (3,)) * jnp.array(
      [centripetal, reversal, shake])
  turn = jax.random.uniform(key_start, maxval=2 * jnp.pi)

  def walk(carry, key):
    velocity, position = carry
    key_shake, key_reversal, key_turn = jax.random.split(key, 3)
    kick = scale * pace * (
        shaken * jax.random.normal(key_shake, (2,)) - pull * position)
    happens = jax.random.bernoulli(key_reversal, reversing * scale)
    back = jax.random.uniform(key_turn, minval=-0.5, maxval=0.5) + jnp.pi
    cos, sin = jnp.cos(back), jnp.sin(back)
    reverse = 2 * jnp.stack(
        [cos * velocity[0] - sin * velocity[1],
         sin * velocity[0] + cos * velocity[1]])
    velocity = velocity + kick + jnp.where(happens, reverse, 0)
    velocity = velocity * pace / jnp.linalg.norm(velocity)
    return (velocity, position + velocity), position

  start = pace * jnp.stack([jnp.sin(turn), jnp.cos(turn)])
  keys = jax.random.split(key_walk, steps)
  _, positions = jax.lax.scan(walk, (start, jnp.zeros(2)), keys)
  opened = jax.random.choice(key_open, jnp.array(fractions)) * steps
  # The shutter closes within a step: its weight is the part before that.
  weights = jnp.clip(opened - jnp.arange(steps), 0, 1)
  return positions[:, 0], positions[:, 1], weights


def _length(length, size):
  if length is None:
    return 60 / 64 * kernels.check_size(size)
  if not 0 < length <= size:
    raise errors.UserError(
        f'length={length} must lie above 0 and up to the size {size} of the '
        'kernel.')
  return length


def random_gaussian_process(
    key, *, size: int = 31, points: int = 200, smoothness: float = 0.3,
    spread: float = 0.25) -> Array:
  """Draws the kernel of a smooth random path, sum one and centred.

  Both coordinates are Gaussian processes of time in [0, 1] with the Matern
  covariance of order 5/2, spread^2 (1 + d + d^2/3) e^-d, d = sqrt(5) |t - t'| /
  smoothness.

  Args:
    key: a PRNG key.
    size: of the kernel, odd.
    points: number of moments of the path, 2 or more.
    smoothness: the process's length scale, above 0; the exposure lasts 1.
    spread: standard deviation as a share of half the size, in (0, 0.5]: a wider
      path does not fit into the kernel.

  Returns:
    [size, size]; points outside of the kernel are moved to its edge.

  Raises:
    UserError: size is even or below 1, or another option is outside of its
      range.
  """
  if points < 2 or smoothness <= 0 or not 0 < spread <= 0.5:
    raise errors.UserError(
        'A Gaussian-process trajectory needs points of 2 or more, smoothness '
        'above 0 and spread above 0 and up to 0.5, got '
        f'{points}, {smoothness} and {spread}.')
  factor = jnp.asarray(_matern_factor(points, smoothness), jnp.float32)
  drawn = jnp.matmul(
      factor, jax.random.normal(key, (points, 2)), precision='highest')
  y, x = spread * (kernels.check_size(size) / 2) * drawn.T
  weights = jnp.ones(points)
  return kernels.splat(*kernels.centre(y, x, weights), weights, size=size)


def _matern_factor(points, smoothness):
  """The Cholesky factor of the covariance, float64 [points, points]."""
  times = np.linspace(0, 1, points)
  d = np.sqrt(5) * np.abs(times[:, None] - times[None, :]) / smoothness
  covariance = (1 + d + d ** 2 / 3) * np.exp(-d)
  return np.linalg.cholesky(covariance + 1e-8 * np.eye(points))
