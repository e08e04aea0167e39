"""The report of runs: rows, text, pictures, refusals."""

import csv
import io
import json
import math
import statistics

import numpy as np
import pytest
import run_folders
from PIL import Image

from deblur_jax import errors
from deblur_jax.evaluation import report
from deblur_jax.evaluation.report import figures, render, rows, runs
from deblur_jax.training import workdir
from experiments import published_results

K = 'nets.net.scales'
PAPER = published_results.NAH_K_SCALES


def _plan(folder, settings, *papers):
  runs.write_plan(
      folder, name='k', config='configs/x.py', papers=papers,
      runs={runs.label(one): one for one in settings})


@pytest.fixture(scope='module')
def study(tmp_path_factory):
  """K = 3 twice, K = 1 once and once unfinished, K = 2 not started."""
  folder = tmp_path_factory.mktemp('study')
  _plan(folder, [{K: 3, 'seed': 0}, {K: 3, 'seed': 1}, {K: 1, 'seed': 0},
                 {K: 1, 'seed': 1}, {K: 2, 'seed': 0}], PAPER)
  evals = [
      run_folders.finished(folder / 'scales=3,seed=0', scales=3, strength=1.0),
      run_folders.finished(
          folder / 'scales=3,seed=1', scales=3, seed=1, strength=1.4),
      run_folders.finished(folder / 'scales=1,seed=0', scales=1, strength=0.4)]
  run_folders.train(folder / 'scales=1,seed=1',
                    run_folders.config(scales=1, seed=1), steps=20)
  return folder, evals, report.write(folder)


def test_rows_are_in_the_order_of_the_plan(study):
  _, _, written = study
  assert [row['setting'] for row in written.rows] == [
      'input', 'scales=3', 'scales=1', 'scales=2']
  assert [row['seeds'] for row in written.rows] == [None, 2, 1, 0]
  assert [row[K] for row in written.rows] == ['', 3, 1, 2]


@pytest.mark.parametrize('metric', ['psnr_uint8', 'ssim_matlab3d'])
def test_rows_have_means_and_sample_deviations(study, metric):
  _, evals, written = study
  first, three, one, two = written.rows
  values = [result['mean'][metric] for result in evals]
  assert first[metric] == pytest.approx(evals[0]['input'][metric])
  assert three[metric] == pytest.approx(statistics.mean(values[:2]))
  assert three[f'{metric}_std'] == pytest.approx(statistics.stdev(values[:2]))
  assert one[metric] == values[2] and one[f'{metric}_std'] is None
  assert two[metric] is None


def test_rows_have_gains_and_costs(study):
  _, evals, written = study
  one = written.rows[2]
  assert one['psnr_uint8_gain'] == pytest.approx(
      evals[2]['mean']['psnr_uint8'] - evals[2]['input']['psnr_uint8'])
  assert written.rows[0]['psnr_uint8_gain'] == 0
  assert one['parameters'] == 1_234_567 and one['step_ms'] == 250
  assert one['gmacs_256'] == pytest.approx(335.9)
  assert one['train_seconds'] == 10 and one['peak_memory_bytes'] == 2**31
  assert one['seconds'] == 0.5


def test_photos_without_sharp_originals_are_on_the_page(tmp_path):
  for strength, seed in ((1.0, 0), (1.4, 1)):
    folder = tmp_path / f'run{seed}'
    run_folders.finished(folder, strength=strength, seed=seed)
    workdir.write_json(folder / 'no_reference.json', {
        'photos': 'my/photos', 'kernels': 'run', 'rows': [{}] * 3,
        'input': {'reblur': 0.01, 'objects': 2.0},
        'mean': {'reblur': 0.02 + seed, 'objects': 3.0}})
  (tmp_path / 'run0' / 'no_reference.png').write_bytes(b'')
  report.write(tmp_path)
  page = (tmp_path / 'report.md').read_text()
  _, section = page.split('## On photos')
  lines = [line.split('|')[1:-1] for line in section.splitlines()
           if line.startswith('|')]
  rows_ = [[cell.strip() for cell in line] for line in lines]
  assert rows_[0] == ['setting', 'reblur', 'objects']
  assert rows_[2] == ['input', '0.0100', '2.0000']
  assert [row[1] for row in rows_[3:]] == ['0.0200', '1.0200']
  assert '3 photos of my/photos' in section
  assert '](run0/no_reference.png)' in section


