"""Networks: generators, discriminators, estimators and priors.

A generator (`MODELS`) takes [n, h, w, 3] in [0, 1] and returns a list of
images, finest first; one with an option `window` takes so many frames of a
video, [n, h, w, 3 * window], and restores the middle one. Those with dropout
learn by `net.apply(variables, blur, train=True, rngs={'dropout': key})`, and
the others take that too. A discriminator
(`DISCRIMINATORS`) takes the same images and returns a map of logits [n, h', w',
1], float32. An estimator (`KERNEL_ESTIMATORS`) takes them to the kernels that
blurred them, a `kernel_estimator.Estimate`; a classifier (`CLASSIFIERS`) to the
logits of its types, [n, types]. `ATTENTION` is what the option attention of
generators may be.

A prior (`PRIORS`) has learnt nothing: it is fitted to one picture. It takes a
code, noise that the caller keeps, of shape [n, *net.code(size)] for images of
`size` = (h, w), and `net.apply(variables, z, size=size)` is [n, h, w, channels]
in (0, 1), float32. `PRESETS` has those of the papers. A prior of kernels
(`KERNELS`) takes [n, depth] to kernels [n, kh, kw].
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.interpreters import partial_eval

from deblur_jax import errors
from deblur_jax.config import call
from deblur_jax.models import (
    attention,
    blur_classifier,
    deep_decoder,
    fpn,
    fusion,
    kernel_estimator,
    kernel_fourier,
    kernel_net,
    maxim,
    maxim_files,
    maxim_student,
    multiscale,
    nafnet,
    nah_discriminator,
    patchgan,
    resnet,
    restormer,
    single_scale,
    skip,
    srn,
    unet,
    unet_prior,
)
from deblur_jax.models.presets import PRESETS as PRESETS
from deblur_jax.state import Array, Params


def build(*, name: str, **kwargs) -> nn.Module:
  """A network of any table from one leaf of the config, such as `nets.net`.

  Raises:
    UserError: for an unknown name or option.
  """
  network = errors.look_up(
      MODELS | DISCRIMINATORS | KERNEL_ESTIMATORS | CLASSIFIERS | PRIORS
      | KERNELS, name, what='network')
  return call(network, kwargs=kwargs, where='nets')


def check_kind(net: nn.Module, table, *, where: str) -> None:
  """A UserError where a network is not of one of the tables below."""
  if type(net) not in table.values():
    raise errors.UserError(
        f'{where} must be one of {", ".join(sorted(table))}, got a '
        f'{type(net).__name__}.')


def check_scales(net: nn.Module, crop: tuple[int, int]) -> None:
  """A UserError where a generator's scales do not halve such crops exactly.

  Its targets are a pyramid of the crop, and must have the sizes of its scales.
  """
  if type(net) is maxim.MAXIM:    # whose trace takes seconds
    scales = net.scales
  else:
    scales = len(jax.eval_shape(
        lambda x: net.init_with_output(jax.random.key(0), x)[0],
        jax.ShapeDtypeStruct((1, *crop, 3 * window(net)), jnp.float32)))
  if any(side % 2**(scales - 1) for side in crop):
    raise errors.UserError(
        f'data.loader.crop = {crop[0]} is not divisible by 2^(K-1) = '
        f'{2**(scales - 1)} for K = {scales} scales.')


def check_crop(
    net: nn.Module, crop: tuple[int, int], *, where: str) -> None:
  """A UserError where crops are too small for a network."""
  if min(crop) < least_crop(net):
    raise errors.UserError(
        f'data.loader.crop = {min(crop)} is below the {least_crop(net)} pixels '
        f'that {where} needs.')


def count_parameters(params: Params) -> int:
  """The number of values in a tree of arrays, or of their shapes."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def shapes(net: nn.Module) -> Params:
  """The parameters of a network as `jax.ShapeDtypeStruct`s."""
  if type(net) is maxim.MAXIM:    # whose trace takes seconds
    return traverse_util.unflatten_dict(
        {name: jax.ShapeDtypeStruct(shape, jnp.float32)
         for name, shape in maxim_files.leaves(net).items()}, sep='/')
  size = max(32, least_crop(net))
  image = jax.ShapeDtypeStruct((1, size, size, 3 * window(net)), jnp.float32)
  return jax.eval_shape(net.init, jax.random.key(0), image)['params']


