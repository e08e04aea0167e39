"""Losses on images [n, h, w, c] in [0, 1]; each a float32 scalar, a mean.

The table PIXEL holds those that compare a restored image with the sharp one.
`perceptual` makes one that compares the features of a frozen network. `content`
sums them over the scales of a coarse-to-fine network.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.ops import similarity
from deblur_jax.state import Array, Params

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


def huber(
    restored: Array, sharp: Array, *, threshold: float = 0.05) -> Array:
  """mean of d^2 / 2 up to the threshold, t (|d| - t / 2) above   (Huber 1964).

  As MSE for what is nearly right, as L1 for outliers.
  """
  size = jnp.abs(_difference(restored, sharp))
  near = jnp.minimum(size, threshold)
  return jnp.mean(near * (size - near / 2))


def ssim(restored: Array, sharp: Array) -> Array:
  """1 - SSIM, a mean over all pixels and channels   (Wang et al. 2004, eq. 13).

  Gaussian window of 11 taps, sigma 1.5, zeros beyond the border, values not
  rounded: what SelfDeblur (Ren et al. 2020) minimises.
  """
  _check_shapes(restored, sharp)
  margin = ((0, 0), *[(similarity.RADIUS,) * 2] * 2, (0, 0))
  x, y = (255 * jnp.pad(image.astype(jnp.float32), margin)
          for image in (restored, sharp))
  luminance, structure = similarity.terms(x, y)
  return 1 - jnp.mean(luminance * structure)


def tv(image: Array) -> Array:
  """mean sqrt(Dx^2 + Dy^2): total variation   (Rudin et al. 1992).

  Takes one image, as a weight on what is restored; not a row of PIXEL.
  """
  down = jnp.diff(image, axis=1)[:, :, :-1]
  right = jnp.diff(image, axis=2)[:, :-1]
  # The root's own slope at 0 is infinite.
  return jnp.mean(jnp.sqrt(jnp.square(down) + jnp.square(right) + 1e-8))


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


def dark_channel(image: Array, *, window: int = 35) -> Array:
  """mean of the darkest value of any colour in each window   (He et al. 2009).

  Blur makes it brighter (Pan et al., CVPR 2016, who count the pixels where it
  is not 0; the mean is what has a slope). Takes one image, as `tv`.

  Raises:
    UserError: an image smaller than the window.
  """
  if window < 1 or min(image.shape[1:3]) < window:
    raise errors.UserError(
        f'The dark channel needs windows of 1 to {min(image.shape[1:3])} '
        f'pixels for crops of {image.shape[1]}x{image.shape[2]}, got {window}.')
  dark = image.min(axis=-1)
  for axis in (1, 2):
    dark = _sliding_min(dark, window, axis)
  return jnp.mean(dark)


def _sliding_min(x: Array, window: int, axis: int) -> Array:
  """Minima of all runs of `window`, from those of runs of half the length."""
  reach = 1
  while reach < window:
    step = min(reach, window - reach)
    count = x.shape[axis] - step
    x = jnp.minimum(jax.lax.slice_in_dim(x, 0, count, axis=axis),
                    jax.lax.slice_in_dim(x, step, step + count, axis=axis))
    reach += step
  return x


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
  scale = errors.look_up(OVER_SCALES, over_scales, what='over_scales')

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
    raise errors.UserError(
        f'Loss {term.strip()!r} is not of the form 0.1*name.') from error
  if name == 'perceptual' and name not in known:
    raise errors.UserError(
        f"Loss {term.strip()!r} needs VGG19's features, which the methods "
        'adversarial and cycle have: say there where its weights are, '
        'method.features.path, or leave this loss out.')
  errors.look_up(known, name, what='loss')
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
    'huber': huber,
    'l1': l1,
    'mse': mse,
    'psnr': psnr,
    'ssim': ssim,
}
OVER_SCALES = {'sum': lambda k: 1.0, 'half_mean': lambda k: 1 / (2 * k)}


class Game(NamedTuple):
  """What critic and generator want; values are a critic's, any shape.

  critic: (values of real images, of fakes) -> L_D.
  generator: the same -> L_G.
  zero_sum: L_G is -L_D up to what does not depend on the fakes.
  relative: whether L_G looks at the real values.
  zero_is_perfect: whether L_D of a critic that is never wrong tends to 0.
  """

  critic: Callable[[Array, Array], Array]
  generator: Callable[[Array, Array], Array]
  zero_sum: bool = False
  relative: bool = False
  zero_is_perfect: bool = True


def _wgan_critic(real, fake):
  return jnp.mean(fake) - jnp.mean(real)


def _wgan_generator(real, fake):
  del real
  return -jnp.mean(fake)


def _lsgan_critic(real, fake):
  return (jnp.mean(jnp.square(real - 1)) + jnp.mean(jnp.square(fake))) / 2


def _lsgan_generator(real, fake):
  del real
  return jnp.mean(jnp.square(fake - 1)) / 2


def _bce_critic(real, fake):
  return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def _bce_generator(real, fake):
  del real
  return jnp.mean(jax.nn.softplus(-fake))


def _ralsgan_critic(real, fake):
  return (jnp.mean(jnp.square(real - jnp.mean(fake) - 1))
          + jnp.mean(jnp.square(fake - jnp.mean(real) + 1))) / 2


def _ralsgan_generator(real, fake):
  return _ralsgan_critic(fake, real)


def gradient_penalty(
    critic: Callable[[Array], Array], real: Array, fake: Array, key: Array
) -> Array:
  """mean_n (|d D(x) / dx| - 1)^2   (Gulrajani et al. 2017, eq. 3).

  x lies on the line from a real image to a fake one, at a place drawn for each
  sample. D(x) is the mean of the critic's map, as in its loss, and the norm
  goes over all of an image.

  Args:
    critic: images -> map of values, both float32.
    real, fake: [n, h, w, c]; no gradient flows to them.
    key: a PRNG key.

  Returns:
    A scalar.
  """
  slopes = _slopes(
      lambda x: critic(x).mean(axis=(1, 2, 3)).sum(), real, fake, key)
  return jnp.mean(jnp.square(_norm(slopes, axis=(1, 2, 3)) - 1))


def gradient_penalty_per_pixel(
    critic: Callable[[Array], Array], real: Array, fake: Array, key: Array
) -> Array:
  """mean_{n,i,j} (|d sum D(x) / dx_ij| - 1)^2: DeblurGAN's released code.

  The norm goes over the channels of a pixel only, and D is summed over its
  map: a slope of one in every pixel, not in every image, and so about
  sqrt(h w) times as steep a critic. One place on the line for the whole batch.
  Args and result as of `gradient_penalty`.
  """
  slopes = _slopes(lambda x: critic(x).sum(), real, fake, key, together=True)
  return jnp.mean(jnp.square(_norm(slopes, axis=-1) - 1))


def _slopes(total, real, fake, key, *, together=False):
  count = 1 if together else len(real)
  place = jax.random.uniform(key, (count, 1, 1, 1))
  real, fake = (jax.lax.stop_gradient(x).astype(jnp.float32)
                for x in (real, fake))
  return jax.grad(total)(real + place * (fake - real))


def _norm(slopes, *, axis):
  # The root's own slope at 0 is infinite.
  return jnp.sqrt(jnp.sum(jnp.square(slopes), axis=axis) + 1e-12)


# Arjovsky et al. 2017; Mao et al. 2017; Goodfellow et al. 2014, not saturating;
# Jolicoeur-Martineau 2018, as DeblurGAN-v2 takes it.
ADVERSARIAL = {
    'bce': Game(_bce_critic, _bce_generator),
    'lsgan': Game(_lsgan_critic, _lsgan_generator),
    'ralsgan': Game(_ralsgan_critic, _ralsgan_generator, relative=True),
    'wgan': Game(_wgan_critic, _wgan_generator, zero_sum=True,
                 zero_is_perfect=False),
}
PENALTIES = {
    'sample': gradient_penalty,
    'pixel': gradient_penalty_per_pixel,
}
