"""How the runs of a report were made: what their numbers depend on."""

import json
import re
from collections.abc import Mapping
from typing import Any

from deblur_jax.evaluation.report import runs as runs_lib
from deblur_jax.evaluation.report.runs import Run, Study
from deblur_jax.training import workdir

_LOSS_KEYS = ('loss', 'content', 'content_weight', 'adversarial_weight',
              'over_scales', 'discriminator.gan', 'weights')
_OVERRIDE = re.compile(r'--?config\.([^=]+)=(.*)', re.DOTALL)


def read(study: Study) -> dict[str, dict[str, str]]:
  """The conditions of each setting; a run that is not started has none.

  Args:
    study: of `runs.read_study`.

  Returns:
    Name of a condition, such as 'steps' -> label of a setting -> text. Runs of
    one setting that differ in it have several texts, with ' / ' between them.
    A condition that no run has is left out.
  """
  found = {}
  for label, group in runs_lib.group(study).items():
    started = [_of_run(study, run) for run in group if run.config]
    for name in dict.fromkeys(name for one in started for name in one):
      texts = dict.fromkeys(one.get(name, '') for one in started)
      found.setdefault(name, {})[label] = ' / '.join(filter(None, texts))
  return {name: texts for name, texts in found.items() if any(texts.values())}


def common(conditions: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
  """The conditions that all settings share.

  Args:
    conditions: of `read`.

  Returns:
    Name -> text.
  """
  return {name: next(iter(texts.values())) for name, texts in
          conditions.items() if len(set(texts.values())) == 1}


def losses_are_comparable(study: Study) -> bool:
  """Whether the training losses of all settings are one quantity.

  The loss of K scales is a sum over K scales, so settings with other scales,
  another loss or another method are not comparable by it.

  Args:
    study: of `runs.read_study`.

  Returns:
    True if the methods are equal, and so are the scales of all networks.
  """
  keys = {json.dumps([run.config['method'], _scales(run.config)],
                     sort_keys=True)
          for run in study.runs if run.config}
  return len(keys) <= 1


def devices(run: Run) -> str:
  """Number and name of the devices of a run, '' if it does not say.

  Args:
    run: of `runs.read_run`.

  Returns:
    Such as '8 x TPU v4', or 'cpu'.
  """
  name, count = run.summary.get('device'), run.summary.get('devices', 1)
  if not name:
    return ''
  return f'{count} x {name}' if count > 1 else name


def _of_run(study: Study, run: Run) -> dict[str, str]:
  """Name of a condition -> text, '' where the run does not say."""
  config, environment = run.config, run.environment
  loader = config.get('data', {}).get('loader', {})
  versions = environment.get('versions', {})
  return {
      'steps': _text(config.get('total_steps')),
      'batch': _text(config.get('batch_size')),
      'crop': _text(loader.get('crop')),
      'later crops': '; '.join(
          f'{crop} in batches of {batch} from step {step}'
          for step, crop, batch in loader.get('progressive') or ()),
      'optimizer': '; '.join(
          _optimizer(name, options, alone=len(config['optim']) == 1)
          for name, options in config.get('optim', {}).items()),
      'method': config['method'].get('name', ''),
      'loss': _loss(config['method']),
      'overrides': _overrides(study, run),
      'devices': devices(run),
      'commit': _commit(environment.get('commit') or ''),
      'versions': ', '.join(f'{name} {versions[name]}' for name in (
          'jax', 'flax', 'optax') if name in versions)}


def _optimizer(name, options, *, alone):
  schedule = options.get('schedule')
  parts = [options.get('name'),
           f'learning rate {runs_lib.show(options["lr"])}'
           if 'lr' in options else None,
           f'{schedule} schedule' if schedule else None]
  return ('' if alone else f'{name}: ') + ', '.join(filter(None, parts))


def _loss(method):
  flat = workdir.flatten(method)
  texts = []
  for key in _LOSS_KEYS:
    values = {inner: value for inner, value in flat.items()
              if f'{inner}.'.startswith(f'{key}.')}
    for inner, value in values.items():
      texts.append(runs_lib.show(value) if inner == 'loss'
                   else f'{inner} {runs_lib.show(value)}')
  return ', '.join(texts)


def _overrides(study: Study, run: Run) -> str:
  """What differs from the config file, without what the rows of a table show.

  The command of a run has the changed keys of its config; the plan of a grid
  has the keys with one value for all.
  """
  changed = {key: runs_lib.show(value) for key, value in run.settings.items()}
  for word in run.environment.get('command', ()):
    if match := _OVERRIDE.fullmatch(word):
      changed[match[1]] = match[2]
  shown = {runs_lib.SEED, *study.keys, *workdir.FREE_KEYS}
  return ', '.join(f'{key}={value}' for key, value in changed.items()
                   if not shown & {key, *runs_lib.full_keys(run, key)})


def _commit(commit: str) -> str:
  return commit[:12] + (
      ' with changes' if commit.endswith('+') else '')


def _scales(config) -> dict[str, Any]:
  return {key: value for key, value in workdir.flatten(
      config.get('nets', {})).items() if key.endswith('.scales')}


def _text(value) -> str:
  return '' if value is None else runs_lib.show(value)
