"""Losses on images [n, h, w, c] in [0, 1]; each a float32 scalar, a mean.

The table PIXEL holds those that compare a restored image with the sharp one.
`perceptual` makes one that compares the features of a frozen network. `content`
sums them over the scales of a coarse-to-fine network.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp

from deblur_jax import types
from deblur_jax.types import Array, Params

# (restored, sharp, parameters of a frozen network) -> scalar.
Frozen = Callable[[Array, Array, Params], Array]


def l1(restored: Array, sharp: Array) -> Array:
  """mean |L - S|   (DeepDeblur's later choice)."""
  return jnp.mean(jnp.abs(_difference(restored, sharp)))


def mse(restored: Array, sharp: Array) -> Array:
  """mean (L - S)^2   (Nah et al. 2017, eq. 4, one scale)."""
  return jnp.mean(jnp.square(_difference(restored, sharp)))


def charbonnier(
    restored: Array, sharp: Array, *, epsilon: float = 1e-3) -> Array:
  """mean sqrt((L - S)^2 + eps^2)   (a smooth L1; Lai et al. 2017)."""
  square = jnp.square(_difference(restored, sharp))
  return jnp.mean(jnp.sqrt(square + epsilon**2))


def psnr(restored: Array, sharp: Array, *, epsilon: float = 1e-8) -> Array:
  """10 / ln 10 * mean_n ln(MSE_n + eps): minus PSNR in dB   (HINet, NAFNet)."""
  square = jnp.square(_difference(restored, sharp))
  per_image = jnp.mean(square, axis=(1, 2, 3))  # [n]
  return 10 / jnp.log(10.) * jnp.mean(jnp.log(per_image + epsilon))


def fft_l1(restored: Array, sharp: Array) -> Array:
  """mean |Re F(L - S)|, |Im F(L - S)|, F unnormalised   (MIMO-UNet, eq. 6).

  It grows with the size of the crop; the published weight 0.1 is for 256x256.
  """
  spectrum = jnp.fft.fft2(_difference(restored, sharp), axes=(1, 2))
  return (jnp.mean(jnp.abs(spectrum.real))
          + jnp.mean(jnp.abs(spectrum.imag))) / 2


def perceptual(features: Callable[[Params, Array], Array]) -> Frozen:
  """mean (phi(L) - phi(S))^2 of features   (DeblurGAN, section 3.2: L_X).

  The paper divides by the W H of the features only, and so has as many times as
  much as they have channels, 256 at conv3_3. A mean over the channels too is
  what its released code takes, and what its weight of 100 is for, with the
  features of torchvision's network: see `ops.vgg` for those of others.

  Args:
    features: phi, (params, images) -> [n, h', w', c], as `apply` of
      `ops.vgg.build`.

  Returns:
    (restored, sharp, params) -> scalar. The parameters come last, at each call:
    what is closed over would be written into the executable.
  """
  def loss(restored: Array, sharp: Array, params: Params) -> Array:
    _check_shapes(restored, sharp)
    return mse(features(params, restored), features(params, sharp))

  return loss


def content(
    terms: str, *, over_scales: str = 'sum',
    frozen: Mapping[str, Frozen] | None = None
) -> Callable[..., Array]:
  """The loss of a network that returns several scales, finest first.

  'sum':  sum_k sum_i w_i l_i(L_k, S_k)         (DeepDeblur's released codes)
  'half_mean':  the same / 2K    (with 'mse': Nah et al. 2017, eq. 4)

  Args:
    terms: rows of PIXEL l_i with their weights w_i: 'l1', 'l1 + 0.1*fft_l1'.
    over_scales: a row of OVER_SCALES.
    frozen: further losses by name, such as {'perceptual': perceptual(phi)}.
      They compare the finest scale alone, and `over_scales` does not change
      their weight.

  Returns:
    (restored images, sharp images, params), finest first -> scalar. `params`
    is what the losses of `frozen` take, and may be left out where `terms` name
    none of them.

  Raises:
    UserError: unknown rows, or a weight that is no number.
  """
  frozen = frozen or {}
  weights = [_term(term, PIXEL | frozen) for term in terms.split('+')]
  scale = types.look_up(OVER_SCALES, over_scales, what='over_scales')

  def loss(
      restored: Sequence[Array], sharp: Sequence[Array], params: Params = None
  ) -> Array:
    if len(restored) != len(sharp):
      raise ValueError(
          f'Expected as many scales, got {len(restored)} and {len(sharp)}.')
    total = sum(weight * PIXEL[name](one, other)
                for one, other in zip(restored, sharp, strict=True)
                for name, weight in weights if name not in frozen)
    return total * scale(len(restored)) + sum(
        weight * frozen[name](restored[0], sharp[0], params)
        for name, weight in weights if name in frozen)

  return loss


def _term(term: str, known: Mapping) -> tuple[str, float]:
  *weight, name = (word.strip() for word in term.split('*'))
  try:
    weights = [float(word) for word in weight]
  except ValueError as error:
    raise types.UserError(
        f'Loss {term.strip()!r} is not of the form 0.1*name.') from error
  if name == 'perceptual' and name not in known:
    raise types.UserError(
        f"Loss {term.strip()!r} needs VGG19's features: say where its weights "
        'are, method.features.path, or leave this loss out.')
  types.look_up(known, name, what='loss')
  return name, math.prod(weights)


def _difference(restored: Array, sharp: Array) -> Array:
  _check_shapes(restored, sharp)
  return restored.astype(jnp.float32) - sharp.astype(jnp.float32)


def _check_shapes(restored: Array, sharp: Array) -> None:
  if restored.shape != sharp.shape:
    raise ValueError(
        f'Expected equal shapes, got {restored.shape} and {sharp.shape}.')


PIXEL = {
    'charbonnier': charbonnier,
    'fft_l1': fft_l1,
    'l1': l1,
    'mse': mse,
    'psnr': psnr,
}
OVER_SCALES = {'sum': lambda k: 1.0, 'half_mean': lambda k: 1 / (2 * k)}
