"""Whatever stands on the command line or in a file: a sentence and an exit code, never a traceback.

Each test runs its cases in this process; how many there were stands in the summary."""
import contextlib
import copy
import hashlib
import io
import json
import os
import shutil
import struct
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from aebench.bench import loop as bench
from aebench.bench import cluster, estimate
from aebench.data import sets as data
from aebench.data import folders, pixels
from aebench.bench import run as runs
from aebench.apply import share
from aebench.apply.folders import compress_folder, encode_folder
from aebench.apply.trained import load
from aebench.cli import main
from aebench.codec.archive import MAGIC
from aebench.data import load_images
from aebench.core.errors import AebenchError
from aebench.core.tensors import write_tensors
from aebench.report.findings import print_table
from aebench.registry import METHODS
from aebench.settings import plan_runs
from aebench.report.rows import gather
from aebench.bench.run import do_run
from made_up import made_up_original, made_up_run, made_up_samples
from test_cli import commands, make_folder

TIMES = int(os.environ.get('AEBENCH_FUZZ', 1)) # As many cases as usual; `make test-all` has ten times as many

def cases(n):
    "So many generated cases; nothing is kept between runs, each starts from the same seed."
    return lambda f: settings(max_examples=n*TIMES, deadline=None, database=None, derandomize=True,
                              suppress_health_check=list(HealthCheck))(f)

COUNTS = {}

def answer(what, *words):
    "Exit code of `aebench WORDS`, after asserting that it was answered in sentences."
    COUNTS[what] = COUNTS.get(what, 0) + 1
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try: code = main([str(o) for o in words])
        except SystemExit as e: code = e.code  # argparse's way
    said = err.getvalue()
    assert code in (0, 1, 2) and 'Traceback' not in said and 'fault of aebench' not in said, (words, code, said)
    assert code == 0 or said.strip() or out.getvalue().strip(), words
    return code

@pytest.fixture(autouse=True)
def counted(tally):
    before = sum(COUNTS.values())
    yield
    tally('fuzz cases run', sum(COUNTS.values()) - before)

@pytest.fixture(scope='module')
def finished(home, tmp_path_factory):
    "A finished run, a folder of images, and both kinds of files made from them."
    place = tmp_path_factory.mktemp('finished')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('AEBENCH_HOME', str(home))
        run, = plan_runs('pca-8', 'digits')
        do_run(run, load_images('digits'), [], place/'out'/'pca-8')
        make_folder(place/'in')
        trained = load(place/'out'/'pca-8', device='cpu')
        compress_folder(place/'in', trained, place/'in.ae')
        for kind in ('csv', 'npy', 'parquet'): encode_folder(place/'in', trained, place/f'in.{kind}')
        yield place

@pytest.fixture
def apart(home, tmp_path, monkeypatch):
    "No network, no training, no cluster, little room, nothing written but in a folder of the test's own."
    room = pixels.allocate_images
    def nothing(*args, **kwargs): raise AebenchError('There is no network and little room in a test: go on.')
    monkeypatch.setenv('AEBENCH_HOME', str(home))
    for module, name in ((data, 'fetch'), (share, '_client'), (cluster, 'import_ray')): monkeypatch.setattr(module, name, nothing)
    for module in (pixels, folders):  # as if the disk were full
        monkeypatch.setattr(module, 'allocate_images',
                            lambda n, size, channels=3: room(n, size, channels) if n*size**2 < 10**8 else nothing())
    monkeypatch.setattr(bench, 'do_runs', lambda runs, *args, **kwargs: [
        dict(status='failed', run='one', reason='Nothing is trained in a test.') for _ in runs])
    monkeypatch.setattr(estimate, 'estimate_runs', lambda runs, **kwargs: str(len(runs)))
    monkeypatch.chdir(tmp_path)
    return tmp_path

# What is generated ---------------------------------------------------------------------------------------------------------

names = st.text(st.characters(codec='utf-8', exclude_characters='\0/'), max_size=12)  # a word of the command line can't hold a NUL
numbers = st.one_of(st.integers(-3, 40), st.integers(), st.floats()).map(str)
leaves = st.one_of(st.none(), st.booleans(), st.integers(-3, 40), st.integers(), st.floats(), st.text(max_size=20),
                   st.sampled_from(['', 'nan', '../..', '/etc', '=1+1', '<script>']))
