"""Components of several tabs of the page: upload, slider, notes, download."""

import os

from deblur_jax.app import page_jobs
from deblur_jax.media import pictures


def upload(label: str, name: str, **options):
  """Makes a field for a picture's file.

  Args:
    label: of the field.
    name: its id.
    **options: of `gradio.File`.

  Returns:
    The component.
  """
  import gradio as gr

  return gr.File(
      label=label, elem_id=name, type='filepath', height=140,
      file_types=[*pictures.SUFFIXES, *pictures.READ_ONLY], **options)


def before_and_after(prefix: str):
  """Makes the slider over both pictures; its id begins with `prefix`."""
  import gradio as gr

  return gr.ImageSlider(
      label='Before and after', elem_id=f'{prefix}slider', format='png',
      interactive=False, buttons=['fullscreen'], max_height=700)


def notes_and_download(prefix: str):
  """Makes (notes, download button); their ids begin with `prefix`."""
  import gradio as gr

  notes = gr.Textbox(label='Notes', elem_id=f'{prefix}notes', max_lines=8,
                     interactive=False)
  download = gr.DownloadButton(
      'Download', elem_id=f'{prefix}download', interactive=False)
  return notes, download


def no_file():
  """Returns the download button without a file."""
  import gradio as gr

  return gr.DownloadButton('Download', value=None, interactive=False)


def outputs(result: page_jobs.Result):
  """Returns (pictures before and after, download button, notes)."""
  import gradio as gr

  name = os.path.basename(result.file)
  return (result.shown,
          gr.DownloadButton(f'Download {name}', value=result.file,
                            interactive=True),
          '\n'.join(result.notes))
