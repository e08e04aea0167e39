"""LPIPS v0.1, a learned perceptual distance (Zhang et al. 2018).

  sum over layers l of  mean over pixels of  w_l . (f_l(x) - f_l(y))^2

where f_l are the activations of a network trained on ImageNet, scaled to unit
length at each pixel (eq. 1). Lower is better. It needs two files of weights
that are not part of this project:

* the backbone: the file that torchvision downloads for `alexnet` or `vgg16`,
  or an .npz with its names (`features.0.weight` [out, in, h, w],
  `features.0.bias`, ...);
* the linear layers: `lpips/weights/v0.1/alex.pth` or `vgg.pth` of
  richzhang/PerceptualSimilarity, or an .npz (`lin0.model.1.weight`, ...).
"""

import functools
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.metrics import common
from deblur_jax.metrics.record import Metric
from deblur_jax.ops import weight_files
from deblur_jax.state import Array

# Normalisation of the backbone's inputs in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


class Conv(NamedTuple):
  """A convolution with ReLU.

  Attributes:
    index: `features.INDEX` in torchvision.
    channels: in, out.
    side: of the kernel.
    stride: in pixels.
    padding: on each side, pixels.
  """

  index: int
  channels: tuple[int, int]
  side: int = 3
  stride: int = 1
  padding: int = 1


class Pool(NamedTuple):
  """Max pooling with a stride of 2.

  Attributes:
    side: of the window.
  """

  side: int


TAP = None      # the activations at this place are compared
ALEX = (
    Conv(0, (3, 64), 11, 4, 2), TAP, Pool(3),
    Conv(3, (64, 192), 5, 1, 2), TAP, Pool(3),
    Conv(6, (192, 384)), TAP, Conv(8, (384, 256)), TAP,
    Conv(10, (256, 256)), TAP)
VGG = (
    Conv(0, (3, 64)), Conv(2, (64, 64)), TAP, Pool(2),
    Conv(5, (64, 128)), Conv(7, (128, 128)), TAP, Pool(2),
    Conv(10, (128, 256)), Conv(12, (256, 256)), Conv(14, (256, 256)), TAP,
    Pool(2),
    Conv(17, (256, 512)), Conv(19, (512, 512)), Conv(21, (512, 512)), TAP,
    Pool(2),
    Conv(24, (512, 512)), Conv(26, (512, 512)), Conv(28, (512, 512)), TAP)


class Net(NamedTuple):
  """A backbone and the names of its files.

  Attributes:
    layers: convolutions, pools and TAPs, in order.
    backbone: file of torchvision's weights.
    linear: file of the metric's weights.
    side: of the smallest image that the last layer can take.
  """

  layers: Sequence
  backbone: str
  linear: str
  side: int


NETS = {
    'alex': Net(ALEX, 'alexnet-owt-7be5be79.pth', 'alex.pth', 32),
    'vgg': Net(VGG, 'vgg16-397923af.pth', 'vgg.pth', 16)}


def build_alex(
    *, backbone: str | pathlib.Path, linear: str | pathlib.Path
) -> Callable[[Array, Array], Array]:
  """LPIPS on AlexNet, the default of its authors.

  Args:
    backbone: file of AlexNet's weights, .pth or .npz.
    linear: file of the linear layers, .pth or .npz.

  Returns:
    (restored, sharp) -> [n], see `lpips`.

  Raises:
    UserError: a file is missing or lacks a weight.
  """
  params = load(net='alex', backbone=backbone, linear=linear)
  return functools.partial(lpips, params, net='alex')


def build_vgg(
    *, backbone: str | pathlib.Path, linear: str | pathlib.Path
) -> Callable[[Array, Array], Array]:
  """LPIPS on VGG16.

  Args:
    backbone: file of VGG16's weights, .pth or .npz.
    linear: file of the linear layers, .pth or .npz.

  Returns:
    (restored, sharp) -> [n], see `lpips`.

  Raises:
    UserError: a file is missing or lacks a weight.
  """
  params = load(net='vgg', backbone=backbone, linear=linear)
  return functools.partial(lpips, params, net='vgg')


