"""A scale-recurrent network (SRN: Tao et al., CVPR 2018).

  L_s, h_s = N(B_s, up(L_{s+1}), up(h_{s+1})),   s = K-1 ... 0, the finest

with B_s the blurry pyramid, and B_{K-1} itself in place of up(L_K). N is an
encoder and decoder with residual blocks. It has the same weights at each scale,
so it needs a third of the parameters for K = 3. As in the authors' code, no
gradient flows from a scale to the image of the coarser one; it does flow
through the recurrent state h.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import attention, checks, layers
from deblur_jax.ops import pad, resize
from deblur_jax.ops import pyramid as pyramids
from deblur_jax.state import Array

LEVELS = 3   # sizes inside of N: 1, 1/2 and 1/4


class SRN(nn.Module):
  """The network: images to K images, finest first.

  The s-th image has [n, ceil(h / 2^s), ceil(w / 2^s), 3], float32 and not
  clipped. The input is padded at its lower and right edge to a multiple of
  2^(K+1). With the defaults it has 6,881,251 parameters, 8,061,411 with
  `recurrent`.

  Attributes:
    scales: K.
    shared: whether all scales have the same weights, or each has its own.
    recurrent: whether a convolutional LSTM between encoder and decoder passes
      its state from scale to scale.
    features: channels at full size; twice and four times as many below.
    blocks: residual blocks at each size, in the encoder and in the decoder.
    kernel_size: of the convolutions, odd; it is 4 on the way up and 3 in the
      LSTM.
    pyramid: a row of `ops.pyramid.PYRAMIDS`.
    residual: whether each scale learns the difference to its blurry image; the
      paper's does not.
    attention: a row of `attention.ATTENTION`, in every residual block.
    dtype: of the convolutions; parameters, states and results are float32.
  """

  scales: int = 3
  shared: bool = True
  recurrent: bool = False
  features: int = 32
  blocks: int = 3
  kernel_size: int = 5
  pyramid: str = 'deepdeblur_pytorch'
  residual: bool = False
  attention: str = 'none'
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(1, scales=self.scales, features=self.features)
    checks.at_least(0, blocks=self.blocks)
    checks.odd(kernel_size=[self.kernel_size])
    errors.look_up(pyramids.PYRAMIDS, self.pyramid, what='pyramid')
    errors.look_up(attention.ATTENTION, self.attention, what='attention')
    checks.dtype(self.dtype)
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
        blur, multiple=2**(self.scales - 1 + LEVELS - 1))
    blurs = pyramids.PYRAMIDS[self.pyramid](padded, levels=self.scales)
    latents, guess, state = [], blurs[-1], None
    shared = self._coder('scale') if self.shared else None
    for s in reversed(range(self.scales)):
      coder = shared or self._coder(f'scale_{s}')
      latent, state = coder(jnp.concatenate([blurs[s], guess], -1), state)
      latents.insert(0, latent + blurs[s] if self.residual else latent)
      guess = jax.lax.stop_gradient(resize.double_bilinear(latents[0]))
      state = jax.tree.map(resize.double_bilinear, state)
    return [
        pad.crop(latent, size=pyramids.size(size, level=s))
        for s, latent in enumerate(latents)]

  def _coder(self, name):
    return Coder(
        recurrent=self.recurrent, features=self.features, blocks=self.blocks,
        kernel_size=self.kernel_size, dtype=self.dtype,
        attend=attention.ATTENTION[self.attention], name=name)


class Coder(nn.Module):
  """N, the encoder and decoder of one scale."""

  recurrent: bool
  features: int
  blocks: int
  kernel_size: int
  dtype: Any
  attend: Any

  @nn.compact
  def __call__(self, x: Array, state):
    """Maps (x [n, h, w, 6], state) to (image [n, h, w, 3], next state)."""
    skips = []
    for level in range(LEVELS):
      x = self._conv(
          self.features * 2**level, stride=2 if level else 1,
          name=f'down_{level}' if level else 'head')(x)
      x = self._blocks(layers.relu(x), f'encode_{level}')
      skips.append(x)
    if self.recurrent:
      x, state = ConvLSTM(dtype=self.dtype, name='lstm')(x, state)
    for level in reversed(range(LEVELS)):
      x = self._blocks(x, f'decode_{level}')
      if level:
        up = layers.ConvTranspose(
            x.shape[-1] // 2, kernel_size=4, dtype=self.dtype,
            name=f'up_{level}')
        x = layers.relu(up(x)) + skips[level - 1]
    return self._conv(3, name='tail')(x).astype(jnp.float32), state

  def _conv(self, features, *, stride=1, name):
    return layers.Conv(
        features, self.kernel_size, stride, dtype=self.dtype, name=name)

  def _blocks(self, x, name):
    for i in range(self.blocks):
      x = layers.ResBlock(
          self.kernel_size, self.dtype, self.attend, name=f'{name}_{i}')(x)
    return x


class ConvLSTM(nn.Module):
  """The cell of Shi et al. (2015) without peepholes.

  As in SRN's code the forget gate starts with a bias of one, and the kernel
  with N(0, 0.001^2): at first the cell passes almost nothing.
  """

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array, state):
    """Maps (x, (memory, output) or None) to (next output, next state).

    All are [n, h, w, c].
    """
    features = x.shape[-1]
    if state is None:
      state = (jnp.zeros(x.shape, jnp.float32),) * 2
    memory, output = state
    x = jnp.concatenate([x, output.astype(x.dtype)], axis=-1)
    gates = layers.Conv(
        4 * features, kernel_size=3, std=1e-3, dtype=self.dtype,
        name='gates')(x).astype(jnp.float32)
    enter, new, keep, leave = jnp.split(gates, 4, axis=-1)
    memory = (memory * nn.sigmoid(keep + 1)
              + nn.sigmoid(enter) * jnp.tanh(new))
    output = jnp.tanh(memory) * nn.sigmoid(leave)
    return output, (memory, output)
