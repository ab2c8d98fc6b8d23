"""The report as one sees it: no text of a plot touches another one or leaves the picture.
No table is wider than its box without showing that it scrolls."""
import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from aebench.core.files import write_bytes, write_json
from aebench.registry import METHODS, find_method
from aebench.report import panels
from aebench.report.columns import SUMMARY
from aebench.report.page import make_report
from aebench.report.rows import gather
from aebench.report.tables import summarise
from aebench.report.verdicts import crossed_effects
from made_up import frame, made_up, made_up_original, made_up_run, made_up_samples, original, reference
from test_docs import browser # noqa: F401: a fixture

LONG = 'pixel_shuffle+progressive_resizing+feature_loss' # Its label has 50 letters
MANY = [*METHODS, LONG, 'resnet+feature_loss']

@pytest.fixture
def drawn(monkeypatch) -> list:
    "Receives each figure before it becomes a PNG."
    figures, png = [], panels.figure_png
    monkeypatch.setattr(panels, 'figure_png', lambda fig: figures.append(fig) or png(fig))
    return figures

def texts_of(fig) -> list[tuple[str, object]]: # Text and its box in pixels
    "The texts that one sees: ticks outside of an axis are not drawn."
    fig.draw_without_rendering()
    renderer, hidden = FigureCanvasAgg(fig).get_renderer(), set()
    for ax in fig.axes:
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            inside = [t.label1 for t in axis.get_major_ticks() if min(limits) <= t.get_loc() <= max(limits)]
            hidden |= {o for t in (*axis.get_major_ticks(), *axis.get_minor_ticks()) for o in (t.label1, t.label2)} - set(inside)
    hidden |= {o for ax in fig.axes if not ax.axison for axis in (ax.xaxis, ax.yaxis) for o in axis.findobj(Text)}
    found = [o for o in fig.findobj(Text) if o.get_visible() and o.get_text().strip() and o not in hidden]
    return [(o.get_text(), Text.get_window_extent(o, renderer)) for o in found]

def check(fig):
    found = texts_of(fig)
    assert len(found) > 3
    for text, box in found:
        assert (box.x0 >= -1 and box.y0 >= -1
                and box.x1 <= fig.bbox.width + 1 and box.y1 <= fig.bbox.height + 1), f'{text!r} leaves the picture'
    for (a, box), (b, other) in itertools.combinations(found, 2):
        across = min(box.x1, other.x1) - max(box.x0, other.x0), min(box.y1, other.y1) - max(box.y0, other.y0)
        assert min(across) < 1.5, f'{a!r} and {b!r} overlap by {across} pixels'

def close_rows(n_seeds=3):
    "Many methods whose figures are almost the same, and references beside them."
    rng = np.random.default_rng(0)
    networks = [made_up(m, seed, mse=.004*(1 + .02*rng.random()), accuracy=.9 + .01*rng.random(),
                        seconds=60 + 9*rng.random(), parameters=31_234 + 3e6*(i % 3))
                for i, m in enumerate(MANY) for seed in range(n_seeds)]
    references = [reference(o, mse=.002 + .0003*i, accuracy=.93)
                  for i, o in enumerate(('pca-16', 'pca-32', 'pca-64', 'dct-16', 'jpeg-50', 'webp-50', 'thumbnail_bicubic-8'))]
    return frame(original(), *networks, *references)

def test_points_that_lie_together(drawn):
    rows = close_rows()
    assert panels.tradeoff_panel(rows) and len(panels.quality_panels(rows)) == 2 and panels.parameter_panel(rows)
    assert len(drawn) == 4
    for fig in drawn: check(fig)

@pytest.mark.parametrize('ratio', [1.001, 300.])
def test_two_points(ratio, drawn):
    "Near to each other and far apart, on a plain axis and on a logarithmic one."
    rows = frame(original(), *(made_up(m, mse=mse, seconds=mse*1e4, accuracy=.5) for m, mse in (('baseline', .004), (LONG, .004*ratio))))
    assert panels.tradeoff_panel(rows) and panels.quality_panel(summarise(rows), 'mse') and panels.parameter_panel(rows)
    for fig in drawn: check(fig)

def test_lines_that_end_together(drawn):
    "At one height, and most of them at the edge; over decades, and over a step."
    for latents in ((4, 16, 64, 256, 1024), (100, 128)):
        swept = frame(original(), *(made_up(m, seed, latent=k, mse=(1 + i/1000)/k, accuracy=.99)
                                    for i, m in enumerate(MANY) for k in latents for seed in (1, 2)),
                      *(reference(f'pca-{k}', latent=k) for k in latents))
        components = pd.DataFrame(dict(k=latents, mse=[.5/k for k in latents]))
        for name in ('mse', 'psnr', 'accuracy'): panels.latent_panel(swept, name, components)
    assert len(drawn) == 6
    for fig in drawn: check(fig)

