"""Losses of images [n, h, w, c] in [0, 1]; each is a float32 scalar, a mean.

A config names them with weights and options, see `terms`:
loss='l1 + 0.1*fft_l1 + 0.01*dark_channel(window=15)'. `build` makes one loss of
such a sum, over all scales of a network. The tables are PIXEL (they compare the
restored image with the sharp one) and REGULARIZERS (they take the restored
image alone); `perceptual` compares features of a frozen VGG19. ADVERSARIAL and
PENALTIES are for discriminators.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from deblur_jax import errors
from deblur_jax.config import bind, call
from deblur_jax.losses.adversarial import (
    ADVERSARIAL,
    PENALTIES,
    Game,
    gradient_penalty,
)
from deblur_jax.losses.features import Frozen, perceptual
from deblur_jax.losses.pixel import PIXEL, edge, fft_l1, l1, mse, psnr, ssim
from deblur_jax.losses.regularizers import REGULARIZERS, dark_channel, tv
from deblur_jax.losses.terms import Term, parse
from deblur_jax.ops import vgg
from deblur_jax.state import Array, Params

__all__ = [
    'ADVERSARIAL', 'OVER_SCALES', 'PENALTIES', 'PIXEL', 'REGULARIZERS',
    'Content', 'Frozen', 'Game', 'build', 'content', 'dark_channel', 'edge',
    'fft_l1', 'gradient_penalty', 'l1', 'mse', 'perceptual', 'psnr', 'ssim',
    'tv']

PERCEPTUAL = 'perceptual'
OVER_SCALES = {'sum': lambda k: 1.0, 'half_mean': lambda k: 1 / (2 * k)}


class Content(NamedTuple):
  """A content loss and the frozen parameters that it needs.

  Attributes:
    loss: (restored images, sharp images, `TrainState.frozen`) -> scalar; images
      finest first.
    frozen: its part of `TrainState.frozen`: {'features': of VGG19}, or {}.
  """

  loss: Callable[..., Array]
  frozen: dict[str, Params]


def build(
    terms: str, *, over_scales: str = 'sum',
    features: Mapping[str, Any] | vgg.Features | None = None) -> Content:
  """The content loss of a method.

  Args:
    terms: see `content`; also 'perceptual', if there are features.
    over_scales: a row of OVER_SCALES.
    features: keyword arguments of `vgg.build`, the leaf method.features.

  Returns:
    The loss and its frozen parameters.

  Raises:
    UserError: unknown rows, a weight that is not a number, or no such file of
      VGG19's weights.
  """
  net = features if isinstance(features, vgg.Features) else vgg19(features)
  loss = content(terms, over_scales=over_scales,
                 frozen=net and {PERCEPTUAL: perceptual(net.apply)})
  return Content(
      lambda restored, sharp, frozen: loss(
          restored, sharp, frozen.get('features')),
      {'features': net.params} if net else {})


def vgg19(options: Mapping[str, Any] | None) -> vgg.Features | None:
  """The frozen network that several losses of a method share.

  Args:
    options: keyword arguments of `vgg.build`, the leaf method.features.

  Returns:
    None without options.

  Raises:
    UserError: no such file of VGG19's weights.
  """
  return call(vgg.build, options, where='method.features') if options else None


def content(
    terms: str, *, over_scales: str = 'sum',
    frozen: Mapping[str, Frozen] | None = None
) -> Callable[..., Array]:
  """The loss of a network that returns several scales, finest first.

  'sum':  sum_k sum_i w_i l_i(L_k, S_k)         (DeepDeblur's released codes)
  'half_mean':  the same / 2K    (with 'mse': Nah et al. 2017, eq. 4)

  Args:
    terms: rows of PIXEL and REGULARIZERS l_i with their weights w_i: 'l1',
      'l1 + 0.1*fft_l1', 'l1 + 0.1*huber(threshold=0.1) + 0.01*tv'.
    over_scales: a row of OVER_SCALES.
    frozen: further losses by name, such as {'perceptual': perceptual(phi)}.
      They compare the finest scale alone, and `over_scales` does not change
      their weight.

  Returns:
    (restored images, sharp images, params), finest first -> scalar. `params` is
    what the losses of `frozen` take; it is not needed without them.

  Raises:
    UserError: unknown rows, wrong options, or a text that is no such sum.
  """
  frozen = frozen or {}
  chosen = [_term(term, frozen) for term in parse(terms)]
  scale = errors.look_up(OVER_SCALES, over_scales, what='over_scales')

  def loss(
      restored: Sequence[Array], sharp: Sequence[Array], params: Params = None
  ) -> Array:
    if len(restored) != len(sharp):
      raise ValueError(
          f'Expected as many scales, got {len(restored)} and {len(sharp)}.')
    total = sum(weight * fn(one, other)
                for one, other in zip(restored, sharp, strict=True)
                for name, weight, fn in chosen if name not in frozen)
    return total * scale(len(restored)) + sum(
        weight * fn(restored[0], sharp[0], params)
        for name, weight, fn in chosen if name in frozen)

  return loss


def _term(term: Term, frozen: Mapping[str, Frozen]):
  """Returns (name, weight, function) of a term."""
  name, weight, options = term
  if name == PERCEPTUAL and name not in frozen:
    raise errors.UserError(
        f"Loss {name!r} needs VGG19's features: say where its weights "
        'are, method.features=dict(path=...), or leave this loss out.')
  fn = errors.look_up(
      PIXEL | REGULARIZERS | frozen, name, what='loss')
  if name in frozen:
    if options:
      raise errors.UserError(f'Loss {name!r} takes no options, got {options}.')
    return name, weight, fn
  fn = bind(fn, options, where=f'loss {name}')
  if name in REGULARIZERS:
    return name, weight, lambda restored, sharp: fn(restored)
  return name, weight, fn
