"""Deep image prior: a network fitted to one corrupted picture and nothing else.

  min over theta of  l(m A f_theta(z + s e), m y) + w TV(f_theta),  e ~ N(0, 1)

(Ulyanov et al., CVPR 2018, eq. 2 and 3.) y is the picture, z a fixed code, e
noise that is drawn in each step, and m is 1 where y is known. A is the
degradation, in this order:

  blur        with batch['kernel'], if there is one, border 'valid': nothing is
              assumed about the scene beyond the picture, and f is larger than y
              by the size of the kernel minus one
  downsample  by `factor`, with the authors' Lanczos2 filter

Each image of a batch has its own parameters, statistics and stop.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import errors, losses, models
from deblur_jax.blur import kernels, operators
from deblur_jax.config import call, require
from deblur_jax.ops import vgg
from deblur_jax.priors import fit_record, fitting
from deblur_jax.priors import stopping as rules
from deblur_jax.state import Array, Batch, Method, Params


def make(
    nets, txs, *, stopping: Mapping[str, Any], loss: str = 'mse',
    factor: int = 1, code: str = 'noise', code_scale: float = 0.1,
    jitter: float = 1 / 30, average: float = 0.99, tv: float = 0.0,
    sigma: float = 0.0, backtrack: float = 5.0, check_every: int = 100,
    features: Mapping[str, Any] | None = None, result: str = 'best_average'
) -> Method:
  """Makes the method.

  A batch has, for n images, 'observed' [n, h, w, c], the pictures, and may have
  'mask' [n, h, w, 1 or c], 1 where they are known; 'kernel' [n, kh, kw];
  'guide' [n, h', w', 3], the code, of the size of the result; 'seed' int32 [n];
  and 'sharp' [n, h', w', c], the truth, for the metrics.

  Args:
    nets: {'net': a network of `models.PRIORS`}.
    txs: {'net': its optimizer}.
    stopping: keyword arguments of `stopping.build`.
    loss: rows of `losses.PIXEL` with weights, and 'perceptual'; or 'sure'
      alone, for pictures with Gaussian noise: Stein's estimate, which needs
      code='observed' and sigma (Jo et al., ICCV 2021).
    factor: how many times larger the result is than the picture, at least 1.
    code: z, a row of CODES.
    code_scale: the largest value of the code 'noise'.
    jitter: s, in the units of z.
    average: decay of the moving average of the outputs, 0 to less than 1.
    tv: w.
    sigma: standard deviation of the noise for values in [0, 1]; for 'sure'.
    backtrack: decibels by which the PSNR to the picture may fall between two
      checks; then the fit returns to the parameters of the last check.
    check_every: steps from one check to the next.
    features: keyword arguments of `vgg.build`, if the loss has 'perceptual'.
    result: the row of `fit_record.KEPT` that `restore` returns.

  Raises:
    UserError: unknown names, values out of range, options that exclude each
      other.
  """
  net = require(nets, 'net', where='nets')
  models.check_kind(net, models.PRIORS, where='nets.net.name')
  require(txs, 'net', where='optim')
  rule = rules.build(**stopping)
  make_code = errors.look_up(CODES, code, what='method.code')
  _check(loss, code, factor, sigma, rule, stopping)
  frozen = features and call(vgg.build, features, where='method.features')
  content = None if loss == 'sure' else losses.content(
      loss, frozen=frozen and {'perceptual': losses.perceptual(frozen.apply)})
  begin, advance = _one_image(
      net, {'net': txs['net']}, rule, content, make_code, factor=factor,
      code_scale=code_scale if code == 'noise' else 1.0, jitter=jitter,
      average=average, tv=tv, sigma=sigma, backtrack=backtrack,
      check_every=check_every)
  return fitting.make(
      begin, advance, result=result,
      frozen_params=frozen.params if frozen else None)


def _one_image(
    net, txs, rule, content, make_code, *, factor, code_scale, jitter, average,
    tv, sigma, backtrack, check_every):
  """(begin, advance) of the fit of one image, without a batch axis."""
  def generate(params: Params, z: Array, size: tuple[int, int]) -> Array:
    return net.apply({'params': params['net']}, z[None], size=size)

  def begin(key: Array, item: Batch) -> dict[str, Any]:
    key_net, key_code, key_held = jax.random.split(
        jax.random.fold_in(key, item['seed']), 3)
    fitting.check_channels(item, net=net)
    # SURE is the risk of noise alone, at all pixels.
    for part in ('mask', 'kernel'):
      if content is None and part in item:
        raise errors.UserError(
            "method.loss='sure' is for pictures with Gaussian noise alone, not "
            f"with a {part}: leave it out, or set method.loss='mse'.")
    size = _wide(item, factor)
    z = code_scale * make_code(key_code, net.code(size), item)
    params = {'net': models.init(net, key_net)}
    shape = _result_shape(item, factor)
    held = jax.random.bernoulli(
        key_held, rule.held_out, item['observed'].shape)
    return {
        'params': params,
        'opt_state': {'net': txs['net'].init(params['net'])}, 'code': z,
        'held': held, 'record': fit_record.init(rule, jnp.zeros(shape), params)}

  def advance(fit: dict[str, Any], item: Batch, key: Array, step: Array,
              frozen_params: Params):
    key_jitter, key_probe = jax.random.split(
        jax.random.fold_in(key, item['seed']))
    z = fit['code'] + jitter * jax.random.normal(
        key_jitter, fit['code'].shape)
    y, known = item['observed'][None], _known(item)[None]
    seen_by_fit = known * (1 - fit['held'][None])
    size = _wide(item, factor)
    apply = _forward(item, factor)

    def objective(params: Params):
      wide = generate(params, z, size)
      seen = apply(wide)
      if content is None:
        probe = lambda code: generate(params, code, size)
        value = _sure(probe, z, seen, y, sigma, key_probe)
      else:
        value = content([seen * seen_by_fit], [y * seen_by_fit], frozen_params)
      total = value + tv * losses.tv(wide) if tv else value
      return total, (wide, seen, value)

    (value, (wide, seen, estimate)), grads = jax.value_and_grad(
        objective, has_aux=True)(fit['params'])
    error = jnp.square(seen - y)
    what = rules.Seen(
        image=kernels.crop_scene(
            wide[0], _kernel_size(item),
            picture=_result_shape(item, factor)[:2]),
        fit=_mean(error, seen_by_fit),
        held_out=_mean(error, known - seen_by_fit), sure=estimate, step=step)
    return fitting.finish(
        rule, txs, fit, grads, what, value, sharp=item.get('sharp'),
        average=average, backtrack=backtrack, check_every=check_every)

  return begin, advance


def _noise(key, shape, item):
  del item
  return jax.random.uniform(key, shape)


def _meshgrid(key, shape, item):
  """Two channels: the vertical and the horizontal place of a pixel, 0 to 1."""
  del key, item
  height, width, depth = shape
  if depth != 2:
    raise errors.UserError(
        f'method.code=meshgrid has two channels; set nets.net.depth=2, not '
        f'{depth}.')
  return jnp.stack(jnp.meshgrid(
      jnp.linspace(0, 1, height), jnp.linspace(0, 1, width), indexing='ij'),
      axis=-1)


def _picture(name):
  def code(key, shape, item):
    del key
    if name not in item:
      raise errors.UserError(
          f"method.code needs batch[{name!r}], a picture.")
    if item[name].shape != shape:
      raise errors.UserError(
          f'method.code: the picture {name!r} is {item[name].shape}, and the '
          f'code of the network is {shape}; set nets.net.depth, and crop both '
          'to a multiple of 2 for each level.')
    return item[name]

  return code


def _wide(item: Batch, factor: int) -> tuple[int, int]:
  """Height and width of f: the result, and the margin that the kernel reads."""
  margins = [side - 1 for side in _kernel_size(item)]
  return tuple(side * factor + margin for side, margin in zip(
      item['observed'].shape[:2], margins, strict=True))


def _result_shape(item, factor):
  height, width, channels = item['observed'].shape
  return height * factor, width * factor, channels


def _kernel_size(item):
  return item['kernel'].shape if 'kernel' in item else (1, 1)


def _forward(item: Batch, factor: int):
  """A for [1, h', w', c]."""
  parts = []
  if 'kernel' in item:
    parts.append(operators.uniform(item['kernel'], border='valid'))
  if factor > 1:
    parts.append(operators.lanczos_downsample(factor=factor))
  return operators.compose(*parts).forward


def _known(item: Batch) -> Array:
  mask = item.get('mask', jnp.ones((1, 1, 1)))
  return jnp.broadcast_to(mask, item['observed'].shape)


def _mean(error: Array, weight: Array) -> Array:
  return jnp.sum(error * weight) / jnp.maximum(jnp.sum(weight), 1)


def _sure(probe, z, image, y, sigma: float, key: Array) -> Array:
  """|y - h|^2 / N - s^2 + 2 s^2 / N div h.

  The divergence is estimated by a finite difference along one random vector.
  """
  step = 1e-3
  noise = jax.random.normal(key, z.shape)
  slope = (probe(z + step * noise) - image) / step
  divergence = jnp.mean(noise[None] * slope)
  return losses.mse(image, y) - sigma**2 + 2 * sigma**2 * divergence


def _check(loss, code, factor, sigma, rule, stopping):
  if factor < 1:
    raise errors.UserError(f'method.factor must be at least 1, got {factor}.')
  wants_sure = stopping['name'] == 'sure'
  if wants_sure and loss != 'sure':
    raise errors.UserError(
        f"method.stopping.name=sure needs method.loss='sure', got {loss!r}.")
  if loss == 'sure' and (code != 'observed' or sigma <= 0 or factor > 1
                         or rule.held_out):
    raise errors.UserError(
        "method.loss='sure' is for pictures with Gaussian noise: it needs "
        'method.code=observed, method.sigma above 0, factor=1, and a stopping '
        'rule without held-out values.')


# name -> (key, shape, item) -> code
CODES = {
    'guide': _picture('guide'),
    'meshgrid': _meshgrid,
    'noise': _noise,
    'observed': _picture('observed'),
}
