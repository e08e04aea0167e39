"""A small network learns from a large one: knowledge distillation.

  w l(f(B), S) + w_o l_o(f(B), F(B)) + w_f mean_j d(x_j(B), X_j(B))

with the sharp S, the trained teacher F of any run, and f of any kind. The x_j
and X_j are features of layers of one size, and d is

  attention:  |a(x) - a(X)|^2, a: the mean square of the channels in each pixel,
              each image's map made of length one (Zagoruyko and Komodakis, ICLR
              2017); the layers need not have as many channels
  values:     |x - X|^2 / |X|^2, for a student that has its teacher's layers
              (FitNets: Romero et al., ICLR 2015)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import errors, losses, models
from deblur_jax.config import require
from deblur_jax.methods import learner, pretrained, targets, weight_fading
from deblur_jax.state import Array, Batch, Method, Params, TrainState


def make(
    nets, txs, *, teacher: Mapping[str, Any], loss: str = 'l1',
    loss_weight: float = 1.0, output: str = 'l1', output_weight: float = 1.0,
    layers: Sequence[Sequence[str]] = (), layers_weight: float = 0.0,
    layers_by: str = 'attention',
    over_scales: str = 'sum', pyramid: str | None = None,
    features: Mapping[str, Any] | None = None, ema: float = 0.0,
    accumulate: int = 1,
    init_from: Mapping[str, Any] | None = None,
    fade: Mapping[str, Any] | None = None) -> Method:
  """The method.

  Args:
    nets: {'net': the student, 'teacher': the network of the teacher}; where
      the config does not have it, `methods.build` takes it from the run.
    txs: {'net': the student's optimizer}.
    teacher: where its weights are, see `pretrained.Start`.
    loss: l, see `losses.content`: 'l1 + 0.1*fft_l1'.
    loss_weight: w.
    output: l_o, see `losses.content`.
    output_weight: w_o.
    layers: pairs (layer of the student, layer of the teacher) such as
      ('scale_0/block_01', 'scale_0/block_18'), see `layer_names`.
    layers_weight: w_f.
    layers_by: d, a row of `DISTANCES`.
    over_scales: a row of `losses.OVER_SCALES`.
    pyramid: which makes the targets of smaller scales, of S and of the finest
      F(B), see `targets.build`; that of the student.
    features: as of `supervised.make`.
    ema: decay of the averaged weights that restore; 0 restores with the last.
    accumulate: parts into which the batch is split to save memory.
    init_from: the student's first weights, see `pretrained.Start`; random by
      default.
    fade: how the student becomes smaller still, see `weight_fading.Fade`.

  Raises:
    UserError: no such run, a student that is not smaller, unknown layers.
  """
  net, master = _networks(nets)
  tx = require(txs, 'net', where='optim')
  _check_weights(loss_weight, output_weight, layers_weight, layers)
  vgg19 = losses.vgg19(features)
  by_truth, by_teacher = (
      losses.build(terms, over_scales=over_scales, features=vgg19)
      for terms in (loss, output))
  distance = errors.look_up(DISTANCES, layers_by, what='method.layers_by')
  targets_of = targets.build(net, pyramid)
  apply_student, apply_teacher = (
      _with_layers(one, [pair[i] for pair in layers], who)
      for i, (one, who) in enumerate(((net, 'student'), (master, 'teacher'))))
  faded = weight_fading.build(net, fade)
  known = pretrained.weights(
      master, pretrained.read(teacher, where='method.teacher'),
      where='nets.teacher')
  first = init_from and pretrained.weights(
      net, pretrained.read(init_from), incomplete=True)

  def start(key: Array, batch: Batch) -> learner.Start:
    models.check_scales(net, batch['blur'].shape[1:3])
    key, key_teacher = jax.random.split(key)
    return learner.Start(
        {'net': pretrained.begin(net, first, key)},
        frozen=by_truth.frozen | {
            'teacher': known or models.init(master, key_teacher)})

  def objective(params: Params, state: TrainState, batch: Batch, key: Array):
    blur = batch['blur']
    weights = faded(params['net'], state.step)
    restored, maps = apply_student(
        weights, blur, train=True, rngs={'dropout': key})
    model, guides = jax.lax.stop_gradient(
        apply_teacher(state.frozen['teacher'], blur))
    sharp, guide = (targets_of(image)
                    for image in (batch['sharp'], model[0]))
    terms = {'truth': by_truth.loss(restored, sharp, state.frozen),
             'output': by_teacher.loss(restored, guide, state.frozen)}
    total = loss_weight * terms['truth'] + output_weight * terms['output']
    if layers:
      terms['layers'] = _mean_distance(distance, maps, guides)
      total += layers_weight * terms['layers']
    terms |= {'psnr': losses.psnr(restored[0], sharp[0]),
              'psnr_teacher': losses.psnr(guide[0], sharp[0])}
    return total, terms

  def restore(state: TrainState, blur: Array) -> Array:
    weights = faded(state.weights('net'), state.step)
    return net.apply({'params': weights}, blur)[0]

  return learner.make(
      {'net': tx}, objective, start=start, restore=restore, ema=ema,
      accumulate=accumulate)


def layer_names(net) -> list[str]:
  """The layers of a network that a pair may name: 'scale_0/block_00', ..."""
  return ['/'.join(path) for path in _paths(_shapes_inside(net))]


def _networks(nets):
  net, master = (require(nets, name, where='nets')
                 for name in ('net', 'teacher'))
  for name, one in (('net', net), ('teacher', master)):
    models.check_kind(one, models.MODELS, where=f'nets.{name}.name')
  small, large = (models.count_parameters(models.shapes(one))
                  for one in (net, master))
  if small > large:
    raise errors.UserError(
        f'The student has {small:,} parameters, more than its teacher, which '
        f'has {large:,}: make nets.net smaller.')
  return net, master


def _check_weights(loss_weight, output_weight, layers_weight, layers):
  for name, value in dict(loss_weight=loss_weight, output_weight=output_weight,
                          layers_weight=layers_weight).items():
    if value < 0:
      raise errors.UserError(f'method.{name} must be at least 0, got {value}.')
  if not (output_weight or layers_weight):
    raise errors.UserError(
        'The student learns nothing from its teacher: raise '
        'method.output_weight or method.layers_weight.')
  if bool(layers) != bool(layers_weight):
    raise errors.UserError(
        'method.layers and method.layers_weight go together, got '
        f'{list(layers)} and {layers_weight}.')
  for pair in layers:
    if len(pair) != 2 or isinstance(pair, str):
      raise errors.UserError(
          'method.layers are pairs (layer of the student, layer of the '
          f'teacher), got {pair!r}.')


def _with_layers(net, names, who):
  """(params, blur, **options) -> images, the outputs of the layers `names`."""
  if names:
    known = layer_names(net)
    for name in names:
      if name not in known:
        raise errors.UserError(
            f'The {who} has no layer {name!r}; it has {len(known)} of them.'
            f'{errors.suggest(name, known)}')
  paths = [tuple(name.split('/')) for name in names]

  def apply(params, blur, **options):
    if not names:
      return net.apply({'params': params}, blur, **options), []
    images, seen = net.apply(
        {'params': params}, blur, **options, mutable=['intermediates'],
        capture_intermediates=lambda module, _: module.path in paths)
    maps = []
    for path in paths:
      part = seen['intermediates']
      for name in path:
        part = part[name]
      maps.append(part['__call__'][-1])   # the last call: the finest scale
    return images, maps

  return apply


def _mean_distance(distance, maps, guides):
  """Mean over pairs of layers."""
  total = 0.0
  for mine, theirs in zip(maps, guides, strict=True):
    if mine.shape[:3] != theirs.shape[:3]:
      raise errors.UserError(
          f'method.layers pairs features of {mine.shape[1]} x {mine.shape[2]} '
          f'with those of {theirs.shape[1]} x {theirs.shape[2]} pixels.')
    total += distance(mine.astype(jnp.float32), theirs.astype(jnp.float32))
  return total / len(maps)


def _by_attention(mine, theirs):
  return jnp.square(_unit(mine) - _unit(theirs)).sum((1, 2)).mean()


def _by_values(mine, theirs):
  if mine.shape != theirs.shape:
    raise errors.UserError(
        "method.layers_by='values' needs layers of as many channels, got "
        f'{mine.shape[-1]} and {theirs.shape[-1]}.')
  return jnp.square(mine - theirs).mean() / jnp.square(theirs).mean()


def _unit(features):
  """[n, h, w, c] to maps [n, h, w] of length one, float32."""
  energy = jnp.square(features).mean(-1)
  square = jnp.square(energy).sum((1, 2), keepdims=True)
  return energy * jax.lax.rsqrt(square + 1e-12)


def _shapes_inside(net):
  image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  _, seen = jax.eval_shape(
      lambda params, image: net.apply(
          {'params': params}, image, capture_intermediates=True,
          mutable=['intermediates']), models.shapes(net), image)
  return seen['intermediates']


def _paths(tree, path=()):
  """Paths of the modules whose result is [n, h, w, c], once called."""
  for name, part in tree.items():
    if name == '__call__':
      shape = getattr(part[-1], 'shape', ())
      if path and len(shape) == 4:
        yield path
    else:
      yield from _paths(part, (*path, name))


DISTANCES = {'attention': _by_attention, 'values': _by_values}