def init(
    net: nn.Module, key: Array, *, known: Params | None = None
) -> Params:
  """Fresh parameters of a network.

  Of a small image, whose size parameters do not depend on, and eagerly: jit and
  `lazy_init` take a minute to compile the random numbers of 120 layers. What
  the network makes of the image is traced, but not computed.

  Args:
    net: the network.
    key: of the random numbers.
    known: a part of the parameters, which is taken as it is.
  """
  image = jnp.zeros((1, *_least_input(net)))
  traced, like = jax.make_jaxpr(
      lambda key: net.init(key, image)['params'], return_shape=True)(key)
  there = traverse_util.flatten_dict(known or {})
  paths = list(traverse_util.flatten_dict(like))
  leaves, tree = jax.tree.flatten(traverse_util.unflatten_dict(
      {path: path not in there for path in paths}))
  needed, _ = partial_eval.dce_jaxpr(traced.jaxpr, leaves, instantiate=True)
  drawn = iter(jax.core.eval_jaxpr(needed, traced.consts, key))
  fresh = traverse_util.flatten_dict(jax.tree.unflatten(
      tree, [next(drawn) if one else None for one in leaves]))
  return traverse_util.unflatten_dict({**fresh, **there})


def _least_input(net):
  if type(net) in PRIORS.values():
    return net.code((32, 32))
  if type(net) in KERNELS.values():
    return (net.depth,)
  size = max(32, least_crop(net))
  return size, size, 3 * window(net)


def least_crop(net: nn.Module) -> int:
  """Side of the smallest image that a network takes: 1 for most."""
  return getattr(net, 'least_crop', 1)


def window(net: nn.Module) -> int:
  """How many frames of a video a network takes: 1 for most."""
  return getattr(net, 'window', 1)


def own(net: nn.Module, params: Params) -> Params:
  """The parameters of a tree that a network reads, without tracing it.

  A file may serve several networks: fewer stages of MAXIM leave the rest.
  """
  return net.own(params) if hasattr(net, 'own') else params


def fewer(net: nn.Module, other: nn.Module) -> tuple[str, ...]:
  """Options by which a network reads a part of what another one reads.

  Both are of one kind. See `own`.
  """
  return net.fewer(other) if hasattr(net, 'fewer') else ()


def kept(
    net: nn.Module, options: Mapping[str, Any], *, where: str
) -> Params:
  """The values of a network's parameters that a smaller one has, too.

  Args:
    net: the network.
    options: in which the smaller one differs.
    where: their place in the config.

  Returns:
    A tree as the parameters, of arrays of bools.

  Raises:
    UserError: networks of this kind do not become smaller.
  """
  if type(net) is not maxim.MAXIM:
    raise errors.UserError(
        f'{where}: only maxim becomes smaller, not {type(net).__name__}.')
  own = {field.name: getattr(net, field.name)
         for field in dataclasses.fields(net)
         if field.name not in ('parent', 'name')}
  return maxim_student.kept(
      call(maxim.MAXIM, own | dict(options), where=where), net)


def training_only(net: nn.Module) -> set[str]:
  """Names of parameters that only training reads: heads of smaller scales.

  Published weights may lack them.
  """
  if type(net) is not maxim.MAXIM:
    return set()
  return set(maxim_files.leaves(net)) - set(
      maxim_files.leaves(net.clone(scales=1)))


def tiling(net: nn.Module) -> dict[str, float]:
  """Keywords of `tiling.build` that suit a network: its property `tiling`."""
  return dict(getattr(net, 'tiling', {}))


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
    'hourglass': skip.Hourglass,
    'maxim': maxim.MAXIM,
}
DISCRIMINATORS = {
    'patchgan': patchgan.PatchGAN,
    'nah_discriminator': nah_discriminator.NahDiscriminator,
}
KERNEL_ESTIMATORS = {
    'kernel_cnn': kernel_estimator.KernelCNN,
    'kernel_fourier': kernel_fourier.KernelFourier,
    'kernel_mixture': kernel_estimator.KernelMixture,
}
CLASSIFIERS = {'blur_type': blur_classifier.BlurType}
PRIORS = {
    'skip': skip.Skip,
    'unet_prior': unet_prior.UNetPrior,
    'deep_decoder': deep_decoder.DeepDecoder,
}
KERNELS = {'kernel_net': kernel_net.KernelNet}
ATTENTION = attention.ATTENTION
