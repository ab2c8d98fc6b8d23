"What one types in Python: names that are there at once, one call for a comparison, a learner by a method's name."
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fastai.callback.core import Callback

import aebench
from aebench import autoencoder_learner, compare, load_images
from aebench.bench import loop
from aebench.callback.progress import Progress
from aebench.codec.references import principal_components
from aebench.core.errors import AebenchError, UsageError
from aebench.modern.averaging import AverageWeights
from aebench.registry import CALLBACKS, FACTORS, LOSSES, METHODS, OPTIMIZERS, get_method
from aebench.training import add_callbacks, find_lr

from made_up import make_images

pytestmark = pytest.mark.usefixtures('at_home')
NAMES = ['autoencoder', 'autoencoder_learner', 'compare', 'load', 'load_images']

def quietly(*args, **kwargs): return compare(*args, device='cpu', progress=Progress(), **kwargs)

@pytest.fixture(scope='module')
def digits(at_home): return load_images('digits')

def test_names_come_when_they_are_asked_for():
    "`import aebench` brings none of the packages that take time, and knows its names all the same."
    code = f"""if True:
        import sys, aebench
        slow = {{'torch', 'fastai', 'numpy', 'pandas', 'matplotlib', 'rich', 'importlib.metadata'}}
        assert not slow & set(sys.modules), slow & set(sys.modules)
        assert set({NAMES}) <= set(dir(aebench))
        assert all(callable(getattr(aebench, o)) for o in {NAMES}) and 'torch' in sys.modules
        import aebench.comparison, aebench.all
        assert callable(aebench.compare) and aebench.compare is aebench.all.compare
        aebench.comparee"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert "has no attribute 'comparee'" in done.stderr and 'AssertionError' not in done.stderr, done.stderr

@pytest.fixture
def pictures(tmp_path, monkeypatch):
    "Twenty images of noise in a folder, one of them unreadable, and nothing else where the test runs."
    make_images(tmp_path/'pictures', [f'{i}.png' for i in range(20)])
    (tmp_path/'pictures'/'broken.png').write_bytes(b'none')
    monkeypatch.chdir(tmp_path)
    return tmp_path/'pictures'

def test_a_folder_and_its_images_are_the_same_comparison(pictures):
    with pytest.raises(UsageError, match='unreadable|cannot be read'): quietly('pictures', 'pca-4')
    by_name = quietly('pictures', ['pca-4', 'mean_image'], size=8, skip_unreadable=True)
    assert by_name.folder == Path('runs/pictures').absolute() and by_name.table.mse['pca-4'] < by_name.table.mse['mean_image']
    images = load_images('pictures', 8, skip_unreadable=True)
    made = {o: o.stat().st_mtime_ns for o in by_name.folder.glob('*/row.json')}
    again = quietly(images, 'pca-4')
    assert {o: o.stat().st_mtime_ns for o in again.folder.glob('*/row.json')} == made
    assert set(again.rows.method) == {'original', 'pca-4'} and len(by_name.rows) == 3
    assert again.best().row['method'] == 'pca-4'  # no network was trained
    halves = load_images('pictures', 8, skip_unreadable=True, split=.5)
    with pytest.raises(UsageError, match='split='): quietly(halves, 'pca-4')
    assert quietly(halves, 'pca-4', split=.5).rows.n_train.tolist() == [len(halves.train_x)]*2

def test_a_run_that_fails_is_named(pictures, monkeypatch):
    "The others stand, and the same call tries it again."
    images, do_run = load_images('digits', 8), loop.do_run
    def fail(run, *args, **kwargs):
        if run.method == 'baseline': raise AebenchError('No luck today.')
        return do_run(run, *args, **kwargs)
    with monkeypatch.context() as patch:
        patch.setattr(loop, 'do_run', fail)
        r = quietly(images, 'baseline,pca-4', epochs=1, judges=())
    for text in (r.verdict, repr(r), r._repr_html_()): assert 'No luck today.' in text
    assert r.failed.method.tolist() == ['baseline'] and r.table.failed['baseline'] == 1 and r.best().row['method'] == 'pca-4'
    assert r.report().is_file()
    again = quietly(images, 'baseline,pca-4', epochs=1, judges=())
    assert again.failed.empty and again.best().row['method'] == 'baseline'
    assert 'Baseline' in again.report().read_text(encoding='utf-8')

@pytest.mark.parametrize('name', ['baseline', 'pretraining', 'feature_loss', 'muon', 'modern+nested'])
def test_a_name_stands_for_all_its_parts(name, digits):
    method, learn = get_method(name), autoencoder_learner(digits, name, latent=8, weights='random', device='cpu', precision='fp32')
    assert learn.model.latent == 8 and learn.model.nested == method.nested and learn.dls.train.bs == 32
    assert (learn.opt_func is OPTIMIZERS.builders[method.optimizer]
            and (type(learn.loss_func).__name__ == 'FeatureLoss') == (method.loss == 'feature'))
    assert any(isinstance(o, AverageWeights) for o in learn.cbs) == method.averaged
    assert len(learn.dls.train_ds) < len(digits.train_x) if method.linear_path else len(learn.dls.train_ds) == len(digits.train_x)

def test_a_search_leaves_a_gate_as_it_is(digits):
    learn = autoencoder_learner(digits, 'modern', latent=8, device='cpu')
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    learn.model.gates.fill_(.25)
    assert find_lr(learn, 20).lr > 0 and (learn.model.gates == .25).all()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert (not (learn.model.gates == .25).any()
            or learn.choose_gates.held is not None and set(learn.model.gates.tolist()) <= {0., .25, .5, .75, 1.})

def test_importing_warns_of_nothing():
    "Not of what other packages do as they are imported."
    code = 'import aebench.all, aebench.bench.train, aebench.apply.anomaly, aebench.apply.export'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stderr == ''

# ---- techniques of one's own

@pytest.fixture
def forgotten():
    "What a test adds to the registries is gone after it."
    entries = [CALLBACKS, CALLBACKS.builders, LOSSES, LOSSES.builders, METHODS, FACTORS]
    before = [dict(o) for o in entries]
    yield
    for o, kept in zip(entries, before):
        o.clear()
        o.update(kept)

SMALL = dict(size=8, latent=4, batch_size=4, epochs=1, skip_unreadable=True)

def test_callbacks_are_a_technique(pictures, forgotten):
    "They are trained with, new ones for each run, they are known by their code, and go with other techniques."
    made = []
    class Counted(Callback):
        def __init__(self, by=1): self.by, self.steps = by, 0
        def before_fit(self): made.append(self)
        def after_step(self): self.steps += self.by
    add_callbacks('counted', Counted)
    names = ['baseline', 'counted', 'pixel_shuffle+counted']
    first = quietly('pictures', names, **SMALL)
    assert (first.rows.status.eq('done').all() and len({id(o) for o in made}) == 2
            and all(o.steps for o in made)), first.failed.reason.tolist()
    mse = first.table.mse
    assert mse['counted'] == mse['baseline'] and first.rows.run.is_unique
    add_callbacks('counted', lambda: [Counted(2)])
    again = quietly('pictures', names, **SMALL)
    runs = [o.rows.set_index('method').run for o in (first, again)]
    assert [o for o in names if runs[0][o] != runs[1][o]] == names[1:] and len(made) > 2
    learn = autoencoder_learner(load_images('pictures', 8, skip_unreadable=True), 'counted', latent=4, device='cpu')
    assert [o.by for o in learn.cbs if isinstance(o, Counted)] == [2]

def test_what_another_set_keeps_does_not_serve(digits):
    "Principal components of a part of the images are its own, though nobody gave it a fingerprint."
    ones = digits.train_y == 1
    some = replace(digits, train_x=digits.train_x[ones], train_y=digits.train_y[ones])
    whole, part = principal_components(digits), principal_components(some)
    assert not torch.equal(whole.mean, part.mean)
    assert torch.allclose(part.mean.view(-1), some.train_x.flatten(1).float().mean(0)/255, atol=1e-5)

MINE = '''
from aebench.all import *
def edges(pred, target):
    "Pixels and steps."
    return F.mse_loss(pred, target) + F.mse_loss(pred.diff(dim=-1), target.diff(dim=-1))
add_loss('edges', edges)
def tiny(upsample, latent, size, channels):
    decoder = nn.Sequential(nn.Linear(latent, channels*size*size), nn.Unflatten(1, (channels, size, size)))
    return AutoEncoder(nn.Sequential(nn.Flatten(), nn.Linear(channels*size*size, latent)), decoder, size, latent, channels)
add_technique(Encoder('tiny', 'tiny', 'One layer.'), tiny)
'''

def test_a_file_brings_them_to_the_command_line(pictures):
    "Each run names the file; it is found again by another process, and its model says what it needs."
    (pictures.parent/'mine.py').write_text(MINE)
    def aebench(*words): return subprocess.run([sys.executable, '-m', 'aebench.cli', *map(str, words)], capture_output=True, text=True)
    run = ['run', 'pictures', '--size', '8', '--latent', '4', '--batch-size', '4', '--epochs', '1', '--skip-unreadable', '--methods']
    done = aebench(*run, 'edges,tiny,edges+pixel_shuffle', '--import', 'mine.py')
    assert done.returncode == 0 and done.stderr.count('✓') == 3, done.stderr
    out = Path('runs/pictures')
    config, = out.glob('tiny-*/config.yaml')
    assert 'import: "mine.py"' in config.read_text()
    page = (out/'report.html').read_text()
    assert 'techniques/edges.html' not in page and 'techniques/tiny.html' not in page and 'techniques/pixel_shuffle.html' in page
    again = aebench('run', '--config', config, '-q')
    assert again.returncode == 0 and len(list(out.glob('tiny-*'))) == 1, again.stderr
    words = ['encode', 'pictures', '--run', config.parent, '--skip-unreadable', '--out', 'table.csv']
    lost, found = aebench(*words), aebench(*words, '--import', 'mine.py')
    assert (lost.returncode == 2 and 'the encoder tiny, which is no part of aebench' in lost.stderr
            and '--import mine.py' in lost.stderr), lost.stderr
    assert found.returncode == 0 and Path('table.csv').is_file(), found.stderr
    unknown = aebench(*run, 'edges')
    assert unknown.returncode == 2 and '--import FILE' in unknown.stderr, unknown.stderr
