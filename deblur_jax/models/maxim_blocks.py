"""The blocks of MAXIM, which `maxim` combines.

Each maps [n, h, w, c] in `dtype`; h and w are multiples of the side of its
`places`. Names of parameters are the authors'.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax.models import layers
from deblur_jax.ops import local_pooling, spatial_mixing
from deblur_jax.state import Array

REDUCTION = 4   # of channels in the channel attention


class Places(NamedTuple):
  """The positions that a layer mixes.

  Attributes:
    side: there are side x side positions.
    rank: of their matrix, see `spatial_mixing.low_rank`; 0 is a full matrix.
  """

  side: int
  rank: int = 0


class UpSampleRatio(nn.Module):
  """A 1x1 convolution, with a name one level below its own."""

  features: int
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to [n, h, w, features]."""
    return _conv(self, self.features, 'Conv_0')(x)


class Encoder(nn.Module):
  """The block of the encoder; without `down`, of the decoder."""

  features: int
  places: Places
  groups: int
  dtype: Any
  down: bool = True

  @nn.compact
  def __call__(self, x, skip=None):
    """Maps features, and those of the stage before, to the next level.

    Args:
      x: [n, h, w, c].
      skip: features of the stage before, or None.

    Returns:
      ([n, h / 2, w / 2, features], the skip [n, h, w, features]); without
      `down` the skip alone.
    """
    x = shortcut = _conv(self, self.features, 'Conv_0')(x)
    for k in range(self.groups):
      x = MultiAxisGmlp(self.places, self.dtype,
                        name=f'SplitHeadMultiAxisGmlpLayer_{k}')(x)
      x = ChannelAttentionBlock(
          self.dtype, name=f'channel_attention_block_1{k}')(x)
    x = x + shortcut
    if skip is not None:
      x, _ = CrossGating(self.features, self.places, self.dtype,
                         name='cross_gating_block')(x, skip)
    if not self.down:
      return x
    down = layers.Conv(self.features, 4, stride=2, padding=1, dtype=self.dtype,
                       name='Conv_1')
    return down(x), x


class Decoder(nn.Module):
  """The block of the decoder."""

  features: int
  places: Places
  groups: int
  dtype: Any

  @nn.compact
  def __call__(self, x, bridge):
    """Maps features to twice the size.

    Args:
      x: [n, h / 2, w / 2, c].
      bridge: features of all levels, [n, h, w, c'].

    Returns:
      [n, h, w, features].
    """
    x = Double(self.features, self.dtype, name='ConvTranspose_0')(x)
    return Encoder(
        self.features, self.places, self.groups, self.dtype, down=False,
        name='UNetEncoderBlock_0')(jnp.concatenate([x, bridge], axis=-1))


class Bottleneck(nn.Module):
  """Multi-axis gMLPs, each followed by an MLP of channels with attention."""

  features: int
  places: Places
  groups: int
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to [n, h, w, features]."""
    x = shortcut = _conv(self, self.features, 'input_proj')(x)
    for k in range(self.groups):
      x = MultiAxisGmlp(self.places, self.dtype,
                        name=f'SplitHeadMultiAxisGmlpLayer_{k}')(x)
      x = ChannelMixingBlock(
          self.dtype, name=f'channel_attention_block_1_{k}')(x)
    return x + shortcut


class MultiAxisGmlp(nn.Module):
  """x + P(concat(grid gMLP(u), block gMLP(v))), u and v halves of gelu(Q x)."""

  places: Places
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    y = _norm(self, 'LayerNorm_in')(x)
    y = nn.gelu(_dense(self, 2 * x.shape[-1], 'in_project')(y))
    u, v = jnp.split(y, 2, axis=-1)
    u = Gmlp('Grid', self.places, self.dtype, name='GridGmlpLayer')(u)
    v = Gmlp('Block', self.places, self.dtype, name='BlockGmlpLayer')(v)
    y = jnp.concatenate([u, v], axis=-1)
    return x + _dense(self, x.shape[-1], 'out_project')(y)


class Gmlp(nn.Module):
  """x + P(gating unit(gelu(Q x))), along the axis 'Grid' or 'Block'."""

  axis: str
  places: Places
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    y = _norm(self, 'LayerNorm')(x)
    y = nn.gelu(_dense(self, 2 * x.shape[-1], 'in_project')(y))
    y = GatingUnit(self.axis, self.places, self.dtype,
                   name=f'{self.axis}GatingUnit')(y)
    return x + _dense(self, x.shape[-1], 'out_project')(y)


class GatingUnit(nn.Module):
  """u * (W norm(v) + b + 1), u and v: halves of the channels."""

  axis: str
  places: Places
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, 2 c] to [n, h, w, c]."""
    u, v = jnp.split(x, 2, axis=-1)
    v = _norm(self, 'intermediate_layernorm')(v)
    v = Positions(self.axis, self.places, self.dtype, name='Dense_0')(v)
    return u * (v + 1)


