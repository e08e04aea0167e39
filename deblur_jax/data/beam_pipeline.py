"""Pipelines of Apache Beam, which do work on many machines."""

from collections.abc import Sequence

from deblur_jax import errors


def make(options: Sequence[str], *, what: str, otherwise: str) -> tuple:
  """Makes an empty pipeline.

  Args:
    options: of the pipeline: ['--runner=FlinkRunner', ...]; Beam ignores
      unknown ones.
    what: the option of the user that needs Beam, for the message.
    otherwise: what to do without Beam, for the message.

  Returns:
    (the module apache_beam, the pipeline).

  Raises:
    UserError: Beam is not installed, or refuses the options.
  """
  with errors.needs_extra(
      'Apache Beam', extra='beam', what=what, otherwise=otherwise):
    import apache_beam as beam
    from apache_beam.options import pipeline_options
  try:
    return beam, beam.Pipeline(
        options=pipeline_options.PipelineOptions(list(options)))
  except (ValueError, SystemExit) as error:      # argparse exits
    raise errors.UserError(f'Beam does not take {options}: {error}') from None
