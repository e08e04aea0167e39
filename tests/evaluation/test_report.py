"""The report of runs: rows, text, pictures, refusals."""

import csv
import io
import json
import math
import re
import statistics

import browser
import numpy as np
import pytest
import run_folders
from PIL import Image

from deblur_jax import errors
from deblur_jax.evaluation import report
from deblur_jax.evaluation.report import (
  conditions,
  content,
  differences,
  document,
  figures,
  page,
  papers,
  render,
  rows,
  runs,
)
from deblur_jax.priors import tasks
from deblur_jax.training import workdir
from experiments import published_results

K = 'nets.net.scales'
PAPER = published_results.NAH_K_SCALES


def _plan(folder, settings, *papers):
  runs.write_plan(
      folder, name='k', config='configs/x.py', papers=papers,
      runs={runs.label(one): one for one in settings})


def _rows(folder, **options):
  return rows.build(runs.read_study(folder, **options))


def _page(folder):
  """report.md, without the time that figures take."""
  study = runs.read_study(folder)
  return document.to_markdown(content.blocks(
      study, rows.build(study), differences.compare(study), {}))


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
  _, section = _page(tmp_path).split('## On photos')
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
  theirs = [line['paper_nah_gopro_psnr'] for line in lines]
  assert theirs == ['', '29.08', '28.93', '29.23']


def test_markdown_marks_the_papers_numbers_and_the_unfinished(study):
  folder, _, written = study
  page = (folder / 'report.md').read_text()
  assert written.markdown in page and 'paper' not in written.markdown
  assert "paper's psnr †" in page and 'blur_gamma' in page
  assert 'Not comparable with ours' in page
  assert '`scales=1,seed=1`: unfinished, at step 20 of 40' in page
  assert '`scales=2,seed=0`: not started' in page
  widths = {len(line) for line in written.markdown.splitlines()}
  assert len(widths) == 1
  shown = report.describe(written)
  assert 'not started' in shown and str(folder / 'sheet.png') in shown
  assert 'scales=3 is ' in shown and 'better than scales=1' in shown


def test_same_test_set_is_comparable(tmp_path):
  test = {'name': 'gopro', 'split': 'test', 'subset': 'blur_gamma'}
  small = PAPER | {'pictures': 2}
  kohler = {
      'name': 'kohler', 'source': 'B', 'test': 'Koehler', 'match': {},
      'pictures': 3, 'protocol': ('psnr_kohler',),
      'columns': {'psnr_kohler': 'of the best frame'}, 'notes': ('A note.',),
      'digits': {'psnr_kohler': 1},
      'rows': ({'settings': {'restorer.scales': 3}, 'psnr_kohler': 26.48},
               {'label': 'another', 'psnr_kohler': 25.0})}
  _plan(tmp_path, [{K: 3, 'seed': 0}], small, kohler)
  folder = tmp_path / 'scales=3,seed=0'
  result = run_folders.finished(folder, scales=3, test=test)
  workdir.write_json(folder / 'eval_kohler.json', {
      'mean': {'psnr_kohler': 20.5}, 'rows': [{}, {}, {}]})
  study = runs.read_study(tmp_path)
  (_, ours), (_, others) = papers.read(study)
  assert [row.label for row in ours] == ['scales=1', 'scales=2', 'scales=3']
  assert not ours[0].ours and ours[2].theirs['psnr'] == 29.08
  assert ours[2].ours['psnr_uint8'] == result['mean']['psnr_uint8']
  assert others[0].ours == {'psnr_kohler': 20.5}
  assert others[1] == papers.Row('another', {}, {'psnr_kohler': 25.0})
  text = _page(tmp_path)
  assert 'the same pictures' in text and 'Not comparable' not in text
  assert ' 20.50 |' in text and '26.5 |' in text
  # Two settings of ours that fit one of the paper are not averaged.
  run_folders.finished(tmp_path / 'b', scales=3, lr=1, test=test)
  (_, ours), _ = papers.read(runs.read_study(tmp_path))
  assert [row.label for row in ours[2:]] == [
      'scales=3: lr=0.0001', 'scales=3: lr=1']
  assert ours[2].ours and ours[3].ours and ours[2].theirs == ours[3].theirs
  columns = papers.columns(study, study.runs)
  assert columns['paper_kohler_psnr_kohler'] == 26.48