values = st.recursive(leaves, lambda o: st.lists(o, max_size=3) | st.dictionaries(st.text(max_size=5), o, max_size=3), max_leaves=5)

@st.composite
def changed(draw, whole:dict):
    "`whole` with a few of its values replaced, removed or added, at any depth."
    found = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = found
        while True:
            key = draw(st.sampled_from(sorted(at))) if at and draw(st.integers(0, 9)) else draw(st.text(max_size=5))
            if isinstance(at.get(key), dict) and draw(st.booleans()): at = at[key]
            else: break
        if draw(st.integers(0, 4)): at[key] = draw(values)
        else: at.pop(key, None)
    return found

@st.composite
def harmed(draw, whole:bytes):
    "`whole` cut, altered, lengthened, or something else altogether."
    way = draw(st.sampled_from(['cut', 'altered', 'longer', 'other', 'nul']))
    if way == 'cut': return whole[:draw(st.integers(0, len(whole)))]
    if way == 'longer': return whole + draw(st.binary(max_size=20))
    if way == 'other': return draw(st.binary(max_size=100))
    at = draw(st.integers(0, len(whole) - 1))
    return whole[:at] + (bytes(8) if way == 'nul' else bytes([draw(st.integers(0, 255))])) + whole[at + (8 if way == 'nul' else 1):]

# The command line ------------------------------------------------------------------------------------------------------------

COMMANDS = commands() # The parser's own, so that a new command or flag is among them
WORDS = [*COMMANDS, '--help', '--version']
OPTIONS = sorted({o for p in COMMANDS.values() for action in p._actions if action.dest != 'help' for o in action.option_strings})
KNOWN = ['digits', 'scikit-photos', 'mnist', 'cifar10', 'all', 'baseline', 'pixel_shuffle+resnet', 'pca-3', 'webp-0', 'jpeg-999',
         'half', 'factorial', 'tuned', 'report', 'cpu', 'cuda:1', 'mps', 'fp32', 'bf16', 'imagenet', 'in-domain', 'resnet34,vgg16_bn',
         '4,16,', ',', '', '0', '-1', '16', '1e9', 'nan', 'inf', '9'*30, 'x'*300,
         '/dev/null', 's3://bucket/runs', 'memory://x', '://', 'local', 'IN', 'RUN', 'OUT', 'FILE', 'TABLE',
         '\ud800', '\udcff', '+', '-', '--', '='] + list(METHODS)

@cases(250)
@given(words=st.lists(st.one_of(st.sampled_from(OPTIONS), st.sampled_from(KNOWN), names, numbers), max_size=7),
       command=st.one_of(st.sampled_from(WORDS), names))
def test_arguments(words, command, finished, apart):
    "Any command with any words."
    places = dict(IN=finished/'in', RUN=finished/'out'/'pca-8', OUT=finished/'out', FILE=finished/'in.ae', TABLE=finished/'in.csv')
    answer('command lines', command, *(places.get(o, o) for o in words))

OF_RUN = {action.option_strings[0]: action for action in COMMANDS['run']._actions if action.option_strings and action.dest != 'help'}
FLAGS = [o for o, action in OF_RUN.items() if action.nargs == 0]
LIKELY = {'--latent': st.one_of(numbers, st.lists(numbers, max_size=3).map(','.join)),
          '--methods': st.one_of(names, st.sampled_from(['all', 'pca-4', 'baseline+', 'pixel_shuffle+pixel_shuffle', 'pca-' + '9'*20])),
          '--data': st.sampled_from(['digits', 'IN', 'nowhere']),
          '--out': st.one_of(names, st.sampled_from(['out', 's3://bucket/runs', 'memory://x', '://', 'file://']))}

def words_for(action):
    "What may follow a flag."
    value = LIKELY.get(action.option_strings[0], st.one_of(
        names, numbers if action.type in (int, float) else st.sampled_from(list(action.choices or ['auto']))))
    return st.tuples(*[value]*(action.nargs or 1))

@cases(120)
@given(chosen=st.lists(st.sampled_from(sorted(OF_RUN.keys() - FLAGS)), max_size=5, unique=True),
       flags=st.lists(st.sampled_from(FLAGS), max_size=2), draw=st.data())
