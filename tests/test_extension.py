"A technique is added by the steps that CONTRIBUTING gives and is then found everywhere: command line, table, report, row's notebook, docs."
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aebench import layers, losses, models, training  # these register their builders
from aebench.codec import references  # so does this
from aebench.modern import recipe  # and this
from aebench.core.errors import UsageError
from aebench.registry import CALLBACKS, ENCODERS, LOSSES, OPTIMIZERS, REFERENCES, UPSAMPLERS, Method
from made_up import fake_out, made_up, original

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

@pytest.mark.parametrize('entries', [LOSSES, ENCODERS, UPSAMPLERS, OPTIMIZERS, CALLBACKS, REFERENCES], ids=lambda o: o.what)
def test_each_name_has_its_builder(entries):
    assert set(entries.builders) == set(entries)

@pytest.mark.parametrize('part, name, nearest', [
    ('loss', 'featur', 'feature'), ('encoder', 'resnet43', 'resnet34'), ('upsample', 'pixelshuffle', 'pixel_shuffle')])
def test_an_unknown_name_is_an_error(part, name, nearest):
    with pytest.raises(UsageError, match=f'Did you mean {nearest}'): Method('mine', 'Mine', 'Of no use.', **{part: name})

def test_a_builder_needs_an_entry():
    with pytest.raises(UsageError, match='no loss called'): LOSSES.builder('unheard of')

# ---- adding one: each is one entry, and a builder where something is computed

ENTRIES = {  # In nbs/00_registry.ipynb, after these lines
    "LOSSES = Registry('loss',": """
    Loss('huber', 'Huber', 'Large differences of pixels count less.', axis='Huber loss', taught='losses'),""",
    "ENCODERS = Registry('encoder',": """
    Encoder('strided', 'strides', 'One convolution that skips pixels.', latent=64, taught='models#the-baseline'),""",
    "UPSAMPLERS = Registry('upsampling',": """
    Upsampler('softened', 'softened', 'Bilinear, then averaged.', taught='layers#pixelshuffle-with-icnr'),""",
    "METHODS = Registry('method',": """
    Method('three_sizes', 'Three sizes', 'Each phase trains on larger images.', sizes=(.5, .75, 1.), paper_rates=(('cifar10', 1e-3),),
           taught='resizing', in_paper=False),""",
}

BUILDERS = {  # A new cell in the notebook of its kind
    '06_losses.ipynb': '''#| export
@LOSSES.builder('huber')
def huber_loss() -> Callable:
    "Squared where the difference is small, linear elsewhere (Huber 1964)."
    return F.smooth_l1_loss
''',
    '05_models.ipynb': '''#| export
@ENCODERS.builder('strided')
def strided_autoencoder(upsample:str, latent:int, size:int, channels:int) -> AutoEncoder:
    "One convolution of stride 4."
    side = size//4
    encoder = nn.Sequential(nn.Conv2d(channels, 8, 4, stride=4), nn.AdaptiveMaxPool2d(side), nn.Flatten(), nn.Linear(8*side**2, latent))
    return AutoEncoder(encoder, conv_decoder(size, latent, upsample, channels), size, latent, channels)
''',
    '04_layers.ipynb': '''#| export
@UPSAMPLERS.builder('softened')
def softened(ni:int, scale:int=2) -> nn.Module:
    "Bilinear, then averaged."
    return nn.Sequential(bilinear(ni, scale), nn.AvgPool2d(3, 1, 1))
''',
}

COLUMNS = {  # In nbs/report/00_columns.ipynb
    "better=-1, ratio=True, least=0, published='MSE (paper)', table='always', terminal=True),":
        "\n    Column('toy_score', float, 'How a toy would rate it.', 'Toy score', 'Toy', '{:.1f}'.format, better=1, "
        "table='always', terminal=True),",
}

SETTINGS = {  # In nbs/01_settings.ipynb
    "table_title='augmentation {}', added_later=True)": """
    toy:str = setting('which toy', 'bear', group='Training', scope='network', choices=dict(bear='a soft one', block='a hard one'),
        table_title='toy {}', added_later=True)""",
}