PAPERS = {key: value for key, value in vars(published_results).items()
          if key.isupper() and key[0] != '_' and key != 'OF_TASKS'}


@pytest.mark.parametrize('name', PAPERS)
def test_tables_of_papers_are_whole(name):
  table = PAPERS[name]
  assert set(table) == set(PAPER)
  assert set(table['digits']) == set(table['columns'])
  for row in table['rows']:
    assert set(row) <= {'settings', 'label', *table['columns']}
    assert row.keys() & {'settings', 'label'}
  text = content.of_papers([table])
  assert table['source'] in text and 'our' not in text.splitlines()[2]


def test_tables_of_papers_have_names_of_their_own():
  assert len({table['name'] for table in PAPERS.values()}) == len(PAPERS)
  assert published_results.OF_TASKS.keys() <= tasks.TASKS.keys()


@pytest.mark.parametrize(('settings', 'found'), [
    ({'restorer.scales': 3}, True), ({'restorer.scales': 2}, False),
    ({K: 3}, True), ({'restorer.shared': True}, False),
    ({'restorer.scales': 3, 'optim.net.lr': 1e-4}, True)])
def test_a_papers_setting_is_found_under_any_name_of_the_network(
    tmp_path, settings, found):
  for name in ('net', 'generator'):
    config = run_folders.config(scales=3)
    config['nets'] = {name: config['nets']['net'], 'disc': {'features': 8}}
    run = runs.Run(tmp_path, config=config)
    study = runs.Study('x', tmp_path, [], [run], {'papers': [
        PAPER | {'rows': [{'settings': settings, 'psnr': 1.0}]}]})
    if K not in settings or name == 'net':
      expected = 1.0 if found else None
      assert papers.columns(study, [run])['paper_nah_gopro_psnr'] == expected


def test_latex_is_escaped_and_balanced(study):
  folder, _, _ = study
  text = (folder / 'report.tex').read_text()
  assert r'psnr\_uint8' in text and r'\pm' in text
  assert not set('±∞†–²−') & set(text)
  assert text.count(r'\begin{tabular}') == text.count(r'\end{tabular}') == 3
  assert text.count(r'\toprule') == text.count(r'\bottomrule') == 3
  assert render.escape('a_b & 50%~{x}') == (
      r'a\_b \& 50\%\textasciitilde{}\{x\}')
  for block in text.split(r'\begin{tabular}')[1:]:
    lines = [line for line in block.splitlines() if line.endswith(r'\\')]
    assert len({line.count('&') for line in lines}) == 1


def test_nothing_is_left_over_and_all_files_are_named(study):
  folder, _, written = study
  assert {path.name for path in written.files} == {
      'report.md', 'report.html', 'report.tex', 'report.csv',
      'differences.csv', 'curves.png', 'costs.png', 'sheet.png'}
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
  assert [row['setting'] for row in _rows(tmp_path / 'k10')] == ['input', 'k10']


def test_nothing_is_averaged_over_hidden_differences(tmp_path):
  run_folders.finished(tmp_path / 'a', scales=1, lr=1)
  run_folders.finished(tmp_path / 'b', scales=1, lr=2)
  run_folders.finished(tmp_path / 'c', scales=2, lr=1)
  with pytest.raises(errors.UserError, match=r'also differ in optim\.net\.lr'):
    report.write(tmp_path, keys=[K])
  assert [row['setting'] for row in _rows(
      tmp_path, keys=['optim.net.lr', K])] == [
          'input', 'lr=1, scales=1', 'lr=2, scales=1', 'lr=1, scales=2']


def test_each_test_set_has_its_input_row_and_none_is_compared(tmp_path):
  test = {'name': 'builtin', 'split': 'train'}
  run_folders.finished(tmp_path / 'a')
  run_folders.finished(tmp_path / 'b', test=test)
  settings = [row['setting'] for row in _rows(tmp_path)]
  assert settings == ['input of split=test', 'input of split=train',
                      'split=test', 'split=train']
  assert not differences.compare(runs.read_study(tmp_path))
  before, _ = _page(tmp_path).split('| setting')
  assert '**The runs were tested on different pictures' in before
  written = report.write(tmp_path)
  assert report.describe(written).startswith('The runs were tested on diff')
  assert not {'sheet.png', 'costs.png', 'differences.csv'} & {
      path.name for path in written.files}


