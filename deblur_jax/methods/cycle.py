"""Learning without pairs, there and back: CycleGAN (Zhu et al., ICCV 2017).

  min over G, F of  w_a (L_G(D_S, G(y)) + L_G(D_B, F(x)))
                    + w_b |F(G(y)) - y| + w_s |G(F(x)) - x|
                    + w_i (w_s |G(x) - x| + w_b |F(y) - y|)

G makes the blurry y sharp, F the sharp x blurry; y and x are of different
scenes. Critics D_S and D_B tell sharp from restored and blurry from made blurry
pictures, and learn from a pool of earlier fakes too. In a step all four move
against each other as they were before it, as in the authors' code.

The authors' losses are of images in [-1, 1], where |.| is twice as large as
here: hence '2*l1'. Their least squares have no half at the generators, those of
`losses.ADVERSARIAL` have one: hence w_a = 2.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from deblur_jax import losses, models
from deblur_jax.config import call, require
from deblur_jax.methods import unpaired
from deblur_jax.ops import vgg
from deblur_jax.state import Array, Batch, Method, TrainState
from deblur_jax.training import optim

GENERATORS = ('to_sharp', 'to_blur')
CRITICS = ('is_sharp', 'is_blur')


class Weights(NamedTuple):
  """Of the terms above; 0 leaves one out.

  adversarial: w_a.
  cycle_blur: w_b, from blurry to sharp and back.
  cycle_sharp: w_s, from sharp to blurry and back.
  identity: w_i, of what is already what a generator should make.
  """

  adversarial: float = 2.0
  cycle_blur: float = 10.0
  cycle_sharp: float = 10.0
  identity: float = 0.5


def make(
    nets, txs, *, critic: Mapping[str, Any], weights: Mapping[str, float],
    cycle: str = '2*l1', identity: str = '2*l1', pool_size: int = 50,
    features: Mapping[str, Any] | None = None, ema: float = 0.0,
    without: str = unpaired.NOTHING) -> Method:
  """The method.

  Args:
    nets: {'to_sharp', 'to_blur': generators, of which the finest scale counts;
      'is_sharp', 'is_blur': image -> map of values}.
    txs: {'gen', 'critic': optimizers of both generators and of both critics}.
    critic: keyword arguments of `critic.make`: gan, penalty, ...
    weights: fields of `Weights`.
    cycle, identity: what |.| is above, as of `losses.content`: '2*l1', and with
      `features` also '2*l1 + 0.1*perceptual'.
    pool_size: fakes that are kept for each critic.
    features: keyword arguments of `vgg.build`, where |.| has 'perceptual'.
    ema: decay of to_sharp's averaged weights, which restore; 0: the last.
    without: a term that is left out whatever its weight, for ablations.

  Raises:
    UserError: what does not go together.
  """
  _check_networks(nets)
  gen_tx, critic_tx = (
      require(txs, name, where='optim') for name in ('gen', 'critic'))
  whole = call(Weights, weights, where='method.weights')
  weights = unpaired.check_weights(unpaired.leave_out(without, whole))
  rivals = {name: unpaired.rival(nets[name], critic_tx, critic, name=name,
                                 pool_size=pool_size) for name in CRITICS}
  frozen = features and call(vgg.build, features, where='method.features')
  rows = frozen and {'perceptual': losses.perceptual(frozen.apply)}
  cycle_loss, identity_loss = (
      losses.content(terms, frozen=rows) for terms in (cycle, identity))

  def init(key: Array, batch: Batch) -> TrainState:
    keys = dict(zip(GENERATORS + CRITICS, jax.random.split(key, 4),
                    strict=True))
    params = {name: models.init(nets[name], keys[name]) for name in GENERATORS}
    crop, pools = batch['blur'].shape[1:3], {}
    for name in CRITICS:
      params[name], pools[name] = rivals[name].init(keys[name], crop=crop)
    opt_state = {
        name: (gen_tx if name in GENERATORS else critic_tx).init(params[name])
        for name in params}
    extra = {'pools': pools}
    if ema:
      extra['ema'] = {'to_sharp': params['to_sharp']}
    if frozen:
      extra['features'] = frozen.params
    return TrainState(
        step=jnp.zeros((), jnp.int32), params=params, opt_state=opt_state,
        extra=extra)

  def objective(gens, state: TrainState, batch: Batch, key: Array):
    blur, sharp = batch['blur'], batch['sharp']
    keys = iter(jax.random.split(key, 4))

    def generate(name, *images):
      run = lambda x: nets[name].apply(
          {'params': gens[name]}, x, train=True,
          rngs={'dropout': next(keys)})
      return [scales[0] for scales in unpaired.together(run, *images)]

    def distance(loss, made, wanted):
      return loss([made], [wanted], state.extra.get('features'))

    # ---- there, and what stays as it is
    fake_sharp, same_sharp = generate('to_sharp', blur, sharp)
    fake_blur, same_blur = generate('to_blur', sharp, blur)
    # ---- and back
    again_blur, = generate('to_blur', fake_sharp)
    again_sharp, = generate('to_sharp', fake_blur)
    pictures = {'is_sharp': (sharp, fake_sharp), 'is_blur': (blur, fake_blur)}
    terms = {
        'adversarial': sum(
            rivals[name].persuade(state.params[name], *pictures[name])
            for name in CRITICS),
        'cycle_blur': distance(cycle_loss, again_blur, blur),
        'cycle_sharp': distance(cycle_loss, again_sharp, sharp),
        # Whichever other term is left out, this one stays as it is.
        'identity': (
            whole.cycle_sharp * distance(identity_loss, same_sharp, sharp)
            + whole.cycle_blur * distance(identity_loss, same_blur, blur))}
    total = sum(weight * terms[name]
                for name, weight in weights._asdict().items())
    terms |= unpaired.likeness(fake_sharp, blur)
    return total, (pictures, terms)

  def step(state: TrainState, batch: Batch, key: Array):
    key_gen, *keys = jax.random.split(key, 1 + len(CRITICS))
    params, opt_state = dict(state.params), dict(state.opt_state)
    pools = dict(state.extra['pools'])
    gens = {name: params[name] for name in GENERATORS}
    # ---- both generators
    (loss, (pictures, metrics)), grads = jax.value_and_grad(
        objective, has_aux=True)(gens, state, batch, key_gen)
    for name in GENERATORS:
      params[name], opt_state[name] = optim.apply(
          gen_tx, grads[name], opt_state[name], params[name])
    # ---- both critics
    for name, key in zip(CRITICS, keys, strict=True):
      carry = params[name], opt_state[name], pools[name]
      (params[name], opt_state[name], pools[name]), seen = rivals[name].update(
          carry, *pictures[name], key)
      metrics |= seen
    extra = state.extra | {'pools': pools}
    if ema:
      extra['ema'] = {'to_sharp': optim.average(
          params['to_sharp'], extra['ema']['to_sharp'], decay=ema)}
    metrics |= {'loss': loss, 'grad_norm': optax.tree.norm(grads),
                'lr': gen_tx.lr(state.step)}
    return state.replace(step=state.step + 1, params=params,
                         opt_state=opt_state, extra=extra), metrics

  def restore(state: TrainState, blur: Array) -> Array:
    params = (state.extra['ema'] if ema else state.params)['to_sharp']
    return nets['to_sharp'].apply({'params': params}, blur)[0]

  return Method(
      init, step, restore, unpaired=True, watches=(
          unpaired.watch_pictures, *(rivals[name].watch for name in CRITICS)))


def _check_networks(nets):
  for names, table in ((GENERATORS, models.MODELS), (CRITICS, models.CRITICS)):
    for name in names:
      net = require(nets, name, where='nets')
      models.check_kind(net, table, where=f'nets.{name}.name')