def test_settings(chosen, flags, draw, finished, apart):
    "Settings of a run, each of any value."
    words = [o for k in chosen for o in (k, *draw.draw(words_for(OF_RUN[k])))]
    answer('settings', 'run', *(str(finished/'in') if o == 'IN' else o for o in words), *flags)

# Results -----------------------------------------------------------------------------------------------------------------------

ROW = json.loads((made_up_run(tempfile.mkdtemp(), 'baseline', pictures=False)/'row.json').read_text())
ABOUT = dict(settings=dict(method='baseline', data='digits', size=16, skip_unreadable=False, epochs=[1, 1]), method=dict(name='baseline'),
             environment=dict(torch='2.6', threads=1), data=dict(label='Digits', classes=['a']))
CURVE = b'phase,epoch,size,train_loss,valid_loss\n1,1,16,.5,.4\n2,2,16,.3,.2\n'

def text_of(value) -> bytes: return json.dumps(value).encode('utf-8', 'surrogatepass')

files = st.fixed_dictionaries({}, optional={
    'row.json': st.one_of(changed(ROW).map(text_of), values.map(text_of), harmed(text_of(ROW)), st.just(b'['*100_000)),
    'run.json': st.one_of(changed(ABOUT).map(text_of), values.map(text_of), harmed(text_of(ABOUT))),
    'history.csv': harmed(CURVE), 'lr_find.csv': harmed(b'lr,loss\n.1,2\n.2,1\n.4,3\n'),
    'sizes.csv': harmed(b'size,way,mse\n16,resized,.1\n'),
    'rates.csv': harmed(b'step,numbers,bytes_per_image,mse,psnr\n.5,8,10,.01,20\n.2,8,20,.005,23\n'),
    'files.csv': harmed(b'format,quality,bytes_per_image,payload,mse,psnr\nJPEG,50,900,300,.002,27\nJPEG,75,990,400,.001,30\n'),
    'components.csv': harmed(b'k,mse\n0,.1\n8,.01\n'),
    'samples.png': harmed(made_up_samples('baseline', n=2, size=8)), 'neighbours.png': harmed(made_up_samples('baseline', n=1, size=8)),
    'per_image.safetensors': st.binary(max_size=60)})

def results(out, harm):
    "Two whole runs of two seeds, and one that was harmed."
    made_up_original(out)
    for method, seed in (('baseline', 1), ('baseline', 2), ('resnet', 1)): made_up_run(out, method, seed, pictures=False)
    folder = Path(made_up_run(out, 'resnet', 2, pictures=False))
    for name, content in harm.items():
        (next(Path(out).glob('original*')) if name in ('files.csv', 'components.csv') else folder).joinpath(name).write_bytes(content)
    return folder

@cases(30)
@given(harm=files)
def test_tables_of_results(harm):
    "Rows, tables and sentences of results that somebody altered."
    from rich.console import Console
    COUNTS['tables'] = COUNTS.get('tables', 0) + 1
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        results(d, harm)
        first = (gather(d), (Path(d)/'results.csv').read_bytes())[1]
        print_table(d, Console(file=io.StringIO()))
        (Path(d)/'results.csv').write_bytes(first[:50] + b'\0\0\n' + first[9:])
        gather(d)
        assert (Path(d)/'results.csv').read_bytes() == first

@cases(4)
@given(harm=files)
def test_reports_of_results(harm):
    "The whole report of them, and what differs from a whole run."
    with tempfile.TemporaryDirectory() as d:
        folder = results(d, harm)
        answer('reports', 'report', d)
        answer('diffs', 'diff', folder, Path(d)/'baseline-seed1')

@cases(20)
@given(harm=files, other=st.booleans())
def test_differences(harm, other):
    with tempfile.TemporaryDirectory() as d:
        folder = results(d, harm)
        answer('diffs', 'diff', folder, folder if other else Path(d)/'resnet-seed1')

# Models, compressed files, tables of latents ------------------------------------------------------------------------------------