def test_files_of_runs(tmp_path, drawn):
    "Curves of many seeds and phases, rates, other sizes."
    for method in ('baseline', 'progressive_resizing', 'feature_loss', 'pretraining'):
        for seed in range(5):
            folder = made_up_run(tmp_path, method, seed, lr=(1e-6, .01/(seed + 1)))
            lines = [(1 + e//3, e, 4*(1 + e//3), .1/(e + 1), .11/(e + 1)) for e in range(40)]
            if seed == 4:
                pd.DataFrame(lines, columns='phase epoch size train_loss valid_loss'.split()).to_csv(folder/'history.csv', index=False)
            pd.DataFrame(dict(size=[16, 32, 64], way='resized', mse=[.005, .004, .006])).to_csv(folder/'sizes.csv', index=False)
            pd.DataFrame(dict(bytes_per_image=[10., 20, 40], psnr=[20, 21, 22.])).to_csv(folder/'rates.csv', index=False)
    made_up_original(tmp_path, run='original')
    files = pd.DataFrame(dict(format=['JPEG', 'JPEG', 'WebP', 'WebP', 'PNG'], bytes_per_image=[300., 900, 60, 800, 2000],
                              payload=[30., 600, 40, 780, 1900], mse=[.01, 1e-5, .01, 1e-4, 0]))
    files.to_csv(tmp_path/'original'/'files.csv', index=False)
    rows = gather(tmp_path)
    assert len(panels.curve_panels(tmp_path, rows)) == len(panels.lr_panels(tmp_path, rows)) == 4
    assert (panels.size_panel(tmp_path, rows) and panels.rate_panel(tmp_path, rows)
            and panels.samples_sheet(panels.samples_of(tmp_path, rows), rows))
    assert len(drawn) == 11
    for fig in drawn: check(fig)

def test_effects(drawn):
    crossing = frame(*(made_up(o, seed, mse=.004 + .002*('feature' in o) + 1e-4*seed + 1e-5*((i + seed) % 3))
                       for seed in range(3) for i, o in enumerate((
                           'baseline', 'pixel_shuffle', 'feature_loss', 'progressive_resizing', 'pixel_shuffle+feature_loss',
                           'pixel_shuffle+progressive_resizing', 'progressive_resizing+feature_loss', LONG))))
    panels.effect_panel(crossed_effects(crossing, 'mse'), 'mse')
    check(drawn[0])

def test_the_check_finds_what_overlaps():
    fig, ax = panels._panel('Two names in one place')
    for _ in range(2): ax.text(.5, .5, 'a name')
    with pytest.raises(AssertionError, match='overlap'): check(fig)

@pytest.fixture(scope='module')
def page(tmp_path_factory):
    "A report of six methods over two seeds, with references, one of the outputs exploded."
    out = tmp_path_factory.mktemp('report')
    for method in list(METHODS)[:6]:
        for seed in (1, 2): made_up_run(out, method, seed, equals_pca=137, coded_bytes=467., data='digits')
    made_up_original(out, data='digits')
    for name in ('pca-128', 'webp-50'):
        row = json.loads((out/'baseline-seed1'/'row.json').read_text()) | dict(
            method=name, label=find_method(name).label, seed=None, seconds=None, latent=128)
        write_json(out/name/'row.json', row)
        write_bytes(out/name/'samples.png', made_up_samples('baseline'))
    samples = Image.open(out/'resnet-seed1'/'samples.png')
    samples.paste(Image.effect_noise((32, 32), 250).convert('RGB'), (32, 32))
    samples.save(out/'resnet-seed1'/'samples.png')
    return make_report(out)

def test_what_stands_first(page):
    "The verdict, what settles it, three tiles, pictures, six columns with their explanations, one chart; the rest is folded."
    text = page.read_text(encoding='utf-8')
    places = [text.index(o) for o in ('class="lead"', 'class="settling"', 'class="tiles"', 'class="gallery"', 'class="short"',
                                      'class="chart"', '<summary>All columns')]
    assert places == sorted(places)
    heads = re.search(r'class="short">\s*<thead><tr>(.*?)</tr>', text, re.S).group(1)
    assert heads.count('<th ') == heads.count('<abbr title="') == 1 + len(SUMMARY) == 6
    assert 'Picture 2 of Resnet w/o pretrain is far off' in text and text.count('class="odd"') == 1
    folded = ''.join(re.findall(r'<details>.*?</details>', text, re.S))
    assert (all(o in folded for o in ('>PCA-128<', 'Training curves', 'How it was measured', 'Make it again'))
            and 'class="chart"' not in folded)

@pytest.mark.parametrize('width', [390, 1280, 1920])
def test_fits(width, page, browser): # noqa: F811
    "The page fits its window, and so do short tables; what is wider scrolls in its own box, under a shadow. Figures stand on the right."
    opened = browser.new_page(viewport=dict(width=width, height=900))
    opened.goto(page.as_uri())
    opened.evaluate("document.querySelectorAll('details').forEach(o => o.open = true)")
    assert opened.evaluate('document.documentElement.scrollWidth') <= width
    boxes = opened.evaluate("""[...document.querySelectorAll('.scroll')].map(o => [
        o.querySelector('table').className, o.scrollWidth - o.clientWidth, """
        "getComputedStyle(o).overflowX, getComputedStyle(o).backgroundImage])")
    assert len(boxes) > 2 and all(o[2] == 'auto' and o[3].count('gradient') == 2 for o in boxes)
    assert all(o[1] <= 1 for o in boxes if o[0] == 'short'), boxes
    assert opened.evaluate("[...document.querySelectorAll('td')].every(o => getComputedStyle(o).textAlign == 'right')")
    rows = opened.evaluate("[...document.querySelectorAll('.strip')].map(o => o.clientHeight/o.firstElementChild.clientHeight)")
    assert len(rows) == 9 and all(o < 1.1 for o in rows)  # nothing wraps
    opened.close()