ADDED = {'huber': 'Huber', 'strided': 'strides', 'softened': 'softened', 'three_sizes': 'Three sizes'} # Name: label

TRAIN = '''
import sys
from aebench.bench.loop import do_runs
from aebench.callback.progress import Progress
from aebench.settings import plan_runs
runs = plan_runs('huber,strided,softened+huber,three_sizes', 'digits', epochs=(1, 1, 1), batch_size=719, latent=8, \
protocol='report', device='cpu', judges=())
assert all(row['status'] == 'done' for row in do_runs(runs, sys.argv[1], Progress()))
''' # Two batches an epoch

def run(*words, **kwargs): return subprocess.run([str(o) for o in words], capture_output=True, text=True, timeout=600, **kwargs)

def edit_notebook(path:Path, entries:dict, cells:list):
    "Put text after lines of a notebook, and cells at its end."
    notebook = json.loads(path.read_text(encoding='utf-8'))
    for line, text in entries.items():
        cell, = [c for c in notebook['cells'] if line in ''.join(c['source'])]
        cell['source'] = ''.join(cell['source']).replace(line, line + text).splitlines(True)
    for i, source in enumerate(cells):
        notebook['cells'].append(dict(cell_type='code', id=f'added-{i}', metadata={}, source=source.splitlines(True), outputs=[],
                                      execution_count=None))
    path.write_text(json.dumps(notebook), encoding='utf-8')

@pytest.fixture(scope='module')
def extended(tmp_path_factory) -> Path:
    "A copy of the repository with a toy loss, encoder, upsampling, schedule, column and setting."
    copy = tmp_path_factory.mktemp('extended')
    for name in run('git', 'ls-files', 'nbs', 'aebench', 'index.ipynb', 'pyproject.toml', 'settings.ini', cwd=ROOT).stdout.splitlines():
        if not (ROOT/name).is_file(): continue
        (copy/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT/name, copy/name, follow_symlinks=False)
    edit_notebook(copy/'nbs'/'00_registry.ipynb', ENTRIES, [])
    for name, source in BUILDERS.items(): edit_notebook(copy/'nbs'/name, {}, [source])
    edit_notebook(copy/'nbs'/'report'/'00_columns.ipynb', COLUMNS, [])
    edit_notebook(copy/'nbs'/'01_settings.ipynb', SETTINGS, [])
    exported = run(BIN/'nbdev-export', cwd=copy)
    assert exported.returncode == 0, exported.stderr
    return copy

