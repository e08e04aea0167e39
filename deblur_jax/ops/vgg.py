"""Features of VGG19 (Simonyan and Zisserman 2015), for losses and for metrics.

Layers have the paper's names: 'conv3_3' is a convolution before its ReLU,
'relu3_3' the same after it. Weights are read from a file. They are parameters
that the caller passes to the network.

Two sets of weights are in use. Each was trained with its own convention of
inputs and is wrong with the other's (CONVENTIONS):

  'caffe'        BGR in 0 .. 255 minus (103.939, 116.779, 123.68): the authors'
                 network, and Keras' copy of it
  'torchvision'  RGB in [0, 1], minus (0.485, 0.456, 0.406), divided by
                 (0.229, 0.224, 0.225): torchvision's network
  'deblurgan'    RGB in [-1, 1]: torchvision's network with the inputs of
                 DeblurGAN's released code

Features scale with the inputs. For caffe's weights, converted to the inputs of
the others, the mean squares at conv3_3 are 3300 times smaller for 'torchvision'
and 15 000 times for 'deblurgan' (measured on GoPro pairs); the weight of a loss
grows by the same factor. This is an estimate: torchvision's weights were
trained separately.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.ops import conv, weight_files
from deblur_jax.state import Array, Params

CHANNELS = (64, 128, 256, 512, 512)   # of each block
CONVS = tuple((block, n) for block, depth in enumerate((2, 2, 4, 4, 4), 1)
              for n in range(1, depth + 1))
# Layer -> the number of convolutions up to it.
LAYERS = {f'{kind}{block}_{n}': count
          for count, (block, n) in enumerate(CONVS, 1)
          for kind in ('conv', 'relu')}
DTYPES = ('float32', 'bfloat16')
_WHAT = (
    "VGG19's weights, .npz, .safetensors or .pth: torchvision's vgg19 "
    "(features.0.weight, features.0.bias, features.2.weight, ...) or Keras' "
    'VGG19 saved as block1_conv1__kernel [3, 3, 3, 64], block1_conv1__bias, '
    'block1_conv2__kernel, ..., each with its own licence')


class Features(NamedTuple):
  """A frozen network.

  Attributes:
    params: float32 arrays.
    apply: (params, images [n, h, w, 3] in [0, 1]) -> [n, h / s, w / s, c].
  """

  params: Params
  apply: Callable[[Params, Array], Array]


class Vgg19(nn.Module):
  """The network VGG19 up to the last of the given layers.

  Attributes:
    layers: names in LAYERS.
    convention: a name in CONVENTIONS.
    dtype: of the computation, a name in DTYPES.
  """

  layers: Sequence[str]
  convention: str
  dtype: Any = 'float32'

  @nn.compact
  def __call__(self, images: Array) -> list[Array]:
    """Computes the features of each of `layers`.

    Args:
      images: [n, h, w, 3] in [0, 1].

    Returns:
      float32 [n, h // 2^(b-1), w // 2^(b-1), CHANNELS[b - 1]] for a layer of
      block b.

    Raises:
      UserError: the images have another shape or are too small.
    """
    convs = CONVS[:_count(self.layers)]
    _check_images(images, blocks=convs[-1][0])
    x = CONVENTIONS[self.convention](images.astype(jnp.float32))
    found = {}
    for block, n in convs:
      if n == 1 and block > 1:
        x = _max_pool(x)
      convolve = _Conv(
          CHANNELS[block - 1], self.dtype, name=f'block{block}_conv{n}')
      x = found[f'conv{block}_{n}'] = convolve(x)
      x = found[f'relu{block}_{n}'] = jax.nn.relu(x)
    return [found[layer].astype(jnp.float32) for layer in self.layers]


def build(
    *, path: str | pathlib.Path | None, layer: str = 'conv3_3',
    convention: str | None = None, sha256: str = '',
    dtype: str = 'float32'
) -> Features:
  """Builds the function of one layer's features.

  Args:
    path: as of `load`. None makes parameters of zeros, for a method whose state
      with the true parameters comes from a checkpoint.
    layer: a name in LAYERS.
    convention: as of `load`.
    sha256: as of `load`.
    dtype: as of `load`.

  Returns:
    The parameters and the function.

  Raises:
    UserError: as `load`.
  """
  if path is None:
    net = Vgg19((layer,), convention or 'torchvision', dtype)
    shapes = jax.eval_shape(
        net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))['params']
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    return _features(net, params)
  net, params = load(path=path, layers=(layer,), convention=convention,
                     sha256=sha256, dtype=dtype)
  return _features(net, params)


def load(
    *, path: str | pathlib.Path, layers: Sequence[str],
    convention: str | None = None, sha256: str = '',
    dtype: str = 'float32'
) -> tuple[Vgg19, Params]:
  """Loads the network up to the last of `layers`, with the weights of a file.

  Args:
    path: .npz, .safetensors or .pth with the names of torchvision
      (`features.0.weight` [out, in, 3, 3], `features.0.bias`, ...) or
      `block1_conv1__kernel` [3, 3, in, out], `block1_conv1__bias`, ...; later
      layers than the last of `layers` may be missing.
    layers: names in LAYERS.
    convention: a name in CONVENTIONS; by default 'torchvision' for
      torchvision's names and 'caffe' for the others.
    sha256: of the file, hexadecimal; '' skips the check.
    dtype: of the computation, a name in DTYPES.

  Returns:
    The network and its parameters {'block1_conv1': {'kernel', 'bias'}, ...},
    NumPy, float32.

  Raises:
    UserError: a name is unknown, there is no such file, its hash differs, or it
      is another network or has not all layers.
  """
  count = _count(layers)
  if convention is not None:
    errors.look_up(CONVENTIONS, convention, what='convention of VGG19')
  if dtype not in DTYPES:
    raise errors.UserError(
        f'VGG19 computes in {" or ".join(DTYPES)}, got {dtype}.'
        f'{errors.suggest(dtype, DTYPES)}')
  weights = weight_files.read(path, what=_WHAT)
  if sha256:
    weight_files.check_sha256(path, sha256)
  layout = _layout(weights, path)
  _check_weights(weights, layout, path, count)
  net = Vgg19(tuple(layers), convention or layout.convention, dtype)
  return net, {
      f'block{block}_conv{n}': layout.take(weights, i)
      for i, (block, n) in enumerate(CONVS[:count])}


def _features(net, params) -> Features:
  return Features(
      params, lambda params, images: net.apply({'params': params}, images)[0])


class _Conv(nn.Module):
  """A 3x3 convolution with zero padding."""

  features: int
  dtype: Any

  @nn.compact
  def __call__(self, x):
    shape = (3, 3, x.shape[-1], self.features)
    kernel = self.param('kernel', nn.initializers.he_normal(), shape)
    bias = self.param('bias', nn.initializers.zeros, shape[3:])
    y = conv.conv(x.astype(self.dtype), kernel.astype(self.dtype), padding=1)
    return y + bias.astype(self.dtype)[None, None, None, :]


def _max_pool(x):
  """2x2 maxima; an odd last row or column is ignored, as in the frameworks.

  By slices, because XLA's gradient of windowed maxima is slow on CPUs.
  """
  height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
  x = x[:, :height, :width]
  x = jnp.maximum(x[:, ::2], x[:, 1::2])
  return jnp.maximum(x[:, :, ::2], x[:, :, 1::2])


def _count(layers):
  return max(errors.look_up(LAYERS, layer, what='layer of VGG19')
             for layer in layers)


def _check_images(images, *, blocks):
  side = 2**(blocks - 1)
  if (images.ndim != 4 or images.shape[-1] != 3
      or min(images.shape[1:3]) < side):
    raise errors.UserError(
        f'VGG19 up to block {blocks} takes images [n, h, w, 3] of at least '
        f'{side}x{side} pixels, got {images.shape}.')


class _Layout(NamedTuple):
  """Names, axes and convention of the weights in a file."""

  names: tuple[tuple[str, str], ...]   # of kernel and bias
  axes: tuple[int, ...]                # transposition of a kernel to HWIO
  convention: str

  def shapes(self, i):
    """Returns the shapes of kernel and bias of convolution i in the file."""
    block, n = CONVS[i]
    channels = (3, *CHANNELS)
    out = channels[block]
    hwio = (3, 3, channels[block - 1] if n == 1 else out, out)
    return tuple(hwio[self.axes.index(axis)] for axis in range(4)), (out,)

  def take(self, weights, i):
    """Returns the parameters of convolution i."""
    kernel, bias = (np.asarray(weights[name], np.float32)
                    for name in self.names[i])
    return {'kernel': kernel.transpose(self.axes), 'bias': bias}


def _own_names():
  for block, n in CONVS:
    yield f'block{block}_conv{n}__kernel', f'block{block}_conv{n}__bias'


def _torchvision_names():
  """In `features` each ReLU and each pooling has a number, too."""
  for i, (block, _) in enumerate(CONVS):
    number = 2 * i + block - 1
    yield f'features.{number}.weight', f'features.{number}.bias'


_LAYOUTS = (
    _Layout(tuple(_own_names()), (0, 1, 2, 3), 'caffe'),
    _Layout(tuple(_torchvision_names()), (2, 3, 1, 0), 'torchvision'))


def _layout(weights, path):
  for layout in _LAYOUTS:
    if layout.names[0][0] in weights:
      return layout
  raise errors.UserError(
      f'{path} is not VGG19: it holds {", ".join(list(weights)[:4])}, ...; it '
      f'should be {_WHAT}.')


def _check_weights(weights, layout, path, count):
  """Refuses other networks, also where their first layers fit."""
  here = [all(name in weights for name in names) for names in layout.names]
  held = [f'conv{block}_{n}' for (block, n), is_here
          in zip(CONVS, here, strict=True) if is_here]
  wrong = [
      f'{name} {weights[name].shape} instead of {shape}'
      for i in range(len(CONVS)) if here[i]
      for name, shape in zip(layout.names[i], layout.shapes(i), strict=True)
      if weights[name].shape != shape]
  if wrong:
    raise errors.UserError(
        f'{path} is not VGG19: it has {"; ".join(wrong[:4])}'
        f'{" and more" if wrong[4:] else ""}.')
  missing = here.index(False) if False in here else len(here)
  if any(here[missing:]):
    raise errors.UserError(
        f'{path} is not VGG19: it has no {layout.names[missing][0]}, but later '
        f'layers (VGG16, or one with batch norm?).')
  if missing < count:
    raise errors.UserError(
        f'{path} ends before conv{CONVS[count - 1][0]}_{CONVS[count - 1][1]}: '
        f'it holds {", ".join(held)}.')


def _shift_and_scale(mean, scale):
  """images -> (images - mean) / scale, for each channel."""
  mean, scale = (np.float32(values)[None, None, None, :]
                 for values in (mean, scale))
  return lambda images: (images - mean) / scale


def _caffe(images):
  mean = np.float32((103.939, 116.779, 123.68))[None, None, None, :]
  return images[..., ::-1] * 255 - mean


CONVENTIONS = {
    'caffe': _caffe,
    'deblurgan': lambda images: images * 2 - 1,
    'torchvision': _shift_and_scale(
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