class CrossGating(nn.Module):
  """Two inputs, each gated by the other.

    y' = y0 + P_y(a_y G_x(a_x)),  x' = x0 + P_x(a_x G_y(a_y)) + y',

  with x0 and y0 of `features` channels and a = gelu(Q norm(.)). With `upsample`
  y is half as large as x.
  """

  features: int
  places: Places
  dtype: Any
  upsample: bool = False

  @nn.compact
  def __call__(self, x, y):
    """Maps (x, y), both [n, h, w, c], to (x', y')."""
    if self.upsample:
      y = Double(self.features, self.dtype, name='ConvTranspose_0')(y)
    x = _conv(self, self.features, 'Conv_0')(x)
    y = _conv(self, self.features, 'Conv_1')(y)
    a_x, gate_x = self._gate(x, 'x')
    a_y, gate_y = self._gate(y, 'y')
    project = lambda name: _dense(self, self.features, f'out_project_{name}')
    y = y + project('y')(a_y * gate_x)
    return x + project('x')(a_x * gate_y) + y, y

  def _gate(self, x, name):
    a = _norm(self, f'LayerNorm_{name}')(x)
    a = nn.gelu(_dense(self, self.features, f'in_project_{name}')(a))
    return a, MultiAxisGating(self.places, self.dtype,
                              name=f'SplitHeadMultiAxisGating_{name}')(a)


class MultiAxisGating(nn.Module):
  """P(concat(W_grid u, W_block v)), u and v: halves of gelu(Q norm(x))."""

  places: Places
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    y = _norm(self, 'LayerNorm_in')(x)
    y = nn.gelu(_dense(self, 2 * x.shape[-1], 'in_project')(y))
    u, v = jnp.split(y, 2, axis=-1)
    u = Positions('Grid', self.places, self.dtype, name='Dense_0')(u)
    v = Positions('Block', self.places, self.dtype, name='Dense_1')(v)
    y = jnp.concatenate([u, v], axis=-1)
    return _dense(self, x.shape[-1], 'out_project')(y)


class Positions(nn.Module):
  """One matrix and one bias over the positions of a grid or of each block."""

  axis: str
  places: Places
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    side, rank = self.places
    count, zeros = side**2, nn.initializers.zeros
    param = lambda name, init, *shape: layers.param(
        self, name, init, shape).astype(self.dtype)
    if rank:
      linear = spatial_mixing.low_rank(
          param('left', nn.initializers.lecun_normal(), count, rank),
          param('right', nn.initializers.lecun_normal(), rank, count),
          param('diagonal', zeros, count))
    else:
      linear = spatial_mixing.full(
          param('kernel', nn.initializers.lecun_normal(), count, count))
    bias = param('bias', zeros, count)
    return spatial_mixing.MIX[self.axis](x, linear, bias, side=side)


class ChannelAttentionBlock(nn.Module):
  """x + attention(conv(leaky_relu(conv(norm(x))))), 3x3 (RCAB)."""

  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    conv = lambda name: layers.Conv(
        x.shape[-1], 3, dtype=self.dtype, name=name)
    y = conv('conv1')(_norm(self, 'LayerNorm')(x))
    y = conv('conv2')(layers.leaky_relu(y))
    return x + ChannelAttention(self.dtype, name='channel_attention')(y)


class ChannelMixingBlock(nn.Module):
  """x + attention(MLP(norm(x))), the MLP between the channels of a pixel."""

  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    y = ChannelMlp(self.dtype, name='channel_mixing')(
        _norm(self, 'LayerNorm')(x))
    return x + ChannelAttention(self.dtype, name='channel_attention')(y)


class ChannelMlp(nn.Module):
  """Dense, gelu, Dense, with equal numbers of channels."""

  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    y = nn.gelu(_dense(self, x.shape[-1], 'Dense_0')(x))
    return _dense(self, x.shape[-1], 'Dense_1')(y)


class ChannelAttention(nn.Module):
  """x * sigmoid(Conv(relu(Conv(mean of x over the picture))))."""

  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    y = local_pooling.mean(x).astype(self.dtype)
    y = layers.relu(_conv(self, x.shape[-1] // REDUCTION, 'Conv_0')(y))
    return x * nn.sigmoid(_conv(self, x.shape[-1], 'Conv_1')(y))


class SupervisedAttention(nn.Module):
  """Predicts the image blur + Conv(x), and the features for the next stage.

  The features are x + Conv(x) * sigmoid(Conv(image)); None with `image_only`.
  """

  features: int
  image_only: bool
  dtype: Any

  @nn.compact
  def __call__(self, x, blur):
    """Maps (x [n, h, w, c], blur) to (image, features)."""
    conv = lambda features, name: layers.Conv(
        features, 3, dtype=self.dtype, name=name)
    image = blur + conv(blur.shape[-1], 'Conv_1')(x).astype(jnp.float32)
    if self.image_only:
      return image, None
    gate = nn.sigmoid(conv(self.features, 'Conv_2')(image))
    return image, x + conv(self.features, 'Conv_0')(x) * gate


class Double(nn.Module):
  """A transposed 2x2 convolution with a stride of 2: no pixels overlap.

  out[2 i + a, 2 j + b] = x[i, j] kernel[1 - a, 1 - b]
  """

  features: int
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to [n, 2 h, 2 w, features]."""
    n, h, w, channels = x.shape
    kernel = layers.param(self, 'kernel', nn.initializers.lecun_normal(),
                          (2, 2, channels, self.features))
    bias = layers.param(self, 'bias', nn.initializers.zeros, (self.features,))
    kernel = kernel[::-1, ::-1].transpose(2, 0, 1, 3).astype(self.dtype)
    y = x.astype(self.dtype) @ kernel.reshape(channels, 4 * self.features)
    y = y.reshape(n, h, w, 2, 2, self.features).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(n, 2 * h, 2 * w, self.features)
    return y + bias.astype(self.dtype)[None, None, None, :]


def _norm(module, name):
  return layers.LayerNorm(epsilon=1e-6, dtype=module.dtype, name=name)


def _dense(module, features, name):
  return layers.Dense(features, dtype=module.dtype, name=name)


def _conv(module, features, name):
  return layers.Conv(features, 1, dtype=module.dtype, name=name)
