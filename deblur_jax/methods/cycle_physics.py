"""Learning without pairs, where the way back to the blurry picture is physics.

  min over G, K of
    w_r |K(y) * G(y) - y|                reblur: the estimated kernels must lead
                                         from the restored picture back to y
    + w_s max(0, sum K(y)^2 - e)         sparsity bound: kernels must spread
    + w_a L_G(D, G(y))                   adversarial: looks like sharp pictures
    + w_c l(G(h * x), x)                 cycle: undoes random known blur h
    + w_k KL(h, K(h * x))                kernel: estimates h
    + w_i |G(x) - x|                     identity: leaves sharp pictures alone
    + w_b -log C(G(y))_none              blur_type: is classified as not blurred
    + w_t TV(G(y)) + w_d dark(G(y))      regularizers

y are blurry, x sharp pictures of other scenes; h comes from `blur/`, drawn in
each step. C learns from h's type alone, a weak label: see
`blur_classification`. CycleGAN's second generator may hide information in
a blurry picture; kernels that sum to one cannot. But G(y) = y with the delta
kernel explains any y: the sparsity bound excludes that kernel, and the terms
with w_c and w_k make it a bad estimate.

With w_a, w_b, w_c, w_k and w_i of 0 the sharp pictures are not used.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from deblur_jax import errors, losses, models
from deblur_jax.blur import exposure, operators
from deblur_jax.config import call, require
from deblur_jax.methods import (
    blur_classification,
    kernel_estimation,
    learner,
    targets,
    unpaired,
)
from deblur_jax.models import kernel_estimator
from deblur_jax.state import Array, Batch, Method, Metrics, TrainState

LEARNERS = ('to_sharp', 'kernel')
OF_SHARP = ('adversarial', 'cycle', 'kernel', 'blur_type', 'identity')
OF_MADE = ('cycle', 'kernel', 'blur_type')    # of pictures blurred by h
TOE = 8 / 255   # of stored values
DELTA = 0.9     # sum K^2 of an almost single tap; the delta kernel has 1


class Weights(NamedTuple):
  """Weights of the terms above; 0 leaves one out.

  Attributes:
    reblur: of the reblur term.
    sparsity: of the bound on the kernels' sum K(y)^2.
    adversarial: of the adversarial term.
    cycle: of the cycle through known blur.
    kernel: of the error of known kernels.
    blur_type: of the classified type of blur.
    identity: of the change of sharp pictures.
    tv: of the total variation.
    dark: of the dark channel.
  """

  reblur: float = 1.0
  sparsity: float = 1.0
  adversarial: float = 0.0
  cycle: float = 1.0
  kernel: float = 0.0
  blur_type: float = 0.0
  identity: float = 0.0
  tv: float = 0.0
  dark: float = 0.0


def make(
    nets, txs, *, weights: Mapping[str, float], blur: Mapping[str, Any],
    discriminator: Mapping[str, Any] | None = None, cycle: str = 'l1',
    over_scales: str = 'sum', pyramid: str | None = None,
    max_energy: float = 0.25, gamma: float = 1.0, window: int = 35,
    start_steps: int = 0, buffer_size: int = 50, ema: float = 0.0,
    features: Mapping[str, Any] | None = None,
    without: str = unpaired.NOTHING) -> Method:
  """The method.

  Args:
    nets: {'to_sharp': a generator; the cycle compares all its scales, the other
      terms the finest; 'kernel': a row of `models.KERNEL_ESTIMATORS`;
      with w_a also 'is_sharp', a discriminator; with w_b 'blur_type', a row of
      `models.CLASSIFIERS`}.
    txs: {'to_sharp', 'kernel': their optimizers; with w_a also 'discriminator',
      with w_b 'blur_type'}.
    weights: fields of `Weights`.
    blur: h: keyword arguments of `blur.build`; with w_k or w_b of a blur by
      one kernel for the whole picture, with w_k of the estimator's size.
    discriminator: keyword arguments of `discriminator.make`; needed with w_a.
    cycle: l, see `losses.content`.
    over_scales: a row of `losses.OVER_SCALES`, for l.
    pyramid: as of `supervised.make`.
    max_energy: e, the largest sum K^2 that costs nothing, in (0, 1]; the delta
      kernel has 1, an even blur over n pixels 1/n. Where K gives mixtures it
      is that of each pixel's mixture.
    gamma: of the camera that took y: K blurs linear light.
    window: of the dark channel, in pixels.
    start_steps: steps at the start in which G and K learn from the blurry
      pictures alone.
    buffer_size: restored pictures that are kept for the discriminator.
    ema: decay of to_sharp's averaged weights, which restore; 0: the last.
    features: where VGG19's weights are, keyword arguments of `vgg.build`; for
      losses with 'perceptual'.
    without: a term to leave out, for ablations; its weight does not matter.

  Raises:
    UserError: a network of another kind, or one that a term needs is missing,
      as its optimizer; unknown, negative or only zero weights; w_a without
      `discriminator`; what `blur.build` refuses, or a margin; max_energy,
      gamma or start_steps outside of their ranges; no such row or file of
      VGG19. At init: crops too small for the networks or the window, and with
      w_k or w_b a blur without a known kernel of the estimator's size.
  """
  weights = unpaired.check_weights(
      unpaired.leave_out(
          without, call(Weights, weights, where='method.weights')))
  _check_options(nets, weights, discriminator, max_energy, start_steps)
  learner.check_ema(ema)
  txs = _optimizers(txs, weights)
  is_sharp = unpaired.discriminator(
      nets['is_sharp'], txs['is_sharp'], discriminator, name='is_sharp',
      buffer_size=buffer_size) if weights.adversarial else None
  synthesise = unpaired.known_blur(blur)
  parts = _Parts(
      nets, weights,
      losses.build(cycle, over_scales=over_scales, features=features),
      targets.build(nets['to_sharp'], pyramid, where='nets.to_sharp'),
      max_energy, exposure.check_gamma(gamma), window)

  def init(key: Array, batch: Batch) -> TrainState:
    keys = dict(zip(
        ('is_sharp', *LEARNERS, 'blur_type'), jax.random.split(key, 4),
        strict=True))
    crop, buffers = batch['blur'].shape[1:3], {}
    _check_crop(nets, weights, window, synthesise, crop)
    params = {name: models.init(nets[name], keys[name])
              for name in txs if name != 'is_sharp'}
    if is_sharp:
      params['is_sharp'], buffers['is_sharp'] = is_sharp.init(
          keys['is_sharp'], crop=crop)
    return learner.begin(
        learner.Start(params, parts.cycle.frozen, buffers), txs,
        ema=('to_sharp',) if ema else ())

  def objective(learners, state, batch: Batch, made: Batch, key: Array):
    restored, kernels = _predict(parts, learners, batch, made, key)
    image = restored['blurry'][0]
    terms, metrics = _terms(
        parts, state.frozen, restored, kernels, batch, made)
    if is_sharp:
      terms['adversarial'] = is_sharp.generator_loss(
          state.params['is_sharp'], batch['sharp'], image)
    if weights.blur_type:
      terms['blur_type'] = blur_classification.no_blur_loss(
          nets['blur_type'], state.params['blur_type'], image)
    begun = (state.step >= start_steps).astype(jnp.float32)
    total = sum(
        getattr(weights, name) * (begun if name in OF_SHARP else 1.0) * term
        for name, term in terms.items())
    return total, (image, terms | metrics)

  def step(state: TrainState, batch: Batch, key: Array):
    key_blur, key_learn, key_discriminator = jax.random.split(key, 3)
    made = (synthesise(key_blur, batch['sharp'])
            if any(getattr(weights, name) for name in OF_MADE) else {})
    # ---- the restoring network and the estimator
    (loss, (restored, metrics)), grads = jax.value_and_grad(
        objective, has_aux=True)(
            {name: state.params[name] for name in LEARNERS}, state, batch, made,
            key_learn)
    metrics |= learner.logged(loss, grads, txs['to_sharp'].lr(state.step))
    state = learner.update(state, txs, grads)
    # ---- the discriminator and the classifier
    if is_sharp:
      state, seen = is_sharp.update(
          state, batch['sharp'], restored, key_discriminator)
      metrics |= seen
    if weights.blur_type:
      state, seen = _classify(nets['blur_type'], txs, state, made)
      metrics |= seen
    return learner.finish(state, ema=ema), metrics

  def restore(state: TrainState, blur: Array) -> Array:
    return nets['to_sharp'].apply(
        {'params': state.weights('to_sharp')}, blur)[0]

  def estimate_blur(state: TrainState, blur: Array) -> dict[str, Any]:
    names = ['kernel', *['blur_type'] * bool(weights.blur_type)]
    return {name: nets[name].apply({'params': state.params[name]}, blur)
            for name in names}

  return Method(
      init, step, restore, unpaired=True, estimate_blur=estimate_blur,
      watches=(unpaired.watch_pictures, watch_kernels,
               *([is_sharp.watch] if is_sharp else [])))


def _optimizers(txs, weights):
  """Network -> optimizer, of all networks that learn with these weights."""
  roles = {name: name for name in LEARNERS}
  if weights.adversarial:
    roles['is_sharp'] = 'discriminator'
  if weights.blur_type:
    roles['blur_type'] = 'blur_type'
  return {name: require(txs, role, where='optim')
          for name, role in roles.items()}


def _classify(net, txs, state: TrainState, made: Batch):
  """The state after one step of the classifier, and metrics."""
  (value, seen), grads = jax.value_and_grad(
      lambda params: blur_classification.loss(net, params, made),
      has_aux=True)(state.params['blur_type'])
  seen |= {'loss': value, 'grad_norm': optax.tree.norm(grads)}
  return (learner.update(state, txs, {'blur_type': grads}),
          {f'blur_type/{key}': value for key, value in seen.items()})


class _Parts(NamedTuple):
  """What the terms are made of."""

  nets: Mapping[str, Any]
  weights: Weights
  cycle: losses.Content
  targets_of: Any
  max_energy: float
  gamma: float
  window: int


def _predict(parts, learners, batch: Batch, made: Batch, key: Array):
  """The images of G and the kernels of K, by the kind of their input."""
  restore_all = lambda x: parts.nets['to_sharp'].apply(
      {'params': learners['to_sharp']}, x, train=True, rngs={'dropout': key})
  inputs = {'blurry': batch['blur']}
  if parts.weights.cycle:
    inputs['made'] = made['blur']
  if parts.weights.identity:
    inputs['sharp'] = batch['sharp']
  restored = dict(zip(
      inputs, unpaired.together(restore_all, *inputs.values()), strict=True))
  estimate = functools.partial(
      parts.nets['kernel'].apply, {'params': learners['kernel']})
  kernels = {'blurry': estimate(batch['blur'])}
  if parts.weights.kernel:
    kernels['made'] = estimate(made['blur'])
  return restored, kernels


def _terms(
    parts, frozen, restored, kernels, batch: Batch, made: Batch):
  """The terms that need no other network, and what is logged beside them."""
  x, y = restored['blurry'][0], batch['blur']
  weights, of_kernels = parts.weights, energy(kernels['blurry'])
  terms = {
      'reblur': reblur(x, y, kernels['blurry'], gamma=parts.gamma),
      'sparsity': jnp.mean(jax.nn.relu(of_kernels - parts.max_energy))}
  if weights.cycle:
    terms['cycle'] = parts.cycle.loss(
        restored['made'], parts.targets_of(batch['sharp']), frozen)
  if weights.kernel:
    terms['kernel'] = kernel_estimation.divergence(
        kernels['made'], made['kernel'])
  if weights.identity:
    terms['identity'] = losses.l1(restored['sharp'][0], batch['sharp'])
  if weights.tv:
    terms['tv'] = losses.tv(x)
  if weights.dark:
    terms['dark'] = losses.dark_channel(x, window=parts.window)
  return terms, unpaired.likeness(x, y) | {'kernel_energy': of_kernels.mean()}


def reblur(
    restored: Array, blurry: Array, kernels: kernel_estimator.Estimate, *,
    gamma: float = 1.0) -> Array:
  """mean |k * x - y| where no kernel reaches beyond the picture.

  With a gamma, stored values are compared. Below TOE a tangent replaces their
  curve: the curve's slope at black is infinite, and one black patch would
  decide the direction of a step.

  Args:
    restored: x, [n, h, w, 3] in [0, 1].
    blurry: y, the same shape.
    kernels: k; a mixture is `operators.gather`.
    gamma: of the camera, where light was blurred and not stored values.
  """
  light = exposure.to_light(restored, gamma=gamma)
  if gamma != 1:
    # Below black the curve is flat: without a slope of their own such pixels
    # would stay black.
    light += jnp.minimum(restored, 0)
  if kernels.weights is None:
    operator = operators.uniform(kernels.kernels, border='reflect')
  else:
    operator = operators.gather(
        kernels.kernels, kernels.weights, border='reflect')
  light = operator.forward(light)
  # The camera clips; the slope does not, for the same reason.
  light += jax.lax.stop_gradient(jnp.clip(light, 0, 1) - light)
  again = _with_toe(light, gamma)
  blurry = _with_toe(exposure.to_light(blurry, gamma=gamma), gamma)
  inner = (slice(None), *[
      slice(side // 2, length - side // 2) for side, length
      in zip(kernels.kernels.shape[-2:], blurry.shape[1:3], strict=True)])
  return losses.l1(again[inner], blurry[inner])


def _with_toe(light, gamma):
  """Stored values, continued by the tangent of the curve below TOE."""
  if gamma == 1:
    return light
  start = TOE**gamma
  tangent = TOE + TOE / (gamma * start) * (light - start)
  curve = exposure.to_stored(jnp.maximum(light, start), gamma=gamma)
  return jnp.where(light < start, tangent, curve)


def energy(kernels: kernel_estimator.Estimate) -> Array:
  """sum k^2 of the kernels, in (0, 1]: [n], or [n, h, w] of mixtures."""
  if kernels.weights is None:
    return jnp.sum(jnp.square(kernels.kernels), axis=(1, 2))
  products = jnp.einsum('nbyx,ncyx->nbc', kernels.kernels, kernels.kernels)
  return jnp.einsum(
      'nhwb,nbc,nhwc->nhw', kernels.weights, products, kernels.weights)


def watch_kernels(lines: Sequence[Metrics]) -> str | None:
  """Logged metrics, the newest last -> whether the trivial answer has won."""
  seen = [line['kernel_energy'] for line in lines[-unpaired.LINES:]]
  if len(seen) < unpaired.LINES or min(seen) < DELTA:
    return None
  return ('The estimated kernels have become the delta kernel (sum K^2 above '
          f'{min(seen):.2f} in {unpaired.LINES} logged steps), with which '
          'every picture explains itself: raise method.weights.sparsity, or '
          'lower method.max_energy.')


def _check_options(nets, weights, discriminator, max_energy, start_steps):
  kinds = {'to_sharp': models.MODELS, 'kernel': models.KERNEL_ESTIMATORS}
  if weights.blur_type:
    kinds['blur_type'] = models.CLASSIFIERS
  if weights.adversarial:
    kinds['is_sharp'] = models.DISCRIMINATORS
    if discriminator is None:
      raise errors.UserError(
          'method.weights.adversarial needs method.discriminator, such as '
          "dict(gan='lsgan').")
  for name, table in kinds.items():
    net = require(nets, name, where='nets')
    models.check_kind(net, table, where=f'nets.{name}.name')
  if not 0 < max_energy <= 1:
    raise errors.UserError(
        f'method.max_energy must be above 0 and up to 1, got {max_energy}.')
  if start_steps < 0:
    raise errors.UserError(
        f'method.start_steps must be 0 or more, got {start_steps}.')


def _check_crop(nets, weights, window, synthesise, crop):
  """What of the networks and the blur depends on the size of crops."""
  if weights.cycle:
    models.check_scales(nets['to_sharp'], crop)
  models.check_crop(nets['kernel'], crop, where='nets.kernel')
  size = nets['kernel'].size
  if min(crop) < 2 * size:
    raise errors.UserError(
        f'nets.kernel.size={size} leaves next to nothing of crops of '
        f'{crop[0]}x{crop[1]} to blur again: data.loader.crop must be at least '
        f'{2 * size}.')
  if weights.dark and not 1 <= window <= min(crop):
    raise errors.UserError(
        f'method.window={window} must be 1 to {min(crop)}, the side of crops.')
  made = jax.eval_shape(
      synthesise, jax.random.key(0),
      jax.ShapeDtypeStruct((1, *crop, 3), jnp.float32))
  if weights.kernel:
    kernel_estimation.check(made, size, where='method.blur')
  if weights.blur_type:
    blur_classification.check(made, where='method.blur')