def test_the_data_of_a_grid_may_move(tmp_path):
  sets = [{K: scales, 'seed': seed} for scales in (1, 2) for seed in (0, 1)]
  _plan(tmp_path, sets)
  for one in sets:
    folder = tmp_path / runs.label(one)
    test = {'name': 'gopro', 'root': f'/disk{one["seed"]}/x'}
    run_folders.finished(folder, scales=one[K], seed=one['seed'], test=test)
  study = runs.read_study(tmp_path)
  assert study.keys == [K] and len(runs.by_test(study.runs)) == 1
  assert [row['seeds'] for row in rows.build(study)] == [None, 2, 2]
  for run in study.runs:
    run.eval['rows'][1]['input']['psnr_uint8'] = math.nan
  assert len(runs.by_test(study.runs)) == 1
  study.runs[0].eval['rows'][0]['input']['psnr_uint8'] += 1   # others, really
  assert [len(group) for group in runs.by_test(study.runs)] == [1, 3]
  (tmp_path / 'runs.json').unlink()
  assert 'data.test.root' in runs.read_study(tmp_path).keys


def test_an_evaluation_of_an_earlier_step_does_not_count(tmp_path):
  settings = run_folders.config()
  run_folders.train(tmp_path / 'a', settings, steps=20)
  run_folders.evaluated(tmp_path / 'a', settings, strength=1, step=20)
  study = runs.read_study(tmp_path)
  assert rows.build(study)[1]['seeds'] == 0
  assert content.unfinished(study) == ['`a`: unfinished, at step 20 of 40']


def test_missing_seeds_are_in_the_table(study, tmp_path):
  _, _, written = study
  cells = [line.split('|')[-2].strip()
           for line in written.markdown.splitlines()[2:]]
  assert cells == ['–', '2', '1 of 2', '0 of 1']
  for scales, seeds in ((1, 3), (2, 2)):      # without a plan
    for seed in range(seeds):
      run_folders.train(tmp_path / f'{scales}{seed}',
                        run_folders.config(scales=scales, seed=seed))
  assert [row['seeds_planned'] for row in _rows(tmp_path)] == [None, 3, 3]


@pytest.mark.parametrize(('value', 'cell', 'number'), [
    (math.inf, '∞', 'inf'), (math.nan, 'nan', 'nan')])
def test_inf_and_nan_are_printed(tmp_path, value, cell, number):
  for seed in (0, 1):
    folder = tmp_path / str(seed)
    result = run_folders.finished(folder, seed=seed)
    result['mean']['psnr_uint8'] = value
    workdir.write_json(folder / 'eval.json', result)
  table = _rows(tmp_path)
  line = render.to_markdown(table).splitlines()[-1]
  assert [part.strip() for part in line.split('|')][2] == cell
  last = list(csv.DictReader(io.StringIO(render.to_csv(table))))[-1]
  assert last['psnr_uint8'] == number and last['psnr_uint8_std'] == ''


def test_errors_name_the_place(tmp_path):
  with pytest.raises(errors.UserError, match='No runs in .*no config.json'):
    report.write(tmp_path)
  run_folders.finished(tmp_path / 'a')
  with pytest.raises(errors.UserError, match=f"'{K}'"):
    report.write(tmp_path, keys=['nets.net.scale'])
  for file, text, words in (
      ('b/config.json', '{"method": "adam", "layers": 12}',
       r'b.config.json is not the config of a run.* Move it elsewhere'),
      ('a/eval_x.json', '{"accuracy": 1}', 'eval_x.json is not an evaluation'),
      ('a/eval.json', '{"step": ', 'eval.json is not JSON'),
      ('runs.json', '["x"]', 'runs.json is not the plan of a grid')):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    with pytest.raises(errors.UserError, match=words) as caught:
      report.write(tmp_path)
    assert '\n' not in str(caught.value)
  assert not (tmp_path / 'report.md').exists()


