"""The record of a network: all that other parts need to know of it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from deblur_jax.state import Params


class Network(NamedTuple):
  """A network with its metadata; `models.NETWORKS` has one of each.

  Attributes:
    module: the linen module; its fields are the options of a config.
    kind: a row of KINDS: what it takes and returns.
    small: options of a small one for tests, which compiles quickly.
    scales: how many images a restorer returns if it has no option `scales`.
    pyramid: the row of `pyramid.PYRAMIDS` by which a restorer of several scales
      shrinks pictures, if it has no option `pyramid`.
    identity: name of the last layer of a restorer with a global skip: with
      zeros there, the small network returns the blurry image. '' without.
    shapes: net -> {'path/of/a/leaf': shape}, if a trace of the network is slow.
    training_only: net -> names of leaves that only training reads.
    kept: (smaller net, net) -> which values of the larger network's
      parameters the smaller one has too, as arrays of bools; None if networks
      of this module cannot become smaller.
    receptive_field: net -> side of the square of pixels that one value of the
      result depends on. None if it depends on the whole image or is not known;
      `inference.restoration.receptive_field` measures it.
  """

  module: type[nn.Module]
  kind: str
  small: Mapping[str, Any]
  scales: int = 1
  pyramid: str | None = None
  identity: str = ''
  shapes: Callable[[Any], Mapping[str, tuple[int, ...]]] | None = None
  training_only: Callable[[Any], set[str]] = lambda net: set()
  kept: Callable[[Any, Any], Params] | None = None
  receptive_field: Callable[[Any], int] | None = None


# What networks of each kind do. Images are float32 [n, h, w, 3] in [0, 1].
KINDS = {
    'restorer': 'images to a list of images, finest first',
    'discriminator': "images to logits [n, h', w', 1]",
    'kernel_estimator': 'images to a `kernel_estimator.Estimate`',
    'blur_classifier': 'images to logits [n, types]',
    'prior': "a code [n, h', w', depth] to images in (0, 1)",
    'kernel_prior': 'a code [n, depth] to kernels [n, kh, kw]',
}
