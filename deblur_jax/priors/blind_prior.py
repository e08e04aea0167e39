"""Blind deblurring by two priors: SelfDeblur (Ren et al., CVPR 2020).

  min over theta, phi of  l(g_phi(z_k) * f_theta(z_x + s e), y)       (eq. 4)

f gives the sharp picture, and g gives the kernel, whose softmax makes its sum
one (eq. 8). * is the 'valid' convolution: nothing is assumed about the scene
beyond the picture, and f is larger than y by the size of the kernel minus one.
l is the first of two losses, and from step `turn` the second: MSE, then
1 - SSIM.

With batch['guide'] and batch['guide_kernel'], a classical estimate, the fit
begins near it: w (|f - guide|^2 + |g - k|^2 / |k|^2) is added in the first
`guide_steps`, so that no seed ends in the blurred picture itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import errors, losses, models
from deblur_jax.blur import kernels, operators
from deblur_jax.config import require
from deblur_jax.priors import fit_record, fitting
from deblur_jax.priors import stopping as rules
from deblur_jax.state import Array, Batch, Method, Params


def make(
    nets, txs, *, stopping: Mapping[str, Any],
    losses_in_turn: Sequence[str] = ('mse', 'ssim'), turn: int = 1000,
    code_scale: float = 0.1, jitter: float = 1e-3, average: float = 0.99,
    tv: float = 0.0, guide: float = 0.0, guide_steps: int = 500,
    backtrack: float = 20.0, check_every: int = 100, result: str = 'last'
) -> Method:
  """Makes the method.

  A batch is that of `deep_prior.make` without 'mask' and 'kernel'. If `guide`
  is above 0 it has 'guide' [n, h, w, c] and 'guide_kernel' [n, kh, kw]. After
  the fit `state.buffers['found']['kernel']` [n, kh, kw] has the last kernels.

  Args:
    nets: {'image': a network of `models.PRIORS`; 'kernel': one of
      `models.KERNEL_PRIORS`, whose size is odd and at least that of the blur}.
    txs: {'image', 'kernel': their optimizers}.
    stopping: keyword arguments of `stopping.build`.
    losses_in_turn: two losses, see `losses.content`.
    turn: the first step of the second loss.
    code_scale: the largest value of both codes, which are uniform noise.
    jitter: s, in the units of z_x.
    average: see `deep_prior.make`.
    tv: see `deep_prior.make`.
    backtrack: see `deep_prior.make`.
    check_every: see `deep_prior.make`.
    result: see `deep_prior.make`.
    guide: w, 0 for none.
    guide_steps: the first steps, in which the guide counts.

  Raises:
    UserError: unknown names, values out of range.
  """
  image_net, kernel_net = (
      require(nets, name, where='nets') for name in ('image', 'kernel'))
  models.check_kind(image_net, models.PRIORS, where='nets.image.name')
  models.check_kind(kernel_net, models.KERNEL_PRIORS, where='nets.kernel.name')
  txs = {name: require(txs, name, where='optim')
         for name in ('image', 'kernel')}
  rule = fitting.build_rule(stopping)
  size = _check_size(kernel_net.size)
  if len(losses_in_turn) != 2:
    raise errors.UserError(
        'method.losses_in_turn must be two losses, for the first and for the '
        f'other steps, got {list(losses_in_turn)}.')
  first, second = (losses.content(terms) for terms in losses_in_turn)

  def begin(key: Array, item: Batch) -> dict[str, Any]:
    fitting.check_channels(item, image=image_net)
    operators.check_fits(size, item['observed'].shape[:2])
    keys = jax.random.split(jax.random.fold_in(key, item['seed']), 4)
    shapes = {'image': image_net.code(_wide(item, size)),
              'kernel': (kernel_net.depth,)}
    codes = {name: code_scale * jax.random.uniform(one, shape)
             for one, (name, shape) in zip(keys, shapes.items(), strict=False)}
    params = {'image': models.init(image_net, keys[2]),
              'kernel': models.init(kernel_net, keys[3])}
    return {
        'params': params, 'code': codes,
        'opt_state': {
            name: tx.init(params[name]) for name, tx in txs.items()},
        'found': {'kernel': jnp.zeros(size)},
        'record': fit_record.init(rule, jnp.zeros(item['observed'].shape),
                                  params)}

  def paint(params: Params, codes: Mapping[str, Array], wide):
    return (
        image_net.apply(
            {'params': params['image']}, codes['image'][None], size=wide),
        kernel_net.apply(
            {'params': params['kernel']}, codes['kernel'][None])[0])

  def advance(fit: dict[str, Any], item: Batch, key: Array, step: Array,
              frozen_params: Params):
    del frozen_params
    key = jax.random.fold_in(key, item['seed'])
    image_code = fit['code']['image']
    codes = fit['code'] | {'image': image_code + jitter * jax.random.normal(
        key, image_code.shape)}
    y = item['observed'][None]

    def objective(params: Params):
      wide, kernel = paint(params, codes, _wide(item, size))
      seen = operators.uniform(kernel, border='valid').forward(wide)
      value = jax.lax.cond(
          step < turn, lambda: first([seen], [y]), lambda: second([seen], [y]))
      image = kernels.crop_scene(
          wide[0], size, picture=item['observed'].shape[:2])
      total = value + tv * losses.tv(wide) if tv else value
      if guide:
        pull = guide * _pull(image, kernel, item)
        total += jnp.where(step < guide_steps, pull, 0)
      return total, (image, kernel, seen, value)

    (_, (image, kernel, seen, value)), grads = jax.value_and_grad(
        objective, has_aux=True)(fit['params'])
    what = rules.Seen(
        image=image, fit=losses.mse(seen, y), held_out=jnp.nan, sure=jnp.nan,
        step=step)
    return fitting.finish(
        rule, txs, fit | {'found': {'kernel': kernel}}, grads, what, value,
        sharp=item.get('sharp'), average=average, backtrack=backtrack,
        check_every=check_every)

  return fitting.make(begin, advance, result=result)


def _pull(image: Array, kernel: Array, item: Batch) -> Array:
  missing = [name for name in ('guide', 'guide_kernel') if name not in item]
  if missing:
    raise errors.UserError(
        f'method.guide needs a classical estimate, batch[{missing[0]!r}].')
  known = item['guide_kernel']
  return losses.mse(image[None], item['guide'][None]) + (
      jnp.sum(jnp.square(kernel - known)) / jnp.sum(jnp.square(known)))


def _wide(item: Batch, size) -> tuple[int, int]:
  return tuple(side + k - 1 for side, k in zip(
      item['observed'].shape[:2], size, strict=True))


def _check_size(size: Sequence[int]) -> tuple[int, int]:
  if any(side < 3 or side % 2 == 0 for side in size):
    raise errors.UserError(
        'nets.kernel.size must be two odd numbers of at least 3, got '
        f'{tuple(size)}.')
  return tuple(size)