def test_what_was_run_is_on_the_page(tmp_path):
  sets = ({K: 1, 'total_steps': 40}, {K: 2, 'total_steps': 40})
  _plan(tmp_path, sets)
  for one, lr in zip(sets, (1e-4, 2e-4), strict=True):
    folder = tmp_path / runs.label(one)
    config = run_folders.config(scales=one[K], lr=lr) | {
        'batch_size': 8, 'method': {'name': 'supervised', 'loss': 'l1'}}
    config['data'] |= {'loader': {
        'crop': 64, 'progressive': [[20, 96, 4]]}}
    run_folders.train(folder, config)
    workdir.write_json(folder / workdir.ENVIRONMENT, {
        'commit': '0123456789abcdef+', 'versions': {'jax': '0.12.0', 'x': '1'},
        'command': ['python', 'train.py', '--config=configs/x.py',
                    f'--config.{K}={one[K]}', '--config.augment.noise=0.1']})
  found = conditions.read(runs.read_study(tmp_path))
  assert conditions.common(found) == {
      'steps': '40', 'batch': '8', 'crop': '64',
      'later crops': '96 in batches of 4 from step 20', 'method': 'supervised',
      'loss': 'l1', 'overrides': 'total_steps=40, augment.noise=0.1',
      'devices': 'cpu', 'commit': '0123456789ab with changes',
      'versions': 'jax 0.12.0'}
  text = _page(tmp_path)
  assert '* batch: 8\n' in text and 'learning rate 0.0001 |' in text
  study = runs.read_study(tmp_path)
  caption = content.latex(study, rows.build(study), [])
  assert 'steps: 40; batch: 8; crop: 64; loss: l1.' in caption


@pytest.mark.parametrize(('changed', 'comparable'), [
    ({}, True), ({'optim': {'net': {'lr': 1}}}, True),
    ({'nets': {'net': {'scales': 2}}}, False),
    ({'method': {'name': 'supervised', 'loss': 'l1'}}, False)])
def test_losses_are_comparable_if_they_are_one_quantity(
    tmp_path, changed, comparable):
  found = [runs.Run(tmp_path, config=run_folders.config() | one)
           for one in ({}, changed)]
  study = runs.Study('x', tmp_path, [], found, {})
  assert conditions.losses_are_comparable(study) == comparable


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


def _coloured(png, colour):
  """Where a figure has a colour, bool [h, w]."""
  pixels = np.asarray(Image.open(io.BytesIO(png)).convert('RGB'), int)
  return (abs(pixels - colour) < 12).all(axis=-1)


BLUE, PALE_BLUE = (31, 119, 180), (210, 228, 240)    # a line, a band


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('sign', [1, -1])
def test_curves_of_negative_losses_are_drawn(sign):
  """The PSNR loss is negative, and no logarithm is taken of it."""
  lines = [{'step': step, 'loss': sign / step} for step in range(1, 40)]
  chart = figures.curves({'net': [lines]})
  assert _coloured(chart, BLUE).any(axis=0).sum() > 200
  assert figures.curves({'net': [lines]}, loss=False) is None


@pytest.mark.filterwarnings('error')
def test_curves_of_seeds_are_a_mean_in_a_band():
  seeds = [[{'step': step, 'val_psnr_uint8': 20 + offset + step / 20}
            for step in range(0, last, 10)]
           for offset, last in ((0, 110), (2, 80))]
  one, two = (figures.curves({'net': seeds[:count]}) for count in (1, 2))
  # Two deviations high, along the line.
  height = [_coloured(chart, PALE_BLUE).sum(axis=0) for chart in (one, two)]
  assert height[0].max() < 20 and (height[1] > 100).mean() > 0.7
  # One line, at the steps that both have.
  assert _coloured(two, BLUE)[60:, 60:].any(axis=0).mean() > 0.8


@pytest.mark.filterwarnings('error')
def test_costs_have_a_panel_for_each_known_cost():
  point = figures.Point('scales=1', 30.0, None, 4.4, 120.0)
  points = [point, point._replace(label='scales=2', psnr=30.5, gmacs=8.8)]
  width = lambda png: Image.open(io.BytesIO(png)).width
  both = figures.costs(points)
  assert _coloured(both, BLUE).any()
  one = figures.costs([point._replace(milliseconds=None) for point in points])
  assert width(one) == width(both) // 2
  assert figures.costs([point._replace(gmacs=None, milliseconds=None)]) is None