@cases(60)
@given(draw=st.data())
def test_run_folders(draw, finished, apart):
    "A run's folder whose files somebody altered, in use."
    with tempfile.TemporaryDirectory() as d:
        folder = Path(shutil.copytree(finished/'out'/'pca-8', f'{d}/out/run'))
        name = draw.draw(st.sampled_from(['model.safetensors', 'coder.safetensors', 'per_image.safetensors', 'samples.png',
                                          'run.json', 'row.json']))
        path = folder/name
        if name.endswith('.json'):
            path.write_bytes(draw.draw(st.one_of(changed(json.loads(path.read_text())).map(text_of), harmed(path.read_bytes()))))
        elif name.endswith('.png') or draw.draw(st.booleans()): path.write_bytes(draw.draw(harmed(path.read_bytes())))
        else:  # a whole file with a right checksum that says something else
            from aebench.core.tensors import read_tensors
            tensors, about = read_tensors(path, 'np')
            build = {k: json.dumps(draw.draw(st.one_of(
                changed(json.loads(v)), changed(dict(encoder='conv', upsample='nearest', latent=8, size=16, channels=3)))))
                for k, v in about.items()}
            if draw.draw(st.booleans()): tensors = {k: v[:draw.draw(st.integers(0, len(v)))] for k, v in tensors.items()}
            if draw.draw(st.booleans()):
                tensors = {k: v*draw.draw(st.sampled_from([1, 0, -1, np.nan, np.inf])) if v.dtype.kind == 'f' else v[None]
                           for k, v in tensors.items()}
            write_tensors(path, tensors, build)
        command = draw.draw(st.sampled_from(['compress', 'encode', 'decompress', 'decode', 'reconstruct', 'anomaly', 'export',
                                             'sizes', 'diff', 'report', 'run']))
        words = dict(compress=('compress', finished/'in', '--run', folder, '--out', f'{d}/x.ae'),
                     encode=('encode', finished/'in', '--run', folder, '--out', f'{d}/x.csv'),
                     decompress=('decompress', finished/'in.ae', '--run', folder, '--out', f'{d}/back'),
                     decode=('decode', finished/'in.csv', '--run', folder, '--out', f'{d}/back'),
                     reconstruct=('reconstruct', finished/'in', '--run', folder, '--out', f'{d}/back'),
                     anomaly=('anomaly', finished/'in', '--run', folder, '--out', f'{d}/x.csv'),
                     export=('export', '--to', 'folder', '--run', folder, '--out', f'{d}/model'),
                     run=('run', '--methods', 'pca-8', '--out', f'{d}/out'), sizes=('sizes', f'{d}/out', '--sizes', '8'),
                     diff=('diff', folder, finished/'out'/'pca-8'), report=('report', f'{d}/out'))[command]
        answer('run folders', *words)

@pytest.fixture(scope='module')
def whole_and_cut(home, finished):
    "Folders of results: made whole, and stopped in the second network's training; and the words that make them."
    words = ['run', '-q', '--data', finished/'in', '--methods', 'pca-4,baseline,pixel_shuffle', '--weights', 'random', '--size', 16,
             '--epochs', 1, 1, '--latent', 8, '--batch-size', 16, '--out']
    class Stops(runs.Checkpoint):
        def after_batch(self):
            if self.file.parent.name.startswith('pixel') and len(self.notes.get('phases', ())) == 2: self.stop()
            super().after_batch()
    with pytest.MonkeyPatch.context() as m:
        m.setenv('AEBENCH_HOME', str(home))
        assert main([str(o) for o in (*words, finished/'whole')]) == 0
        m.setattr(runs, 'Checkpoint', Stops)
        with contextlib.suppress(KeyboardInterrupt, SystemExit): main([str(o) for o in (*words, finished/'cut')])
    assert list((finished/'cut').glob('*/checkpoint.safetensors'))
    return words

