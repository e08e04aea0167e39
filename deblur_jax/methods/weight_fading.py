"""Fades weights that a smaller network does not have, while the net learns."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from deblur_jax import errors, models
from deblur_jax.config import call
from deblur_jax.state import Array, Params
from deblur_jax.training import optim


class Fade(NamedTuple):
  """The leaf method.fade of a config.

  Attributes:
    net: options in which the smaller network differs: {'groups': 1}.
    steps: after so many steps the weights that it lacks are zero.
  """

  net: Mapping[str, Any]
  steps: int


def build(
    net: nn.Module, options: Mapping[str, Any] | None
) -> Callable[[Params, Array], Params]:
  """(parameters, step) -> the parameters that count at that step.

  Args:
    net: the network that learns.
    options: of `Fade`; None fades nothing.

  Raises:
    UserError: not of this form, or no such smaller network.
  """
  if options is None:
    return lambda params, step: params
  if not isinstance(options, Mapping):
    raise errors.UserError(
        'method.fade must be a dict such as dict(net=dict(groups=1), '
        f'steps=1000), got {options!r}.')
  fade = call(Fade, options, where='method.fade')
  if not isinstance(fade.net, Mapping):
    raise errors.UserError(
        'method.fade.net must be a dict of options such as dict(groups=1), '
        f'got {fade.net!r}.')
  if not isinstance(fade.steps, int) or fade.steps < 1:
    raise errors.UserError(
        f'method.fade.steps must be a whole number above 0, got {fade.steps}.')
  kept = models.kept(net, fade.net, where='method.fade.net')
  return lambda params, step: optim.fade(
      params, kept, step=step, steps=fade.steps)
