"""Networks: pure linen modules, generators and critics.

A generator (`MODELS`) takes [n, h, w, 3] in [0, 1] and returns a list of
images, finest first; those with dropout learn by `net.apply(variables, blur,
train=True, rngs={'dropout': key})`, and the others take that too. A critic
(`CRITICS`) takes the same images and returns a map of logits [n, h', w', 1],
float32. `ATTENTION` is what the option attention of generators may be.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from deblur_jax import types
from deblur_jax.models import (
    attention,
    fpn,
    fusion,
    multiscale,
    nafnet,
    nah_discriminator,
    patchgan,
    resnet,
    restormer,
    single_scale,
    srn,
    unet,
)


def build(*, name: str, **kwargs) -> nn.Module:
  """A generator or critic from one leaf of the config, such as `nets.net`.

  Raises:
    types.UserError: for an unknown name or option.
  """
  network = types.look_up(MODELS | CRITICS, name, what='network')
  return types.call(network, kwargs=kwargs, where='nets')


def check_kind(net: nn.Module, table, *, where: str) -> None:
  """A UserError where a network is not of one of the tables below."""
  if not isinstance(net, tuple(table.values())):
    raise types.UserError(
        f'{where} must be one of {", ".join(sorted(table))}, got a '
        f'{type(net).__name__}.')


def check_scales(net: nn.Module, crop: tuple[int, int]) -> None:
  """A UserError where a generator's scales do not halve such crops exactly.

  Its targets are a pyramid of the crop, and must have the sizes of its scales.
  """
  scales = len(jax.eval_shape(
      lambda x: net.init_with_output(jax.random.key(0), x)[0],
      jax.ShapeDtypeStruct((1, *crop, 3), jnp.float32)))
  if any(side % 2**(scales - 1) for side in crop):
    raise types.UserError(
        f'data.loader.crop = {crop[0]} is not divisible by 2^(K-1) = '
        f'{2**(scales - 1)} for K = {scales} scales.')


def count_parameters(params: types.Params) -> int:
  """The number of values in a tree of arrays, or of their shapes."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def shapes(net: nn.Module) -> types.Params:
  """The parameters of a network as `jax.ShapeDtypeStruct`s."""
  size = max(32, least_crop(net))
  image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  return jax.eval_shape(net.init, jax.random.key(0), image)['params']


def init(net: nn.Module, key: types.Array) -> types.Params:
  """Fresh parameters of a network.

  Runs eagerly on a small image, whose size parameters do not depend on: jit and
  `lazy_init` take a minute to compile the random numbers of 120 layers.
  """
  size = max(32, least_crop(net))
  return net.init(key, jnp.zeros((1, size, size, 3)))['params']


def least_crop(net: nn.Module) -> int:
  """Side of the smallest image that a network takes: 1 but for critics."""
  return net.least_crop if isinstance(net, tuple(CRITICS.values())) else 1


MODELS = {
    'multiscale': multiscale.MultiScale,
    'single_scale': single_scale.SingleScale,
    'resnet': resnet.ResNet,
    'unet': unet.UNet,
    'fpn': fpn.FPN,
    'restormer': restormer.Restormer,
    'srn': srn.SRN,
    'fusion': fusion.Fusion,
    'nafnet': nafnet.NAFNet,
}
CRITICS = {
    'patchgan': patchgan.PatchGAN,
    'nah_discriminator': nah_discriminator.NahDiscriminator,
}
ATTENTION = attention.ATTENTION