def test_html_is_escaped_and_complete(study):
  folder, _, written = study
  text = (folder / 'report.html').read_text()
  assert '29.08' in text and 'differs' not in text
  assert all(sentence.partition(' (')[0] in text
             for sentence in written.differences)
  assert not re.search(r'(src|href)="(?!data:)', text)
  bad = '<script>alert("&")</script>'
  image = np.zeros((20, 30, 3), np.uint8)
  text = page.to_html(bad, [
      document.Heading(bad), document.Text(f'`a` **b** {bad}'),
      document.Bullets([bad]), document.Table([bad], [[bad]]),
      document.Picture('x.png', bad), document.Slider(bad)],
      {'x.png': figures.sheet([figures.Picture('x', {'a': image, 'b': image})])
       }, [figures.Picture(bad, {bad: image, 'sharp': image})])
  assert 'alert("&")</script>' not in text
  assert '<code>a</code> <strong>b</strong>' in text


def test_html_has_limits(monkeypatch):
  monkeypatch.setattr(page, 'MAX_SLIDES', 400_000)
  monkeypatch.setattr(page, 'MAX_PICTURE', 100_000)
  noise = np.random.default_rng(0).integers(90, 120, (300, 200, 3), np.uint8)
  pictures = [figures.Picture(str(n), {'blur': noise, 'sharp': noise})
              for n in range(5)]
  slides = lambda count: json.loads(re.search(
      r'id="slides">(.*)</script>', page.to_html(
          'x', [document.Slider('x')], {}, pictures[:count]))[1])
  kinds = lambda found: {state['src'][:16] for slide in found
                         for state in slide['states']}
  assert len(slides(1)) == 1 and kinds(slides(1)) == {'data:image/png;b'}
  found = slides(5)
  assert 1 < len(found) < 5 and kinds(found) == {'data:image/jpeg;'}
  assert len(json.dumps(found)) < 1.4 * page.MAX_SLIDES
  sheet = figures.sheet(pictures[:1])
  text = page.to_html('x', [document.Picture('a', 'a')], {'a': sheet}, [])
  assert len(text) < 1.4 * 100_000 < len(sheet)


def test_the_slider_in_a_browser(study, tmp_path):
  folder, _, _ = study
  with browser.tabs(1, tmp_path) as (tab,):
    tab.call('Page.addScriptToEvaluateOnNewDocument', source="""
        window.wrong = [];
        console.error = (...words) => wrong.push(words.join(' '));
        for (const kind of ['error', 'securitypolicyviolation'])
          addEventListener(kind, event => wrong.push(String(
            event.message || event.violatedDirective)));""")
    tab.open((folder / 'report.html').as_uri())
    tab.wait('document.querySelector("#below")?.complete')
    place = lambda: float(tab.js('document.querySelector("#position").value'))
    cut = lambda: tab.js('document.querySelector("#above").style.clipPath')
    images = lambda: tab.js(
        '["above", "below"].map(x => document.getElementById(x).src)')
    assert place() == 50 and '50%' in cut()
    first = tab.screenshot()
    tab.js('document.querySelector("#position").focus()')
    for _ in range(3):
      for kind in ('keyDown', 'keyUp'):
        tab.call('Input.dispatchKeyEvent', type=kind, key='ArrowRight',
                 code='ArrowRight', windowsVirtualKeyCode=39)
    assert place() == 53 and '47%' in cut()
    tab.drag('#stage', 100)
    assert place() > 60
    tab.js('document.querySelector("#stage").scrollIntoView()')
    assert (tab.screenshot() != first).any()
    blur, three = images()
    assert blur != three and blur.startswith('data:image/png')
    choose = lambda name, value: tab.js(
        f'document.querySelector("#{name}").value = {value}; document'
        f'.querySelector("#{name}").dispatchEvent(new Event("input"))')
    choose('right', 3)
    _, sharp = images()
    assert sharp not in (blur, three)
    choose('picture', 1)
    assert not {blur, three, sharp} & set(images())
    assert tab.js('document.querySelector("#right").value') == '3'
    assert tab.js('wrong') == []
    assert {url.partition(':')[0] for url in tab.requests} == {'file', 'data'}