def test_csv_reads_back(study):
  folder, _, written = study
  with (folder / 'report.csv').open() as file:
    lines = list(csv.DictReader(file))
  assert lines[0]['setting'] == 'input' and len(lines) == 4
  for line, row in zip(lines, written.rows, strict=True):
    for key in ('psnr_uint8', 'psnr_uint8_std', 'ssim_skimage', 'seeds'):
      assert line[key] == ('' if row[key] is None else str(row[key]))
  assert lines[1]['paper_psnr'] == '29.08' and lines[0]['paper_psnr'] == ''


def test_markdown_marks_the_papers_numbers_and_the_unfinished(study):
  folder, _, written = study
  page = (folder / 'report.md').read_text()
  assert written.markdown in page and 'paper' not in written.markdown
  assert f"paper's psnr {render.MARK}" in page and 'blur_gamma' in page
  assert 'Not comparable with ours' in page
  assert '`scales=1,seed=1`: unfinished, at step 20 of 40' in page
  assert '`scales=2,seed=0`: not started' in page
  widths = {len(line) for line in written.markdown.splitlines()}
  assert len(widths) == 1
  shown = report.describe(written)
  assert 'not started' in shown and str(folder / 'sheet.png') in shown


def test_same_test_set_is_comparable(study, tmp_path):
  test = {'name': 'gopro', 'split': 'test', 'subset': 'blur_gamma'}
  _plan(tmp_path, [{K: 3, 'seed': 0}], PAPER | {'pictures': 2})
  run_folders.finished(tmp_path / 'scales=3,seed=0', scales=3, test=test)
  report.write(tmp_path)
  page = (tmp_path / 'report.md').read_text()
  assert 'the same pictures' in page and 'Not comparable' not in page


def test_latex_is_escaped_and_balanced(study):
  folder, _, _ = study
  text = (folder / 'report.tex').read_text()
  assert r'psnr\_uint8' in text and r'\pm' in text
  assert not set('±∞†–²') & set(text)
  assert text.count(r'\begin{tabular}') == text.count(r'\end{tabular}') == 2
  assert render.escape('a_b & 50%~{x}') == (
      r'a\_b \& 50\%\textasciitilde{}\{x\}')
  for block in text.split(r'\begin{tabular}')[1:]:
    lines = [line for line in block.splitlines() if line.endswith(r'\\')]
    assert len({line.count('&') for line in lines}) == 1


def test_nothing_is_left_over_and_all_files_are_named(study):
  folder, _, written = study
  assert {path.name for path in written.files} == {
      'report.md', 'report.tex', 'report.csv', 'curves.png', 'sheet.png'}
  assert all(path.exists() for path in written.files)
  assert not list(folder.glob('.*'))


def test_sheet_shows_blur_settings_and_sharp(study):
  folder, _, _ = study
  image = Image.open(folder / 'sheet.png')
  assert image.width == 4 * (figures.WIDTH + figures.GAP)
  zoomed = figures.WIDTH * 3 // 4
  whole = figures.WIDTH * 100 // 128
  assert image.height == 2 * (
      2 * figures.CAPTION + whole + zoomed + 3 * figures.GAP)


def test_old_pictures_go_when_there_are_none_any_more(tmp_path):
  run_folders.train(tmp_path / 'a', run_folders.config())
  (tmp_path / 'sheet.png').write_bytes(b'old')
  written = report.write(tmp_path)
  assert not (tmp_path / 'sheet.png').exists()
  assert 'sheet.png' not in (tmp_path / 'report.md').read_text()
  assert [row['setting'] for row in written.rows] == ['input', 'a']
  assert 'not evaluated' in report.describe(written)


def test_settings_are_found_without_a_plan(tmp_path):
  for scales in (10, 2):
    run_folders.finished(tmp_path / f'k{scales}', scales=scales, lr=scales)
  run_folders.finished(tmp_path / 'k2_again', scales=2, lr=2, seed=5)
  study = runs.read_study(tmp_path)
  assert study.keys == [K]  # lr moves with it
  assert {name: len(group) for name, group in runs.group(study).items()} == {
      'scales=2': 2, 'scales=10': 1}
  one = report.write(tmp_path / 'k10')
  assert [row['setting'] for row in one.rows] == ['input', 'k10']


def test_nothing_is_averaged_over_hidden_differences(tmp_path):
  run_folders.finished(tmp_path / 'a', scales=1, lr=1)
  run_folders.finished(tmp_path / 'b', scales=1, lr=2)
  run_folders.finished(tmp_path / 'c', scales=2, lr=1)
  with pytest.raises(errors.UserError, match=r'also differ in optim\.net\.lr'):
    report.write(tmp_path, keys=[K])
  keys = ['optim.net.lr', K]
  assert [row['setting'] for row in report.write(tmp_path, keys=keys).rows] == [
      'input', 'lr=1, scales=1', 'lr=2, scales=1', 'lr=1, scales=2']


