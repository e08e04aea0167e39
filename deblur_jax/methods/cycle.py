"""Learning without pairs, there and back: CycleGAN (Zhu et al., ICCV 2017).

  min over G, F of  w_a (L_G(D_S, G(y)) + L_G(D_B, F(x)))
                    + w_b |F(G(y)) - y| + w_s |G(F(x)) - x|
                    + w_i (w_s |G(x) - x| + w_b |F(y) - y|)

G makes the blurry y sharp, F the sharp x blurry; y and x are of different
scenes. The discriminators D_S and D_B separate sharp from restored and real
from made blurry pictures, and learn from a buffer of earlier fakes too. In a
step all four move against each other as they were before it, as in the authors'
code.

The authors' losses are of images in [-1, 1], where |.| is twice as large as
here: hence '2*l1'. Their least squares have no half at the generators, those of
`losses.ADVERSARIAL` have one: hence w_a = 2.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from deblur_jax import losses, models
from deblur_jax.config import call, require
from deblur_jax.methods import learner, unpaired
from deblur_jax.state import Array, Batch, Method, TrainState

GENERATORS = ('to_sharp', 'to_blur')
DISCRIMINATORS = ('is_sharp', 'is_blur')


class Weights(NamedTuple):
  """Weights of the terms above; 0 leaves one out.

  Attributes:
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
    nets, txs, *, discriminator: Mapping[str, Any],
    weights: Mapping[str, float], cycle: str = '2*l1', identity: str = '2*l1',
    buffer_size: int = 50, features: Mapping[str, Any] | None = None,
    ema: float = 0.0, without: str = unpaired.NOTHING) -> Method:
  """The method.

  Args:
    nets: {'to_sharp', 'to_blur': generators, whose finest scale is used;
      'is_sharp', 'is_blur': image -> map of values}.
    txs: {'generator', 'discriminator': optimizers of both generators and of
      both discriminators}.
    discriminator: keyword arguments of `discriminator.make`: gan, penalty, ...
    weights: fields of `Weights`.
    cycle: |.| of the cycle terms, see `losses.content`: '2*l1', and with
      `features` also '2*l1 + 0.1*perceptual'.
    identity: |.| of the identity term, in the same form.
    buffer_size: fakes that are kept for each discriminator.
    features: where VGG19's weights are, keyword arguments of `vgg.build`; for
      losses with 'perceptual'.
    ema: decay of to_sharp's averaged weights, which restore; 0: the last.
    without: a term to leave out, for ablations; its weight does not matter.

  Raises:
    UserError: a network is missing or of another kind, an optimizer is missing,
      weights are unknown, negative or all 0, buffer_size is negative, or a name
      in `discriminator`, `cycle`, `identity` or `without` is unknown.
  """
  learner.check_ema(ema)
  _check_networks(nets)
  txs = {
      name: require(txs, role, where='optim') for role, names in (
          ('generator', GENERATORS), ('discriminator', DISCRIMINATORS))
      for name in names}
  whole = call(Weights, weights, where='method.weights')
  weights = unpaired.check_weights(unpaired.leave_out(without, whole))
  discriminators = {
      name: unpaired.discriminator(
          nets[name], txs[name], discriminator, name=name,
          buffer_size=buffer_size) for name in DISCRIMINATORS}
  vgg19 = losses.vgg19(features)
  cycle_loss, identity_loss = (
      losses.build(terms, features=vgg19) for terms in (cycle, identity))

  def init(key: Array, batch: Batch) -> TrainState:
    keys = dict(zip(GENERATORS + DISCRIMINATORS, jax.random.split(key, 4),
                    strict=True))
    params = {name: models.init(nets[name], keys[name]) for name in GENERATORS}
    crop, buffers = batch['blur'].shape[1:3], {}
    for name in DISCRIMINATORS:
      params[name], buffers[name] = discriminators[name].init(
          keys[name], crop=crop)
    return learner.begin(
        learner.Start(params, cycle_loss.frozen, buffers), txs,
        ema=('to_sharp',) if ema else ())

  def objective(generators, state: TrainState, batch: Batch, key: Array):
    blur, sharp = batch['blur'], batch['sharp']
    keys = iter(jax.random.split(key, 4))

    def generate(name, *images):
      run = lambda x: nets[name].apply(
          {'params': generators[name]}, x, train=True,
          rngs={'dropout': next(keys)})
      return [scales[0] for scales in unpaired.together(run, *images)]

    def distance(by, made, wanted):
      return by.loss([made], [wanted], state.frozen)

    # ---- there, and what stays as it is
    fake_sharp, same_sharp = generate('to_sharp', blur, sharp)
    fake_blur, same_blur = generate('to_blur', sharp, blur)
    # ---- and back
    again_blur, = generate('to_blur', fake_sharp)
    again_sharp, = generate('to_sharp', fake_blur)
    pictures = {'is_sharp': (sharp, fake_sharp), 'is_blur': (blur, fake_blur)}
    terms = {
        'adversarial': sum(
            discriminators[name].generator_loss(
                state.params[name], *pictures[name])
            for name in DISCRIMINATORS),
        'cycle_blur': distance(cycle_loss, again_blur, blur),
        'cycle_sharp': distance(cycle_loss, again_sharp, sharp),
        # This term does not depend on which other term is left out.
        'identity': (
            whole.cycle_sharp * distance(identity_loss, same_sharp, sharp)
            + whole.cycle_blur * distance(identity_loss, same_blur, blur))}
    total = sum(weight * terms[name]
                for name, weight in weights._asdict().items())
    terms |= unpaired.likeness(fake_sharp, blur)
    return total, (pictures, terms)

  def step(state: TrainState, batch: Batch, key: Array):
    key_generators, *keys = jax.random.split(key, 1 + len(DISCRIMINATORS))
    # ---- both generators
    (loss, (pictures, metrics)), grads = jax.value_and_grad(
        objective, has_aux=True)(
            {name: state.params[name] for name in GENERATORS}, state, batch,
            key_generators)
    metrics |= learner.logged(loss, grads, txs['to_sharp'].lr(state.step))
    state = learner.update(state, txs, grads)
    # ---- both discriminators
    for name, key in zip(DISCRIMINATORS, keys, strict=True):
      state, seen = discriminators[name].update(state, *pictures[name], key)
      metrics |= seen
    return learner.finish(state, ema=ema), metrics

  def restore(state: TrainState, blur: Array) -> Array:
    return nets['to_sharp'].apply(
        {'params': state.weights('to_sharp')}, blur)[0]

  return Method(
      init, step, restore, unpaired=True, watches=(
          unpaired.watch_pictures,
          *(discriminators[name].watch for name in DISCRIMINATORS)))


def _check_networks(nets):
  for names, table in ((GENERATORS, models.MODELS),
                       (DISCRIMINATORS, models.DISCRIMINATORS)):
    for name in names:
      net = require(nets, name, where='nets')
      models.check_kind(net, table, where=f'nets.{name}.name')
