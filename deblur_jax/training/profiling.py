"""A hook that profiles a few steps of training, for TensorBoard.

By jax.profiler: clu's periodic action chooses its steps itself, and measures a
number of milliseconds.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax

from deblur_jax import errors
from deblur_jax.state import Metrics, TrainState

STEP = 'train'      # the name of a step in the trace


def check(steps: Any, *, total_steps: int) -> None:
  """Checks which steps are to be profiled.

  Args:
    steps: see `Profile`.
    total_steps: number of the last step.

  Raises:
    UserError: they are not two numbers in order, or beyond the last step.
  """
  fine = isinstance(steps, Sequence) and len(steps) in (0, 2) and all(
      type(step) is int for step in steps)
  if not fine or (steps and not 0 <= steps[0] < steps[1] <= total_steps):
    raise errors.UserError(
        f'profile = {steps!r} must be () or two steps, 0 <= first < last <= '
        f'total_steps = {total_steps}; (100, 110) profiles the ten steps after '
        'step 100.')


class Profile:
  """Traces the steps after the first number up to the second one.

  A run that is resumed between the two numbers writes no trace.
  """

  def __init__(
      self, folder: pathlib.Path, steps: Sequence[int], *, finished: int):
    """Begins at once if the first number is the number of finished steps.

    Args:
      folder: of TensorBoard's files; the trace goes to plugins/profile/ in it.
      steps: () for none, or two numbers, see `check`.
      finished: number of finished steps.
    """
    self._folder, self._steps = folder, tuple(steps)
    self._tracing = False
    self._step = None       # the annotation of the step that is traced
    if jax.process_index():     # one trace a run
      self._steps = ()
    if self._steps[:1] == (finished,):
      self._begin()
      self._annotate(finished + 1)

  def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
    """Runs after each step."""
    self._end_annotation()
    if step in self._steps:
      jax.block_until_ready((state, metrics))
      if step == self._steps[0]:
        self._begin()
      else:
        self.close()
    if self._tracing:
      self._annotate(step + 1)

  def close(self) -> None:
    """Writes the trace, also if the run ended before its last step."""
    self._end_annotation()
    if self._tracing:
      self._tracing = False
      jax.profiler.stop_trace()

  def _begin(self):
    jax.profiler.start_trace(self._folder)
    self._tracing = True

  def _annotate(self, step):
    self._step = jax.profiler.StepTraceAnnotation(STEP, step_num=step)
    self._step.__enter__()

  def _end_annotation(self):
    if self._step:
      self._step.__exit__(None, None, None)
      self._step = None