@pytest.fixture(scope='module')
def aebench(extended, home):
    "Runs python with the extended package."
    env = {**os.environ, 'AEBENCH_HOME': str(home), 'PYTHONPATH': str(extended)}
    def call(*words):
        done = run(sys.executable, *words, cwd=extended, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout
    return call

@pytest.fixture(scope='module')
def out(aebench, tmp_path_factory) -> Path:
    "A comparison of what was added, trained on the digits for two batches in each of three phases."
    folder = tmp_path_factory.mktemp('comparison')/'out'
    aebench('-c', TRAIN, folder)
    return folder

def test_the_command_line_offers_it(aebench):
    listed, help = aebench('-m', 'aebench.cli', 'methods'), aebench('-m', 'aebench.cli', 'run', '--help')
    for name, label in ADDED.items(): assert re.search(rf'{name}\s+{label}', listed) and name in help

def test_three_phases_were_trained(out):
    by_method = {json.loads(o.read_text())['method']['name']: json.loads(o.read_text())
                 for o in out.glob('*/run.json') if 'method' in json.loads(o.read_text())}
    assert {name: [p['size'] for p in about['phases']] for name, about in by_method.items()} == {
        'huber': [16]*3, 'strided': [16]*3, 'softened+huber': [16]*3, 'three_sizes': [8, 12, 16]}

def test_table_report_and_notebooks_show_it(aebench, out):
    table, page = aebench('-m', 'aebench.cli', 'report', out), (out/'report.html').read_text(encoding='utf-8')
    notebooks = ' '.join(o.read_text(encoding='utf-8') for o in (out/'report'/'notebooks').glob('*.ipynb'))
    for name, label in ADDED.items():
        assert re.search(rf'^{label}  ' if name != 'softened' else r'^softened \+ Huber', table, re.M), table
        assert label in page and name in notebooks
    assert len(re.findall('epochs=\\(1, 1, 1\\)', notebooks)) == 4

def test_a_column_is_one_entry(aebench, tmp_path):
    "In results.csv, in the terminal, and in the report with its explanation, each in its place."
    out = fake_out(tmp_path, [original(), made_up('baseline', toy_score=7.25), made_up('resnet')])
    heading, *lines = (o for o in aebench('-m', 'aebench.cli', 'report', out).splitlines() if re.search('Method|Baseline', o))
    assert heading.split()[:3] == ['Method', 'MSE', 'Toy'] and any('Baseline' in o and ' 7.2 ' in o for o in lines)
    names, *rows = csv.reader((out/'results.csv').read_text(encoding='utf-8').splitlines())
    assert names.index('toy_score') == names.index('mse') + 1 and [o[names.index('toy_score')] for o in rows] == ['', '7.25', '']
    page = (out/'report.html').read_text(encoding='utf-8')
    assert '<th scope="col"><abbr title="How a toy would rate it.">Toy score</abbr></th>' in page and '<td>7.2</td>' in page

BOTH_TOYS = '''
import sys
from aebench.cli import main
words = 'run -q --data digits --methods baseline --epochs 1 0 --batch-size 719 --protocol report --device cpu --precision fp32'.split()
for toy in ('bear', 'block'): assert main([*words, '--toy', toy, '--out', sys.argv[1]]) == 0
assert main([*words, '--toy', 'blok']) == 2
'''

def test_a_setting_is_one_field(aebench, tmp_path):
    "A flag with help, a value in the row and results.csv, words in the row's command, notebook and title, and a difference between runs."
    help = aebench('-m', 'aebench.cli', 'run', '--help')
    assert '--toy bear|block' in help and 'which toy; bear: a soft one; block: a hard one (default: bear)' in ' '.join(help.split())
    aebench('-c', BOTH_TOYS, tmp_path)
    rows = {row['settings']['toy']: row for row in (json.loads(o.read_text()) for o in tmp_path.glob('baseline*/row.json'))}
    assert set(rows) == {'bear', 'block'}
    with open(tmp_path/'results.csv', newline='', encoding='utf-8') as f: table = {o['toy']: o for o in csv.DictReader(f) if o['toy']}
    assert set(table) == {'bear', 'block'} and '--toy block' in table['block']['command'] and '--toy' not in table['bear']['command']
    notebooks = [o.read_text(encoding='utf-8') for o in (tmp_path/'report'/'notebooks').glob('*.ipynb')]
    assert sum("toy='block'" in o for o in notebooks) == 1 and 'toy block' in (tmp_path/'report.html').read_text(encoding='utf-8')
    assert 'toy: bear | block' in aebench('-m', 'aebench.cli', 'diff', *(tmp_path/table[o]['run'] for o in ('bear', 'block')))

def test_the_docs_list_it(aebench):
    "Its card, and a line of the list of techniques."
    listed = json.loads(aebench('-c', '''
import json, sys
sys.path.insert(0, sys.argv[1] + '/docs')
import technique_cards as cards
from aebench.registry import METHODS
class Links:
    def of(self, *paths): return lambda text: text
def opened(path): return dict(source=path, title=path, json=json.load(open(f'{sys.argv[1]}/nbs/{path}', encoding='utf-8')))
notebooks = dict(losses=opened('06_losses.ipynb'), models=opened('05_models.ipynb'), layers=opened('04_layers.ipynb'), \
resizing=opened('07_resizing.ipynb'))
made = {name: cards.card(METHODS[name], notebooks, {}, Links()) for name in sys.argv[2].split(',')}
print(json.dumps(dict(cards={k: o.text for k, o in made.items()}, index=cards.index([made.get(k, made['huber']) for k in METHODS]).text)))
''', ROOT, ','.join(ADDED)))
    for name, label in ADDED.items():
        assert f'`aebench run --methods {name}`' in listed['cards'][name] and f'[{label}]({name}.md)' in listed['index']