@cases(4)
@given(draw=st.data(), which=st.sampled_from(['whole', 'cut']))
def test_the_same_command_over_damaged_results(draw, which, whole_and_cut, finished, home):
    "Any of its files altered, cut, gone or a folder: the command ends in sentences, and its rows are of the runs that were asked for."
    with tempfile.TemporaryDirectory() as d, pytest.MonkeyPatch.context() as m:
        m.setenv('AEBENCH_HOME', str(home))
        out = Path(shutil.copytree(finished/which, f'{d}/out'))
        path = draw.draw(st.sampled_from(sorted(o for o in out.rglob('*') if o.is_file() and o.stat().st_size)))
        how = draw.draw(st.sampled_from(['harmed', 'gone', 'folder']))
        content = draw.draw(harmed(path.read_bytes()))
        path.unlink()
        if how == 'harmed': path.write_bytes(content)
        if how == 'folder': path.mkdir()
        code = answer('results gone on with', *whole_and_cut, out)
        if code == 0: assert {'pca-4', 'baseline', 'pixel_shuffle'} <= set(gather(out).query('status == "done"').method), (path, how)

def packed(whole:bytes):
    "Header and body of a compressed file."
    n, = struct.unpack('<I', whole[8:12])
    return json.loads(zlib.decompress(whole[12:12+n])), whole[12+n:-32]

@cases(200)
@given(draw=st.data())
def test_compressed_files(draw, finished, apart):
    "Damaged ones, and ones with a right checksum whose header says anything."
    whole = (finished/'in.ae').read_bytes()
    if draw.draw(st.booleans()): content = draw.draw(harmed(whole))
    else:
        header, coded = packed(whole)
        header = draw.draw(st.one_of(
            changed(header), changed({k: header[k] for k in ('names', 'coded')}),
            st.builds(lambda o: header | dict(names=o), st.lists(st.text(max_size=9), max_size=30)), values))
        squeezed = draw.draw(st.sampled_from([zlib.compress, lambda o: o]))(text_of(header))
        coded = draw.draw(st.sampled_from([coded, coded[:-4], b'', coded*2]))
        content = MAGIC + struct.pack('<I', draw.draw(st.sampled_from([len(squeezed), 0, 2**32 - 1]))) + squeezed + coded
        content += hashlib.sha256(content).digest()
    with tempfile.TemporaryDirectory() as d:
        (Path(d)/'x.ae').write_bytes(content)
        answer('compressed files', 'decompress', f'{d}/x.ae', '--run', finished/'out'/'pca-8', '--out', f'{d}/in/back')
        outside = [o for o in Path(d).rglob('*') if o.is_file() and o.name != 'x.ae' and not o.is_relative_to(Path(d)/'in'/'back')]
        assert not outside

@cases(80)
@given(draw=st.data(), kind=st.sampled_from(['csv', 'npy', 'npy.json', 'parquet']))
def test_tables_of_latents(draw, kind, finished, apart):
    "Damaged ones, and whole ones with any names."
    with tempfile.TemporaryDirectory() as d:
        for o in finished.glob('in.*'): shutil.copy(o, d)
        path = Path(d)/f'in.{kind}'
        whole = path.read_bytes()
        if kind == 'csv' and draw.draw(st.booleans()):
            path.write_bytes(whole.replace(b'a/', draw.draw(st.text(max_size=9)).encode('utf-8', 'surrogatepass'),
                                           draw.draw(st.integers(1, 9))))
        elif kind == 'npy.json': path.write_bytes(text_of(draw.draw(changed(json.loads(whole)))))
        else: path.write_bytes(draw.draw(harmed(whole)))
        answer('tables of latents', 'decode', Path(d)/f'in.{kind.removesuffix(".json")}', '--run', finished/'out'/'pca-8',
               '--out', f'{d}/below/back')
        assert not [o for o in Path(d).rglob('*.png') if not o.is_relative_to(Path(d)/'below'/'back')]

@cases(60)
@given(content=st.lists(st.one_of(st.binary(max_size=60), harmed(made_up_samples('baseline', n=1, size=8))), min_size=10, max_size=12),
       suffix=st.sampled_from(['.png', '.jpg', '.gif', '.tif', '.webp', '.bmp', '.ico', '.psd', '.dds']))
def test_folders_of_images(content, suffix, finished, apart):
    "Bytes of any kind under an image's name."
    with tempfile.TemporaryDirectory() as d:
        for i, o in enumerate(content): (Path(d)/f'{i}{suffix}').write_bytes(o)
        answer('folders', 'check', d, '--steps', '0')
        answer('folders', 'encode', d, '--run', finished/'out'/'pca-8', '--out', f'{d}/x.csv', '--skip-unreadable')
