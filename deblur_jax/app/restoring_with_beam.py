"""Restores more pictures than one machine can: `deblur restore --runner`.

inputs -> their folders -> files -> outcomes -> manifest

An Apache Beam pipeline distributes each arrow. A worker lists a folder, or
restores a file with a model that it loads once. All machines see the same
files: a shared file system. A result is written whole or not at all, so that
after a kill the same command passes over what is done.
"""

import json
import os
import pathlib
import shlex
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from deblur_jax import errors
from deblur_jax.app import blending, restoring
from deblur_jax.app.restoring import Network, Outcome, Written
from deblur_jax.data import beam_pipeline
from deblur_jax.media import output_files

MANIFEST = 'manifest.jsonl'    # a line for each outcome
QUIET = ('--default_sdk_harness_log_level=ERROR',)    # the user's comes last
_TEMPORARY = f'beam-temp-{MANIFEST}'    # begins the names of Beam's folders
# A worker may have several threads; all use the same cores or accelerator.
_TURN = threading.Lock()


def run(
    inputs: Sequence[str], *, network: Network, written: Written, out: str,
    runner: str, blend: blending.Blend = restoring.WHOLE,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
  """Restores files and folders by a pipeline; OUT has the manifest.

  Args:
    inputs: paths of files and folders, on a file system that all machines see.
    network: the model, as all machines find it.
    written: options of reading and writing; one of `skip_existing` and
      `overwrite`, because a runner may do a file twice.
    out: a folder that all machines see.
    runner: the name of Beam's runner, and its options, as in a shell.
    blend: the regions to restore, and the strength.
    on_outcome: called with each outcome after the pipeline has ended.

  Returns:
    The outcomes of all files, sorted by name; see `restoring.run`.

  Raises:
    UserError: no Beam, a mistake in the options, or the pipeline has stopped.
  """
  if not written.skip_existing and not written.overwrite:
    raise errors.UserError(
        '--runner needs --skip-existing or --overwrite, because a runner may '
        'do a file twice.')
  if out is None:
    raise errors.UserError('--runner needs -o: the folder of the results.')
  name, *options = _words(runner)
  roots = output_files.roots(inputs, out=out, others=restoring.VIDEOS)
  beam, pipeline = beam_pipeline.make(
      [f'--runner={name}', *QUIET, *options], what='--runner',
      otherwise='leave it out: this machine restores the pictures')
  restoring.load_model(network)    # so that mistakes are found here
  folder = pathlib.Path(out)
  folder.mkdir(parents=True, exist_ok=True)
  for left in folder.glob(f'{_TEMPORARY}*'):    # by a killed run
    shutil.rmtree(left, ignore_errors=True)
  # Reshuffled, because a runner could otherwise fuse all into one piece.
  lines = (
      pipeline | beam.Create(roots)
      | 'folders' >> beam.FlatMap(output_files.folders, out=out)
      | 'to all' >> beam.Reshuffle()
      | 'files' >> beam.FlatMap(listed, written=written)
      | 'again to all' >> beam.Reshuffle()
      | 'restore' >> beam.Map(
          outcome, network=network, written=written, blend=blend)
      | 'lines' >> beam.Map(lambda one: json.dumps(one._asdict())))
  _ = lines | beam.io.WriteToText(
      os.fspath(folder / MANIFEST), num_shards=1, shard_name_template='')
  try:
    pipeline.run().wait_until_finish()
  except Exception as error:    # of many kinds, as runners fail
    raise errors.UserError(
        f'{name} has stopped: {errors.first_line(error)[:300]}. Finished files '
        'are kept; run the same command with --skip-existing.'
    ) from error
  outcomes = sorted(read_manifest(folder), key=lambda one: one.source)
  if not any(one.target or one.error for one in outcomes):
    raise errors.UserError(f'{", ".join(inputs)}: no pictures there.')
  for one in outcomes:
    on_outcome(one)
  return outcomes


def _words(runner) -> list[str]:
  try:
    if words := shlex.split(runner):
      return words
  except ValueError:    # a quotation that does not end
    pass
  raise errors.UserError(
      f"--runner={runner!r} names no runner: write --runner=DirectRunner, or "
      "--runner='FlinkRunner --flink_master=HOST:PORT'.")


def read_manifest(folder: str | os.PathLike) -> list[Outcome]:
  """The outcomes that a manifest has.

  Args:
    folder: of the results.
  """
  text = pathlib.Path(folder, MANIFEST).read_text(encoding='utf-8')
  outcomes = [Outcome(**json.loads(line)) for line in text.splitlines()]
  return [one._replace(notes=tuple(one.notes)) for one in outcomes]


def listed(
    part: output_files.Part, *, written: Written
) -> Iterator[output_files.Job | Outcome]:
  """Lists a file or a folder without its sub-folders.

  Args:
    part: of `output_files.folders`.
    written: options of writing.

  Yields:
    What is to be done, and the outcomes of what is not.
  """
  name = os.fspath(part.source)
  try:
    plan = output_files.plan(
        [name], out=f'{part.out}{os.sep}', suffix=written.suffix,
        ext=written.ext, others=restoring.VIDEOS, recursive=False,
        skip_existing=written.skip_existing, overwrite=written.overwrite,
        may_be_empty=True, spelling=written.spelling)
  except errors.UserError as error:
    yield Outcome(name, None, 0.0, (), str(error))
    return
  yield from restoring.not_restored(plan, name)
  yield from plan.jobs


def outcome(
    job: output_files.Job | Outcome, *, network: Network, written: Written,
    blend: blending.Blend) -> Outcome:
  """Restores one file.

  Args:
    job: of `listed`.
    network: the model; a process loads it once.
    written: options of reading and writing.
    blend: the regions to restore, and the strength.
  """
  if isinstance(job, Outcome):
    return job
  # If a worker dies, the runner repeats its work, finished files included.
  if written.skip_existing and os.path.exists(job.target):
    return Outcome(os.fspath(job.source), os.fspath(job.target), 0.0,
                   (restoring.SKIPPED,))
  with _TURN:
    if 'jax' not in sys.modules:
      from deblur_jax.ops import precision

      precision.ask_for_onednn()    # before jax reads XLA_FLAGS
    return restoring.restore_file(job, network, written, blend)
