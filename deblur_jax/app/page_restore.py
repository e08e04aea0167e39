"""The tab that restores a photo: photo, model, region, strength.

A photo is restored when the button is pressed. Before that the list of models
shows the estimated time of each. Two clicks in the preview are corners of a
region. A change of the strength blends again without running the network.
"""

import base64

from deblur_jax.app import blending, pace, page_jobs, page_parts, page_photo


def build(
    restorers: page_jobs.Restorers, *, folder: str, kept: str, max_pixels: int
) -> None:
  """Builds the content of the tab inside of a `gradio.Tab`.

  Args:
    restorers: the models.
    folder: see `page.build`.
    kept: see `page.build`.
    max_pixels: greatest number of pixels of a photo.
  """
  import gradio as gr

  photo, corner, restored = (gr.State(None) for _ in range(3))
  with gr.Row():
    with gr.Column(scale=2):
      upload = page_parts.upload('Photo', 'upload')
      examples = _examples()
      model = gr.Radio(
          _models(restorers, None, ()), value=restorers.names[0],
          label='Model', elem_id='model',
          info='* measured on another machine, the reference')
      preview = gr.Image(
          label='Click two corners to restore only a part', elem_id='preview',
          type='filepath', format='png', interactive=False, visible=False,
          buttons=[], height=260)
      region = gr.Textbox(
          label='Region: x,y,width,height', elem_id='region', max_lines=1,
          placeholder='empty: the whole photo')
      button = gr.Button('Restore', variant='primary', elem_id='restore')
    with gr.Column(scale=5):
      slider = page_parts.before_and_after('')
      strength = gr.Slider(
          0, 1, value=1, step=0.01, label='Strength: 0 is the original photo',
          elem_id='strength')
      notes, download = page_parts.notes_and_download('')

  private = dict(concurrency_id='form', show_progress='hidden',
                 api_visibility='private')
  for name, one in examples.items():
    one.click(lambda name=name: page_photo.take_example(name, folder=folder),
              None, upload, **private)
  upload.change(
      _on_photo(restorers, folder, max_pixels), [upload, restored],
      [photo, corner, preview, region, model, notes, restored, slider,
       download], **private)
  # 'multiple': a second click while the first is answered is not lost.
  preview.select(
      _on_click(folder), [photo, corner], [corner, region, preview],
      trigger_mode='multiple', **private)
  region.change(
      _on_region(restorers, folder), [photo, region], [preview, model, notes],
      trigger_mode='always_last', **private)
  button.click(
      _on_restore(restorers, folder, kept, max_pixels),
      [upload, photo, model, region, strength, restored],
      [restored, slider, download, notes, model], concurrency_id='network',
      show_progress_on=slider, api_visibility='private')
  strength.change(
      _on_strength(folder), [restored, strength], [slider, download, notes],
      trigger_mode='always_last', **private)


def _on_photo(restorers, folder, max_pixels):
  """The handler of a new photo: its preview, and the times of models."""
  import gradio as gr

  def photo(path, earlier):
    if earlier is not None:
      earlier.forget()
    one, words = None, ''
    if path is not None:
      try:
        one = page_photo.load(path, folder=folder, max_pixels=max_pixels)
      except Exception as error:
        words = page_jobs.line(error)
    preview = gr.Image(value=one and one.preview, visible=one is not None)
    models = gr.Radio(_models(restorers, one, ()))
    return (one, None, preview, '', models, words, None, None,
            page_parts.no_file())

  return photo


def _on_click(folder):
  """The handler of clicks in the preview: a corner, then a region."""
  import gradio as gr

  def click(one, first, event: gr.SelectData):
    if one is None:
      return None, '', gr.skip()
    place = page_photo.pixel(one, event.index)
    region = page_photo.between(first or place, place)
    # One corner is drawn, but is no region yet.
    words = gr.skip() if first is None else blending.text(region)
    return (place if first is None else None, words,
            page_photo.drawn(one, region, folder=folder))

  return click


def _on_region(restorers, folder):
  """The handler of the text of a region, which is drawn in the preview."""
  import gradio as gr

  def region(one, words):
    if one is None:
      return gr.skip(), gr.skip(), gr.skip()
    try:
      regions = _regions(words)
      blending.check(regions, one.size)
    except Exception as error:
      return one.preview, gr.skip(), page_jobs.line(error)
    return (page_photo.drawn(one, *(regions or [None]), folder=folder),
            gr.Radio(_models(restorers, one, regions)), '')

  return region


def _on_restore(restorers, folder, kept, max_pixels):
  """The handler of the button: restores the photo."""
  import gradio as gr

  def restore(
      path, one, name, words, amount, earlier,
      progress=gr.Progress()):  # noqa: B008
    if path is None:
      return earlier, None, page_parts.no_file(), 'Choose a photo first.', (
          gr.skip())
    try:
      regions = _regions(words)
      new = page_jobs.restore(
          path, name, restorers, kept=kept, regions=regions,
          max_pixels=max_pixels, on_tile=_on_tile(
              progress, _estimate(restorers, name, one, regions)))
      found = page_parts.outputs(new.result(amount, folder=folder))
    except Exception as error:
      return (earlier, None, page_parts.no_file(), page_jobs.line(error),
              gr.skip())
    if earlier is not None:
      earlier.forget()
    return new, *found, gr.Radio(_models(restorers, one, regions))

  return restore


def _on_strength(folder):
  """The handler of the strength: blends the photo again."""
  import gradio as gr

  def strength(found, amount):
    if found is None:
      return gr.skip(), gr.skip(), gr.skip()
    try:
      return page_parts.outputs(found.result(amount, folder=folder))
    except Exception as error:
      return None, page_parts.no_file(), page_jobs.line(error)

  return strength


def _examples():
  """name -> the button below each example photo."""
  import gradio as gr

  found = {}
  with gr.Row():
    for name, path in page_photo.examples().items():
      with gr.Column(min_width=80):
        # Embedded, because files in the folder of uploads are deleted.
        data = base64.b64encode(path.read_bytes()).decode()
        gr.HTML(f'<img alt="{name}, blurred" style="height:6em;margin:auto" '
                f'src="data:image/jpeg;base64,{data}">')
        found[name] = gr.Button(f'Try {name}', size='sm',
                                elem_id=f'example_{name}')
  return found


def _regions(words):
  return blending.build(words.strip() or None).regions


def _estimate(restorers, name, photo, regions):
  if photo is None:
    return None
  return restorers.estimate(name, blending.megapixels(regions, photo.size))


def _models(restorers, photo, regions):
  """(label, name) of each model, with its estimated time for a photo."""
  found = []
  for name in restorers.names:
    estimate = _estimate(restorers, name, photo, regions)
    if estimate:
      mark = '' if estimate.is_measured else '*'    # see the field's `info`
      label = f'{name}: {pace.words(estimate.seconds)}{mark}'
    else:
      label = f'{name}: time not known yet' if photo else name
    found.append((label, name))
  return found


def _on_tile(progress, estimate):
  """Shows tiles and the remaining time in a `gradio.Progress`."""
  remaining = pace.Remaining(estimate and estimate.seconds)

  def on_tile(done, total):
    left = remaining(done, total)
    progress((done, total), unit='tiles', desc=(
        None if left is None else f'{pace.words(left)} left'))

  on_tile(0, 1)
  return on_tile