def test_each_test_set_has_its_input_row(tmp_path):
  test = {'name': 'builtin', 'split': 'train'}
  run_folders.finished(tmp_path / 'a')
  run_folders.finished(tmp_path / 'b', test=test)
  settings = [row['setting'] for row in report.write(tmp_path).rows]
  assert settings == ['input of split=test', 'input of split=train',
                      'split=test', 'split=train']


def test_an_evaluation_of_an_earlier_step_does_not_count(tmp_path):
  settings = run_folders.config()
  run_folders.train(tmp_path / 'a', settings, steps=20)
  run_folders.evaluated(tmp_path / 'a', settings, strength=1, step=20)
  written = report.write(tmp_path)
  assert written.rows[1]['seeds'] == 0
  assert [run.folder.name for run in written.unfinished] == ['a']


@pytest.mark.parametrize(('value', 'cell', 'number'), [
    (math.inf, '∞', 'inf'), (math.nan, 'nan', 'nan')])
def test_inf_and_nan_are_printed(tmp_path, value, cell, number):
  for seed in (0, 1):
    folder = tmp_path / str(seed)
    result = run_folders.finished(folder, seed=seed)
    result['mean']['psnr_uint8'] = value
    workdir.write_json(folder / 'eval.json', result)
  written = report.write(tmp_path)
  line = written.markdown.splitlines()[-1]
  assert [part.strip() for part in line.split('|')][2] == cell
  last = list(csv.DictReader(io.StringIO(render.to_csv(written.rows))))[-1]
  assert last['psnr_uint8'] == number and last['psnr_uint8_std'] == ''


def test_errors_name_the_place(tmp_path):
  with pytest.raises(errors.UserError, match='No runs in .*no config.json'):
    report.write(tmp_path)
  run_folders.finished(tmp_path / 'a')
  with pytest.raises(errors.UserError, match=f"'{K}'"):
    report.write(tmp_path, keys=['nets.net.scale'])
  (tmp_path / 'a' / 'eval.json').write_text('{"step": ')
  with pytest.raises(errors.UserError, match='eval.json is not JSON'):
    report.write(tmp_path)


def test_a_broken_picture_is_named(tmp_path):
  run_folders.finished(tmp_path / 'a')
  broken = tmp_path / 'a' / 'eval_pictures' / 'set_coffee.restored.png'
  broken.write_bytes(broken.read_bytes()[:500])
  with pytest.raises(errors.UserError, match='set_coffee.restored.png'):
    report.write(tmp_path)


def test_detailed_part_finds_lost_detail():
  generator = np.random.default_rng(0)
  sharp = np.full((120, 160, 3), 100, np.uint8)
  sharp[70:90, 30:60] = generator.integers(0, 255, (20, 30, 1))
  sharp[:40] = 200
  blur = sharp.copy()
  blur[70:90, 30:60] = 120
  blur[:40] = 180  # a flat difference, larger in all
  top, left = figures.detailed_part(blur, sharp, height=24, width=36)
  assert 66 <= top <= 70 and 24 <= left <= 30


def test_labels_are_short_and_unique():
  settings = {'nets.generator.lr': 0.5, 'nets.disc.lr': 1e-4, 'seed': 0,
              'method.loss': {'l1': 1.0}}
  assert runs.label(settings) == (
      'generator.lr=0.5,disc.lr=0.0001,seed=0,loss=l1:1')


def test_row_keys_have_no_order_of_their_own(study):
  _, _, written = study
  assert all(list(row) == list(written.rows[0]) for row in written.rows)
  assert rows.metric_names(written.rows[0])[0] == 'psnr_uint8'
  json.dumps(written.rows)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('sign', [1, -1])
def test_curves_of_negative_losses_are_drawn(sign):
  """The PSNR loss is negative, and no logarithm is taken of it."""
  lines = [{'step': step, 'loss': sign / step} for step in range(1, 40)]
  chart = figures.curves({'net': [lines]})
  pixels = np.asarray(Image.open(io.BytesIO(chart)).convert('RGB'), int)
  # The line's blue is there, beside the legend's.
  blue = (pixels[..., 2] - pixels[..., 0]) > 60
  assert blue.any(axis=0).sum() > 200