def load(
    *, net: str, backbone: str | pathlib.Path, linear: str | pathlib.Path
) -> dict[str, list]:
  """Reads the weights of LPIPS.

  Args:
    net: a row of NETS, 'alex' or 'vgg'.
    backbone: file of the backbone's weights, .pth or .npz.
    linear: file of the linear layers, .pth or .npz.

  Returns:
    {'convs': [(kernel HWIO, bias), ...], 'linear': [[channels], ...]}.

  Raises:
    UserError: an unknown network, or a file that is missing or lacks a weight
      of the right shape.
  """
  about = errors.look_up(NETS, net, what='LPIPS network')
  convs = [layer for layer in about.layers if isinstance(layer, Conv)]
  weights = weight_files.read(backbone, what=(
      f"torchvision's {about.backbone} from download.pytorch.org/models, or an "
      '.npz with its names'))
  kernels = [
      (_take(weights, f'features.{conv.index}.weight',
             (*conv.channels[::-1], conv.side, conv.side),
             backbone).transpose(2, 3, 1, 0),
       _take(weights, f'features.{conv.index}.bias',
             conv.channels[1:], backbone))
      for conv in convs]
  weights = weight_files.read(linear, what=(
      f"{about.linear} from lpips/weights/v0.1 of richzhang/"
      'PerceptualSimilarity, or an .npz with its names'))
  return {'convs': kernels, 'linear': [
      _take(weights, f'lin{i}.model.1.weight', (1, channels, 1, 1),
            linear).reshape(-1)
      for i, channels in enumerate(_tap_channels(about.layers))]}


def lpips(
    params: dict[str, list], restored: Array, sharp: Array, *,
    net: str
) -> Array:
  """The distance of images that are rounded to 8 bits.

  Args:
    params: from `load`.
    restored: float32 [n, h, w, 3] in [0, 1]; h and w are at least 32 with
      'alex', 16 with 'vgg'.
    sharp: the same shape.
    net: a row of NETS, 'alex' or 'vgg'.

  Returns:
    float32 [n]; 0 for equal images.

  Raises:
    UserError: unequal shapes, images that are not RGB or too small.
  """
  common.check(restored, sharp)
  about = NETS[net]
  common.check_size(restored, side=about.side, what=f'LPIPS with {net}')
  pairs = zip(params['linear'], features(params, restored, net=net),
              features(params, sharp, net=net), strict=True)
  return sum(
      common.mean(jnp.square(common.unit(f) - common.unit(g))
                  * linear[None, None, None, :]) * len(linear)
      for linear, f, g in pairs)


def features(
    params: dict[str, list], images: Array, *, net: str
) -> list[Array]:
  """The activations that LPIPS compares.

  Args:
    params: from `load`.
    images: float32 [n, h, w, 3] in [0, 1].
    net: a row of NETS, 'alex' or 'vgg'.

  Returns:
    Activations [n, h / s, w / s, c] of five layers, at their own strides s.
  """
  x = common.round_to_uint8(images) / 127.5 - 1
  x = (x - np.asarray(SHIFT, np.float32)[None, None, None, :]) / (
      np.asarray(SCALE, np.float32)[None, None, None, :])
  convs = iter(params['convs'])
  taps = []
  for layer in NETS[net].layers:
    if layer is TAP:
      taps.append(x)
    elif isinstance(layer, Pool):
      x = jax.lax.reduce_window(
          x, -jnp.inf, jax.lax.max, (1, layer.side, layer.side, 1),
          (1, 2, 2, 1), 'VALID')
    else:
      x = _convolve(x, *next(convs), layer)
  return taps


def _convolve(x, kernel, bias, conv):
  x = jax.lax.conv_general_dilated(
      x, jnp.asarray(kernel), (conv.stride, conv.stride),
      ((conv.padding, conv.padding),) * 2,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      precision=jax.lax.Precision.HIGHEST)
  return jnp.maximum(x + jnp.asarray(bias)[None, None, None, :], 0)


def _tap_channels(layers):
  return [before.channels[1] for before, layer in
          zip(layers, layers[1:], strict=False) if layer is TAP]


def _take(weights, name, shape, path):
  if name not in weights:
    raise errors.UserError(
        f'{path} has no {name}.{errors.suggest(name, weights)}')
  if weights[name].shape != tuple(shape):
    raise errors.UserError(
        f'{path}: expected {name} of shape {tuple(shape)}, got '
        f'{weights[name].shape}.')
  return weights[name].astype(np.float32)


ALEXNET, VGG16 = (
    Metric(build, f'LPIPS v0.1 on {name}', higher_is_better=False,
           range=(0, math.inf), needs_weights=True, side=NETS[net].side)
    for build, name, net in (
        (build_alex, 'AlexNet', 'alex'), (build_vgg, 'VGG16', 'vgg')))
