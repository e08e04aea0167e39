"""Output of the commands: progress, results and descriptions."""

import contextlib
import os
import sys

import tqdm

from deblur_jax.app import pace
from deblur_jax.app.streams import shown
from deblur_jax.pretrained import zoo

MIN_SECONDS = 1.0    # of work whose time is printed before it begins


class Progress:
  """A progress bar on stderr with the remaining time, on terminals only."""

  def __init__(self, bar: tqdm.tqdm):
    self._bar = bar
    self._remaining = pace.Remaining()

  def on_model(self, model: zoo.Model) -> None:
    """Prints in which precision a model computes that has no card."""
    if not model.card:
      tqdm.tqdm.write(shown(f'{model.name} computes in {model.dtype}.'),
                      file=sys.stderr)

  def on_estimate(self, estimate: pace.Estimate | None) -> None:
    """Prints the estimated time, if it is known and long enough.

    Args:
      estimate: of all the work, or None.
    """
    if estimate is None:
      return
    self._remaining = pace.Remaining(estimate.seconds)
    if estimate.seconds >= MIN_SECONDS:
      tqdm.tqdm.write(in_words(estimate), file=sys.stderr)
      self._bar.set_postfix_str(_left(estimate.seconds))

  def on_part(self, name: str, done: float, total: float) -> None:
    """Updates the bar, see `restoring.run`.

    Args:
      name: of the file.
      done: finished work, in any unit.
      total: all work, in the same unit.
    """
    self._bar.total = total
    self._bar.set_description_str(
        shown(os.path.basename(name)[:30]), refresh=False)
    self._bar.set_postfix_str(
        _left(self._remaining(done, total)), refresh=False)
    self._bar.update(done - self._bar.n)


def _left(seconds: float | None) -> str:
  return f'{pace.words(seconds)} left' if seconds else ''


@contextlib.contextmanager
def progress():
  """Yields a `Progress`; its bar ends with the block."""
  with tqdm.tqdm(
      file=sys.stderr, disable=None,
      bar_format='{desc}{percentage:3.0f}% |{bar}| {elapsed} gone{postfix}'
  ) as bar:
    yield Progress(bar)


def in_words(estimate: pace.Estimate) -> str:
  """Describes an estimate in one line."""
  where = ('' if estimate.is_measured else
           ' on the reference machine; this one was not measured yet')
  return (f'{estimate.megapixels:.3g} megapixels take '
          f'{pace.words(estimate.seconds)}{where}.')


def outcome(one) -> None:
  """Prints a `restoring.Outcome`: its file on stdout, its notes on stderr."""
  write = tqdm.tqdm.write    # keeps the progress bar intact
  if one.target and one.target != '-':
    write(shown(one.target), file=sys.stdout)
  for note in one.notes:
    write(shown(f'{one.source}: {note}'), file=sys.stderr)
  if one.error:
    write(shown(f'error: {one.error}'), file=sys.stderr)


def row(row) -> str:
  """Describes a row of `export.run` in one line."""
  height, width = row.size
  memory = ('' if row.memory_bytes is None
            else f', {row.memory_bytes / 2**20:.0f} MiB of memory')
  return (f'{row.path}: {row.bytes / 2**20:.2f} MiB, {row.ms:.1f} ms at '
          f'{width}x{height} (here {row.network_ms:.1f} ms{memory}); at most '
          f'{max(row.errors.values()):.1e} from the network in float32, '
          f'{row.psnr:.1f} dB'
          + (f'; pictures with sides below {row.least} are enlarged inside'
             if row.least > 1 else ''))


def card(card) -> None:
  """Prints a model's card: training data, scores, options and licence."""
  for source in card['sources']:
    print(f'  trained on {source["name"]} (licence: {source["terms"]})')
  for title, score in card.get('scores', {}).items():
    print(f'  {title}, {score["pictures"]} pictures: {_scores(score)}')
  if seconds := card.get('seconds_720p'):
    print(f'  {seconds:g} s for 1280x720 ({card["timed_on"]})')
  if radius := card.get('receptive_field'):
    print(f'  radius of the receptive field: {radius} pixels; tiles are exact '
          f'with --overlap={4 * radius}')
  if threshold := card.get('blur_threshold'):
    print(f'  photos with a blur effect below {threshold} look sharp and are '
          'not changed: --blur-threshold')
  for what, steps in card['trained'].items():
    print(f'  trained by {what}' + (f', {steps:,} steps' if steps else ''))
  print(f'  weights: {card["weights"]}, SHA-256 {card["sha256"]}')
  print(f'  licence: {card["licence"]}')


def _scores(score) -> str:
  """'PSNR 24.58 -> 31.73 dB, SSIM ...'; 'equal' if no picture differs."""
  words = []
  for title, metric, unit in (('PSNR', 'psnr_uint8', ' dB'),
                              ('SSIM', 'ssim_matlab3d', '')):
    before, after = (
        'equal' if score[side][metric] is None
        else f'{score[side][metric]:.4g}' for side in ('input', 'mean'))
    words.append(f'{title} {before} -> {after}{unit}')
  if score.get('equal'):
    words.append(f'{score["equal"]} without difference')
  if score.get('least') is not None:
    words.append(f'least {score["least"]:.4g} dB')
  return ', '.join(words)
