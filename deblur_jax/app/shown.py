"""What the commands say: progress, results, and what is to be known of them."""

import contextlib
import os
import sys

import tqdm


@contextlib.contextmanager
def progress(unit: str):
  """on_part of `restoring.run`, as a bar with the time left on stderr."""
  with tqdm.tqdm(file=sys.stderr, unit=unit, disable=None,
                 bar_format='{desc}{percentage:3.0f}% |{bar}| {elapsed} '
                 'gone, {remaining} left') as bar:
    def on_part(name, done, total):
      bar.total = total
      bar.set_description_str(os.path.basename(name)[:30], refresh=False)
      bar.update(done - bar.n)

    yield on_part


def outcome(one) -> None:
  """A `restoring.Outcome`: its file on stdout, its notes on stderr."""
  write = tqdm.tqdm.write    # not through the bar
  if one.target and one.target != '-':
    write(one.target, file=sys.stdout)
  for note in one.notes:
    write(f'{one.source}: {note}', file=sys.stderr)
  if one.error:
    write(f'error: {one.error}', file=sys.stderr)


def row(row) -> str:
  """A row of `export.run` as a line."""
  height, width = row.size
  memory = ('' if row.memory_bytes is None
            else f', {row.memory_bytes / 2**20:.0f} MiB of memory')
  return (f'{row.path}: {row.bytes / 2**20:.2f} MiB, {row.ms:.1f} ms at '
          f'{width}x{height} (here {row.network_ms:.1f} ms{memory}); at most '
          f'{max(row.errors.values()):.1e} from the network, {row.psnr:.1f} dB'
          + (f'; pictures with sides below {row.least} are enlarged inside'
             if row.least > 1 else ''))


def card(card) -> None:
  """A model's card: what it learned from, its licence, and how it scores."""
  for source in card['sources']:
    print(f'  trained on {source["name"]} (licence: {source["terms"]})')
  for title, score in card.get('scores', {}).items():
    print(f'  {title}, {score["pictures"]} pictures: {_scores(score)}')
  if seconds := card.get('seconds_720p'):
    print(f'  {seconds:g} s for 1280x720 ({card["timed_on"]})')
  if reach := card.get('reach'):
    print(f'  a pixel counts for {reach} around it: tiles are exact with '
          f'--overlap={4 * reach}')
  if least := card.get('least_change'):
    print(f'  photos that would change by less than {least} of 255 levels are '
          'left as they are: --least-change')
  for what, steps in card['trained'].items():
    print(f'  trained by {what}' + (f', {steps:,} steps' if steps else ''))
  print(f'  weights: {card["weights"]}, SHA-256 {card["sha256"]}')
  print(f'  licence: {card["licence"]}')


def _scores(score) -> str:
  """'PSNR 24.58 -> 31.73 dB, SSIM ...'; None is a picture without error."""
  words = []
  for title, metric, unit in (('PSNR', 'psnr_uint8', ' dB'),
                              ('SSIM', 'ssim_matlab3d', '')):
    before, after = (
        'equal' if score[side][metric] is None
        else f'{score[side][metric]:.4g}' for side in ('input', 'mean'))
    words.append(f'{title} {before} -> {after}{unit}')
  return ', '.join(words)
