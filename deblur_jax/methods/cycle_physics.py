"""Learning without pairs, where the way back to the blurry picture is physics.

  min over G, K of
    w_r |K(y) * G(y) - y|                reblur: the estimated kernels must lead
                                         from the restored picture back to y
    + w_g max(0, sum K(y)^2 - most)      guard: light has to be spread
    + w_a L_G(D, G(y))                   critic: looks like the sharp pictures x
    + w_c l(G(h * x), x)                 cycle: undoes random known blur h
    + w_k KL(h, K(h * x))                kernel: and tells h
    + w_i |G(x) - x|                     identity: leaves sharp pictures alone
    + w_b -log C(G(y))_none              blur_type: is told to have none
    + w_t TV(G(y)) + w_d dark(G(y))      priors

y are blurry, x sharp pictures of other scenes; h comes from `blur/`, drawn anew
in each step. C learns from h's type alone, a weak label: see `blur_type.py`.
CycleGAN's second generator may hide whatever it needs in a blurry
picture; kernels that sum to one cannot. But G(y) = y with the kernel of a point
explains any y: the guard forbids that kernel, and the terms with w_c and w_k
make it a bad guess.

With w_a, w_b, w_c, w_k and w_i of 0 only the blurry pictures are looked at.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from deblur_jax import blur as blurs
from deblur_jax import errors, losses, models
from deblur_jax.blur import exposure, operators
from deblur_jax.config import call, require
from deblur_jax.methods import blur_classification, unpaired
from deblur_jax.methods import kernel_estimation as kernel_method
from deblur_jax.models import kernel_estimator
from deblur_jax.ops import pyramid as pyramids
from deblur_jax.state import Array, Batch, Method, Metrics, TrainState
from deblur_jax.training import optim

LEARNERS = ('to_sharp', 'kernel')
OF_SHARP = ('adversarial', 'cycle', 'kernel', 'blur_type', 'identity')
OF_MADE = ('cycle', 'kernel', 'blur_type')    # of pictures blurred by h
POINT = 0.9     # of sum K^2: as good as the kernel of a point, which has 1


class Weights(NamedTuple):
  """Of the terms above; 0 leaves one out."""

  reblur: float = 1.0
  guard: float = 1.0
  adversarial: float = 0.0
  cycle: float = 1.0
  kernel: float = 0.0
  blur_type: float = 0.0
  identity: float = 0.0
  tv: float = 0.0
  dark: float = 0.0


def make(
    nets, txs, *, weights: Mapping[str, float], blur: Mapping[str, Any],
    critic: Mapping[str, Any] | None = None, cycle: str = 'l1',
    over_scales: str = 'sum', pyramid: str = 'deepdeblur_pytorch',
    most: float = 0.25, gamma: float = 1.0, window: int = 35,
    start_steps: int = 0, pool_size: int = 50, ema: float = 0.0,
    without: str = unpaired.NOTHING) -> Method:
  """The method.

  Args:
    nets: {'to_sharp': a generator, of whose scales the cycle looks at all, the
      other terms at the finest; 'kernel': a row of `models.KERNEL_ESTIMATORS`;
      with w_a also 'is_sharp', a critic; with w_b 'blur_type', a row of
      `models.CLASSIFIERS`}.
    txs: {'to_sharp', 'kernel': their optimizers; with w_a also 'critic', with
      w_b 'blur_type'}.
    weights: fields of `Weights`.
    blur: h: keyword arguments of `blur.build`; with w_k or w_b of a blur by
      one kernel for the whole picture, with w_k of the estimator's size.
    critic: keyword arguments of `critic.make`; needed with w_a.
    cycle, over_scales: l, as of `losses.content`.
    pyramid: a row of `pyramids.PYRAMIDS`; the same as in a multi-scale network.
    most: sum K^2 that costs nothing; 1 is a point, 1/n an even blur over n
      pixels. Of each pixel's mixture where K gives mixtures.
    gamma: of the camera that blurred y: light is what K blurs.
    window: of the dark channel, in pixels.
    start_steps: steps at the start in which G and K learn from the blurry
      pictures alone.
    pool_size: restored pictures that are kept for the critic.
    ema: decay of to_sharp's averaged weights, which restore; 0: the last.
    without: a term that is left out whatever its weight, for ablations.

  Raises:
    UserError: what does not go together.
  """
  weights = unpaired.check_weights(
      unpaired.leave_out(
          without, call(Weights, weights, where='method.weights')))
  _check_options(nets, weights, critic, most, start_steps)
  txs = {name: require(txs, name, where='optim')
         for name in (*LEARNERS, *['critic'] * bool(weights.adversarial),
                      *['blur_type'] * bool(weights.blur_type))}
  rival = unpaired.rival(
      nets['is_sharp'], txs['critic'], critic, name='is_sharp',
      pool_size=pool_size) if weights.adversarial else None
  taught = blur_classification.teacher(
      nets['blur_type'], txs['blur_type']) if weights.blur_type else None
  synthesise = blurs.from_config(blur, where='method.blur')
  parts = _Parts(
      nets, weights, losses.content(cycle, over_scales=over_scales),
      errors.look_up(pyramids.PYRAMIDS, pyramid, what='method.pyramid'), most,
      exposure.check_gamma(gamma), window)

  def init(key: Array, batch: Batch) -> TrainState:
    keys = jax.random.split(key, 4)
    params = {name: models.init(nets[name], key)
              for name, key in zip(LEARNERS, keys[1:3], strict=True)}
    crop, extra = batch['blur'].shape[1:3], {}
    _check_crop(nets, weights, window, synthesise, crop)
    opt_state = {name: txs[name].init(params[name]) for name in params}
    if rival:
      params['is_sharp'], extra['pool'] = rival.init(keys[0], crop=crop)
      opt_state['is_sharp'] = txs['critic'].init(params['is_sharp'])
    if taught:
      params['blur_type'], opt_state['blur_type'] = taught.init(
          keys[3])
    if ema:
      extra['ema'] = {'to_sharp': params['to_sharp']}
    return TrainState(
        step=jnp.zeros((), jnp.int32), params=params, opt_state=opt_state,
        extra=extra)

  def objective(learners, state, batch: Batch, made: Batch, key: Array):
    restored, told = _look(parts, learners, batch, made, key)
    terms, metrics = _terms(parts, restored, told, batch, made)
    terms |= _judged(rival, taught, state.params, batch, restored['blurry'][0])
    begun = (state.step >= start_steps).astype(jnp.float32)
    total = sum(
        getattr(weights, name) * (begun if name in OF_SHARP else 1.0) * term
        for name, term in terms.items())
    return total, (restored['blurry'][0], terms | metrics)

  def step(state: TrainState, batch: Batch, key: Array):
    key_blur, key_learn, key_critic = jax.random.split(key, 3)
    params, opt_state = dict(state.params), dict(state.opt_state)
    extra = dict(state.extra)
    learners = {name: params[name] for name in LEARNERS}
    made = (synthesise(key_blur, batch['sharp'])
            if any(getattr(weights, name) for name in OF_MADE) else {})
    # ---- the restoring network and the estimator
    (loss, (restored, metrics)), grads = jax.value_and_grad(
        objective, has_aux=True)(learners, state, batch, made, key_learn)
    for name in LEARNERS:
      params[name], opt_state[name] = optim.apply(
          txs[name], grads[name], opt_state[name], params[name])
    # ---- the critic, and what tells types of blur
    if rival:
      carry = params['is_sharp'], opt_state['is_sharp'], extra['pool']
      carry, seen = rival.update(carry, batch['sharp'], restored, key_critic)
      params['is_sharp'], opt_state['is_sharp'], extra['pool'] = carry
      metrics |= seen
    if taught:
      metrics |= _teach(taught, params, opt_state, made)
    if ema:
      extra['ema'] = {'to_sharp': optim.average(
          params['to_sharp'], extra['ema']['to_sharp'], decay=ema)}
    metrics |= {'loss': loss, 'grad_norm': optax.tree.norm(grads),
                'lr': txs['to_sharp'].lr(state.step)}
    return state.replace(step=state.step + 1, params=params,
                         opt_state=opt_state, extra=extra), metrics

  def restore(state: TrainState, blur: Array) -> Array:
    params = (state.extra['ema'] if ema else state.params)['to_sharp']
    return nets['to_sharp'].apply({'params': params}, blur)[0]

  watches = unpaired.watch_pictures, watch_kernels
  return Method(
      init, step, restore, unpaired=True,
      estimate_blur=_estimator(nets, taught),
      watches=(*watches, *([rival.watch] if rival else [])))


def _judged(rival, taught, params, batch: Batch, restored: Array) -> Metrics:
  """The terms of the networks that look at restored pictures."""
  terms = {}
  if rival:
    terms['adversarial'] = rival.persuade(
        params['is_sharp'], batch['sharp'], restored)
  if taught:
    terms['blur_type'] = taught.persuade(params['blur_type'], restored)
  return terms


def _teach(taught, params, opt_state, made: Batch) -> Metrics:
  """One step of the classifier, in its place in both dicts."""
  carry, seen = taught.update(
      (params['blur_type'], opt_state['blur_type']), made)
  params['blur_type'], opt_state['blur_type'] = carry
  return {f'blur_type/{key}': value for key, value in seen.items()}


def _estimator(nets, taught):
  """`Method.estimate_blur`."""
  names = ['kernel', *['blur_type'] * bool(taught)]
  return lambda state, blur: {
      name: nets[name].apply({'params': state.params[name]}, blur)
      for name in names}


class _Parts(NamedTuple):
  """What the terms are made of."""

  nets: Mapping[str, Any]
  weights: Weights
  cycle: Any
  to_pyramid: Any
  most: float
  gamma: float
  window: int


def _look(parts, learners, batch: Batch, made: Batch, key: Array):
  """What G and K say of the pictures of which they are asked."""
  restore_all = lambda x: parts.nets['to_sharp'].apply(
      {'params': learners['to_sharp']}, x, train=True, rngs={'dropout': key})
  asked = {'blurry': batch['blur']}
  if parts.weights.cycle:
    asked['made'] = made['blur']
  if parts.weights.identity:
    asked['sharp'] = batch['sharp']
  restored = dict(zip(
      asked, unpaired.together(restore_all, *asked.values()), strict=True))
  estimate = functools.partial(
      parts.nets['kernel'].apply, {'params': learners['kernel']})
  told = {'blurry': estimate(batch['blur'])}
  if parts.weights.kernel:
    told['made'] = estimate(made['blur'])
  return restored, told


def _terms(parts, restored, told, batch: Batch, synthetic: Batch):
  """(all terms but the critic's, what is logged beside them)."""
  x, y, kernels = restored['blurry'][0], batch['blur'], told['blurry']
  weights, spread = parts.weights, concentration(kernels)
  terms = {'reblur': reblur(x, y, kernels, gamma=parts.gamma),
           'guard': jnp.mean(jax.nn.relu(spread - parts.most))}
  if weights.cycle:
    made = restored['made']
    terms['cycle'] = parts.cycle(
        made, parts.to_pyramid(batch['sharp'], levels=len(made)))
  if weights.kernel:
    terms['kernel'] = kernel_method.divergence(
        told['made'], synthetic['kernel'])
  if weights.identity:
    terms['identity'] = losses.l1(restored['sharp'][0], batch['sharp'])
  if weights.tv:
    terms['tv'] = losses.tv(x)
  if weights.dark:
    terms['dark'] = losses.dark_channel(x, window=parts.window)
  return terms, unpaired.likeness(x, y) | {'concentration': spread.mean()}


def reblur(
    restored: Array, blurry: Array, told: kernel_estimator.Estimate, *,
    gamma: float = 1.0) -> Array:
  """mean |k * x - y| where no kernel reaches beyond the picture.

  Args:
    restored: x, [n, h, w, 3] in [0, 1].
    blurry: y, the same shape.
    told: k; a mixture is `operators.gather`.
    gamma: of the camera, where light was blurred and not stored values.
  """
  light = exposure.to_light(restored, gamma=gamma)
  if gamma != 1:
    # Below black the curve is flat, and such pixels found no way back.
    light += jnp.minimum(restored, 0)
  if told.weights is None:
    operator = operators.uniform(told.kernels, border='reflect')
  else:
    operator = operators.gather(
        told.kernels, told.weights, border='reflect')
  light = operator.forward(light)
  # The camera clips; the slope does not, for the same reason.
  light += jax.lax.stop_gradient(jnp.clip(light, 0, 1) - light)
  again = exposure.to_stored(light, gamma=gamma)
  inner = (slice(None), *[
      slice(side // 2, length - side // 2) for side, length
      in zip(told.kernels.shape[-2:], blurry.shape[1:3], strict=True)])
  return losses.l1(again[inner], blurry[inner])


def concentration(told: kernel_estimator.Estimate) -> Array:
  """sum k^2 of the kernels, in (0, 1]: [n], or [n, h, w] of mixtures."""
  if told.weights is None:
    return jnp.sum(jnp.square(told.kernels), axis=(1, 2))
  products = jnp.einsum('nbyx,ncyx->nbc', told.kernels, told.kernels)
  return jnp.einsum(
      'nhwb,nbc,nhwc->nhw', told.weights, products, told.weights)


def watch_kernels(lines: Sequence[Metrics]) -> str | None:
  """Logged metrics, the newest last -> whether the trivial answer has won."""
  seen = [line['concentration'] for line in lines[-unpaired.LINES:]]
  if len(seen) < unpaired.LINES or min(seen) < POINT:
    return None
  return (f'The estimated kernels are points (sum K^2 above {min(seen):.2f} in '
          f'{unpaired.LINES} logged steps), which explain any picture by '
          'itself: raise method.weights.guard, or lower method.most.')


def _check_options(nets, weights, critic, most, start_steps):
  kinds = {'to_sharp': models.MODELS, 'kernel': models.KERNEL_ESTIMATORS}
  if weights.blur_type:
    kinds['blur_type'] = models.CLASSIFIERS
  if weights.adversarial:
    kinds['is_sharp'] = models.CRITICS
    if critic is None:
      raise errors.UserError(
          'method.weights.adversarial needs method.critic, such as '
          "dict(gan='lsgan').")
  for name, table in kinds.items():
    net = require(nets, name, where='nets')
    models.check_kind(net, table, where=f'nets.{name}.name')
  if not 0 < most <= 1:
    raise errors.UserError(
        f'method.most must be above 0 and up to 1, got {most}.')
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
    kernel_method.check(made, size, where='method.blur')
  if weights.blur_type:
    blur_classification.check(made, where='method.blur')
