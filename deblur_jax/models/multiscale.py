"""The coarse-to-fine network of Nah, Kim and Lee (CVPR 2017), sections 3.2-3.3.

  L_s = N_s([B_s, up_{s+1}(L_{s+1})]),   s = K-1 (coarsest) ... 0 (finest)

with B_s the blurry pyramid, N_s residual networks that share no weights, and
up a 5x5 convolution of 3 to 12 channels followed by a pixel shuffle.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import attention, checks, layers
from deblur_jax.ops import conv as conv_ops
from deblur_jax.ops import pad
from deblur_jax.ops import pyramid as pyramids
from deblur_jax.state import Array

MEAN = 0.5  # of images in [0, 1]: the convolutions see values around zero


class MultiScale(nn.Module):
  """The coarse-to-fine network: images to K images, finest first.

  The s-th image has [n, ceil(h / 2^s), ceil(w / 2^s), 3], float32 and not
  clipped. The input is padded at its lower and right edge to a multiple of
  2^(K-1).

  Attributes:
    scales: K. The paper compares 1, 2 and 3 at the same depth.
    depth: convolutions of all scales together, without the upsampling ones.
    blocks: residual blocks of one scale; None derives them from `depth`:
      59, 29 and 19 for K = 1, 2, 3 and a depth of 120.
    features: channels between the first and the last convolution.
    kernel_size: of all convolutions, odd.
    pyramid: a row of `ops.pyramid.PYRAMIDS`.
    residual: whether each scale learns the difference to its blurry image; the
      paper's does not.
    value_range: white minus black as the convolutions see them, 255 in the
      authors' PyTorch code. It scales the biases alone, and so how far one
      step of training moves them.
    attention: a row of `attention.ATTENTION`, in every residual block.
    dtype: of the convolutions; parameters and results are float32.
    remat: whether the backward pass computes blocks again: less memory, about
      a third more time.
  """

  scales: int = 3
  depth: int = 120
  blocks: int | None = None
  features: int = 64
  kernel_size: int = 5
  pyramid: str = 'deepdeblur_pytorch'
  residual: bool = False
  value_range: float = 1.0
  attention: str = 'none'
  dtype: Any = 'float32'
  remat: bool = False

  def __post_init__(self):
    _check(self)
    super().__post_init__()

  @nn.compact
  def __call__(
      self, blur: Array, *, train: bool = False) -> list[Array]:
    """Restores images.

    Args:
      blur: [n, h, w, 3] in [0, 1], of any size.
      train: not used, since the network has no dropout.

    Returns:
      K images, finest first.

    Raises:
      UserError: images of another shape.
    """
    del train  # it has no dropout
    checks.images(blur)
    padded, size = pad.to_multiple(
        blur, multiple=2**(self.scales - 1))
    make_pyramid = pyramids.PYRAMIDS[self.pyramid]
    blurs = [(b - MEAN) * self.value_range
             for b in make_pyramid(padded, levels=self.scales)]
    latents = []
    for s in reversed(range(self.scales)):
      x = blurs[s]
      if latents:
        up = self._up(latents[0], name=f'up_{s + 1}')
        x = jnp.concatenate([x.astype(up.dtype), up], axis=-1)  # [n, h, w, 6]
      latent = self._scale(s)(x).astype(jnp.float32)
      latents.insert(0, latent + blurs[s] if self.residual else latent)
    return [
        pad.crop(latent / self.value_range + MEAN,
                 size=pyramids.size(size, level=s))
        for s, latent in enumerate(latents)]

  def _up(self, coarse, *, name):
    conv = layers.Conv(
        12, self.kernel_size, dtype=self.dtype, name=name)
    return conv_ops.pixel_shuffle(conv(coarse), factor=2)

  def _scale(self, s):
    block = nn.remat(layers.ResBlock) if self.remat else layers.ResBlock
    return Scale(
        blocks=num_blocks(self), features=self.features,
        kernel_size=self.kernel_size, dtype=self.dtype, block=block,
        attend=attention.ATTENTION[self.attention], name=f'scale_{s}')


class Scale(nn.Module):
  """One N_s: a convolution, residual blocks, a convolution to RGB."""

  blocks: int
  features: int
  kernel_size: int
  dtype: Any
  block: Any = layers.ResBlock
  attend: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, 3 or 6] to [n, h, w, 3]."""
    options = dict(kernel_size=self.kernel_size, dtype=self.dtype)
    x = layers.Conv(self.features, **options, name='head')(x)
    for i in range(self.blocks):
      x = self.block(
          **options, attend=self.attend, name=f'block_{i:02d}')(x)
    return layers.Conv(3, **options, name='tail')(x)


def num_blocks(net: MultiScale) -> int:
  """The residual blocks of one scale: two convolutions each, besides two.

  Args:
    net: the network.

  Returns:
    Its option `blocks`, or the number that follows from `depth`.
  """
  if net.blocks is not None:
    return net.blocks
  return (net.depth // net.scales - 2) // 2


def _check(net):
  if net.scales < 1:
    raise errors.UserError(
        f'nets.net.scales must be at least 1, got {net.scales}.')
  if net.blocks is None and num_blocks(net) < 1:
    raise errors.UserError(
        f'nets.net.depth must be at least {4 * net.scales} for {net.scales} '
        f'scales, got {net.depth}.')
  if net.blocks is not None and net.blocks < 0:
    raise errors.UserError(
        f'nets.net.blocks must be at least 0, got {net.blocks}.')
  if net.features < 1:
    raise errors.UserError(
        f'nets.net.features must be at least 1, got {net.features}.')
  if net.value_range <= 0:
    raise errors.UserError(
        f'nets.net.value_range must be positive, got {net.value_range}.')
  if net.kernel_size % 2 == 0:
    raise errors.UserError(
        f'nets.net.kernel_size must be odd, got {net.kernel_size}.')
  errors.look_up(pyramids.PYRAMIDS, net.pyramid, what='pyramid')
  errors.look_up(attention.ATTENTION, net.attention, what='attention')
  checks.dtype(net.dtype)
