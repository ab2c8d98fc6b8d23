"The command as its users meet it: results, bad input, kills."
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aebench.core.errors import UsageError
from forked import forked
from made_up import make_images

QUICK = ['run', '--data', 'digits', '--limit', '400', '--epochs', '1', '1', '--batch-size', '256', '--protocol', 'report']
TIMES = ['seconds', 'cpu_seconds', 'images_per_second', 'peak_memory_mb']

def start(*words, home, before=(), **kwargs): # `before`: of a launcher, between Python and its module
    env = {**os.environ, 'AEBENCH_HOME': str(home), 'COLUMNS': '100'}
    return subprocess.Popen([sys.executable, *before, '-m', 'aebench.cli', *map(str, words)], env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)

def aebench(*words, home, **kwargs):
    "Exit code, stdout and stderr."
    p = start(*words, home=home, **kwargs)
    out, err = p.communicate(timeout=600)
    return p.returncode, out, err

def commands() -> dict: # Name → parser
    "The parsers of the commands."
    from aebench.cli import make_parser
    return make_parser()._subparsers._group_actions[0].choices

def quickly(*words, home):
    "The same, where no start of a process is to be seen."
    return forked('aebench', *words, env={**os.environ, 'AEBENCH_HOME': str(home), 'COLUMNS': '100'})

def steady(out:Path) -> pd.DataFrame:
    return pd.read_csv(out/'results.csv').drop(columns=TIMES)

def make_folder(folder:Path, n:int=24, classes='ab'):
    gen = np.random.default_rng(0)
    for i in range(n):
        path = folder/classes[i % len(classes)]/f'{i:02}.png' if classes else folder/f'{i:02}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(gen.integers(0, 256, (20, 28, 3), dtype=np.uint8)).save(path)
    return folder

@pytest.fixture(scope='module')
def undisturbed(home, tmp_path_factory):
    "Two methods on digits, from start to end."
    out = tmp_path_factory.mktemp('undisturbed')
    code, table, err = aebench(*QUICK, '--methods', 'baseline,pixel_shuffle', '--out', out, home=home)
    assert code == 0, err
    return out, table, err

def test_run_leaves_table_report_and_files(undisturbed):
    out, table, err = undisturbed
    rows = pd.read_csv(out/'results.csv')
    assert list(rows.method) == ['original', 'baseline', 'pixel_shuffle'] and (rows.status == 'done').all()
    assert 'Pixel Shuffle' in table and '\x1b' not in table + err and '\r' not in err
    assert err.startswith(f'Results go to {out}') and err.endswith(f'Report: {out}/report.html\nFolder: {out}\n')
    assert '✓ Baseline       MSE ' in err and '(2/2)\n' in err and 'Data: ' not in table  # all there is to say is for --verbose
    assert (out/'report.html').stat().st_size > 10_000

def test_a_report_that_cannot_be_written_costs_no_table(undisturbed, tmp_path, said):
    out, table, _ = undisturbed
    for o in out.glob('*/row.json'): shutil.copytree(o.parent, tmp_path/o.parent.name)
    (tmp_path/'report.html').mkdir()
    code, printed, err = said('report', tmp_path)
    assert code == 1 and printed == table and 'report.html could not be written' in err and 'Traceback' not in err

def test_judges_that_have_no_classes_to_read(tmp_path, home):
    "Who names judges is told where none can be; who leaves the default isn't."
    folder = make_folder(tmp_path/'photos', classes='')
    for more, n in ((['--judges', 'vgg16_bn'], 1), ([], 0)):
        code, _, err = quickly('run', folder, '--methods', 'pca-4', '--size', 16, '--out', tmp_path/f'{n}', *more, home=home)
        assert code == 0 and err.count('nothing judges: --judges changes nothing') == n, err

def test_second_command_trains_nothing(undisturbed, home):
    out, table, _ = undisturbed
    began = {p: p.stat().st_mtime_ns for p in out.glob('*/model.safetensors')}
    code, again, _ = aebench(*QUICK, '--methods', 'baseline,pixel_shuffle', '--out', out, home=home)
    assert code == 0 and again == table
    assert began == {p: p.stat().st_mtime_ns for p in out.glob('*/model.safetensors')} and len(began) == 2

def test_a_run_says_how_to_repeat_it(undisturbed, home):
    "The file in its folder is what --config takes; --overwrite makes it again, with the same figures."
    out, _, _ = undisturbed
    config, = out.glob('pixel_shuffle*/config.yaml')
    before = steady(out)
    code, planned, err = quickly('run', '--config', config, '--out', out, '--dry-run', home=home)
    assert code == 0 and 'Pixel Shuffle  is there already' in planned and 'Nothing to train' in planned, err
    code, planned, err = quickly('run', '--config', config, '--out', out, '--dry-run', '--overwrite', '--json', home=home)
    plan, = json.loads(planned)
    assert (plan['run'], plan['done']) == (config.parent.name, False) and plan['seconds'] > 0
    began = {o: o.stat().st_mtime_ns for o in out.glob('*/model.safetensors')}
    code, _, err = quickly('run', '--config', config, '--out', out, '--overwrite', '-q', home=home)
    assert code == 0 and not err, err
    assert [o.parent.name for o, at in began.items() if o.stat().st_mtime_ns != at] == [config.parent.name]
    pd.testing.assert_frame_equal(steady(out), before)

def test_the_table_has_the_columns_and_the_order_that_are_asked_for(undisturbed, home):
    out, _, _ = undisturbed
    mse = pd.read_csv(out/'results.csv').set_index('label').mse.drop('Original Image').sort_values()
    code, table, err = quickly('report', out, '--columns', 'psnr,mse', '--sort', 'mse', '--verbose', home=home)
    lines = table.splitlines()
    start = next(i for i, o in enumerate(lines) if o.startswith('Method'))
    assert (code == 0 and lines[start].split() == ['Method', 'PSNR', 'MSE']
            and [o[:13].strip() for o in lines[start+3:start+5]] == list(mse.index)), table
    assert 'Data: Digits' in ' '.join(lines[:start]) and lines[-1].endswith('.')  # the rest comes before the table

def test_the_best_of_many_runs_is_taken(undisturbed, home, tmp_path):
    "And it is said which; --method chooses. What is printed can be had as JSON."
    out, _, _ = undisturbed
    rows = pd.read_csv(out/'results.csv').set_index('method')
    folder = make_folder(tmp_path/'photos', 6, '')
    for more, taken in (((), rows.mse.idxmin()), (('--method', 'baseline'), 'baseline')):
        code, found, err = quickly('reconstruct', folder, '--run', out, *more, '--json', '--out', tmp_path/f'copies{len(more)}', home=home)
        assert code == 0 and rows.run[taken] in err and json.loads(found)['images'] == 6, err
    code, _, err = quickly('reconstruct', folder, '--run', out, '--method', 'basline', home=home)
    assert code == 2 and 'Did you mean baseline?' in err
    # of a technique that this process does not know
    row = shutil.copytree(out/rows.run['baseline'], tmp_path/'own'/rows.run['baseline'])/'row.json'
    row.write_text(json.dumps(json.loads(row.read_text()) | dict(method='edges', label='Edges')))
    code, _, err = quickly('reconstruct', folder, '--run', tmp_path/'own', '--method', 'edges', '--out', tmp_path/'edges', home=home)
    assert code == 0 and 'The model: Edges' in err, err
    printed = {words[0]: json.loads(quickly(*words, '--json', home=home)[1]) for words in (
        ('compress', folder, '--run', out, '--out', tmp_path/'a.ae'), ('encode', folder, '--run', out, '--out', tmp_path/'a.csv'),
        ('diff', *(out/o for o in rows.run[['baseline', 'pixel_shuffle']])), ('data',),
        ('export', '--run', out, '--to', 'folder', '--out', tmp_path/'model'),
        ('anomaly', folder, '--run', out, '--out', tmp_path/'strange.csv'))}
    printed |= {words[0]: json.loads(quickly(*words, '--json', home=home)[1]) for words in (
        ('decompress', tmp_path/'a.ae', '--run', out, '--out', tmp_path/'b'),
        ('decode', tmp_path/'a.csv', '--run', out, '--out', tmp_path/'c'))}
    assert all(printed[o]['images'] == 6 for o in ('compress', 'encode', 'decompress', 'decode', 'anomaly')), printed
    assert (printed['compress']['bytes_per_image'] > 0 and len(printed['diff']['runs']) == 2
            and printed['data'][0]['name'] == 'digits' and printed['export']['to'] == 'folder')

def test_a_first_look(home, tmp_path):
    "Few images and few epochs, but no fewer than 50 steps, kept apart from whole runs; the test images are all there."
    words = ['run', 'digits', '--quick', '--limit', 64, '--methods', 'baseline', '--weights', 'random', '--judges', '', '--out', tmp_path]
    code, _, err = quickly(*words, home=home)
    row = pd.read_csv(tmp_path/'results.csv').set_index('method').loc['baseline']
    assert code == 0 and (row.n_train, row.n_test, row.limit, row.epochs) == (64, 359, 64, '8 17') and '--limit 64' in row.command, err
    # seconds on a fast machine too
    code, plan, err = quickly(*words, '--limit', 100, '--lr', .001, '--epochs', 3000, '--dry-run', home=home)
    assert code == 0 and '100 training' in plan and 'Baseline  about' in plan and len(list(tmp_path.glob('baseline*'))) == 1, plan + err

def test_without_words_it_says_what_to_try(home):
    code, out, err = aebench(home=home)
    assert code == 0 and len(re.findall('^  aebench ', out, re.M)) == 3 and not err

KILLED = '''import os, signal, sys
import aebench.cli, aebench.bench.run
from fastai.callback.core import Callback
class Kill(Callback):
    def after_epoch(self): os.kill(os.getpid(), signal.SIGKILL)
plain = aebench.bench.run.train_run
def train_run(run, data, cbs=(), *more): return plain(run, data, [*cbs, *[Kill()]*(run.method == 'pixel_shuffle')], *more)
aebench.bench.run.train_run = train_run
aebench.cli.main(sys.argv[1:])'''

def test_killed_and_started_again(undisturbed, home, tmp_path):
    "kill -9 in the middle, the baseline and an epoch of the second method being done; the same command ends with the undisturbed results."
    words = [*QUICK, '--methods', 'baseline,pixel_shuffle', '--out', tmp_path]
    done = subprocess.run([sys.executable, '-c', KILLED, *map(str, words)], env={**os.environ, 'AEBENCH_HOME': str(home)},
                          capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(tmp_path.glob('*-seed*/row.json'))) == 1
    assert list(pd.read_csv(tmp_path/'results.csv').method) == ['original', 'baseline']  # gathered after each run
    code, _, err = aebench(*words, home=home)
    assert code == 0, err
    pd.testing.assert_frame_equal(steady(tmp_path), steady(undisturbed[0]))

def test_same_seed_same_numbers(undisturbed, home, tmp_path):
    for seed, equal in ((3333, True), (7, False)):
        code, _, err = quickly(*QUICK, '--methods', 'baseline', '--seed', seed, '--out', tmp_path/str(seed), home=home)
        assert code == 0, err
        mse = [pd.read_csv(o/'results.csv').set_index('method').mse['baseline'] for o in (undisturbed[0], tmp_path/str(seed))]
        assert (mse[0] == mse[1]) == equal

def test_own_images_without_classes(home, tmp_path):
    folder = make_folder(tmp_path/'my photos', classes='')
    code, table, err = quickly('run', '--data', folder, '--methods', 'progressive_resizing', '--epochs', 1, 0, '--size', 16,
                               '--out', tmp_path/'out', home=home)
    assert code == 0, err
    row = pd.read_csv(tmp_path/'out'/'results.csv').set_index('method').loc['progressive_resizing']
    assert row.n_train + row.n_test == 24 and np.isnan(row.accuracy)

def test_a_word_that_names_two_things_is_refused(said, at_home, tmp_path, monkeypatch):
    "A data set and a folder of its name: no entrance chooses in silence. A slash means the folder."
    from aebench import compare, load_images
    from aebench.core.errors import UsageError
    monkeypatch.chdir(tmp_path)
    for o in ('digits', 'photos'): make_folder(tmp_path/o, classes='')
    for command in ('run', 'train', 'check', 'data'):
        code, out, err = said(command, 'digits')
        assert (code, out) == (2, '') and './digits' in err and 'rename' in err, err
    for f in (load_images, compare):
        with pytest.raises(UsageError, match='give ./digits for the folder'): f('digits')
    assert {len(load_images(o, 8).train_x) for o in ('./digits', 'digits/', Path('digits'), 'photos', 'photos/')} == {20 - 1}
    assert said('check', 'photos', '--steps', 0)[0] == said('check', './digits', '--steps', 0)[0] == 0
    shutil.move('digits', 'elsewhere')
    make_images(tmp_path, ['digits/baseline-seed1/samples.png'])
    (tmp_path/'digits'/'baseline-seed1'/'row.json').touch()
    assert load_images('digits').name == 'digits'  # a folder of runs is no second meaning

def test_a_short_run_names_no_winner_and_shows_no_other_comparison(home, tmp_path):
    folder, out = make_folder(tmp_path/'pictures', classes=''), tmp_path/'out'
    words = ['run', folder, '--size', 16, '--weights', 'random', '--out', out]
    code, table, err = quickly(*words, '--methods', 'baseline,pixel_shuffle,pca-4', '--epochs', 3, '--latent', 8, home=home)
    assert code == 0 and (
        '2 methods compared on pictures, in 3 training steps each: from so few nothing can be learned' in ' '.join(table.split())), table
    assert set(pd.read_csv(out/'results.csv').batch_size.dropna()) == {32}
    code, table, err = quickly(*words, '--methods', 'baseline,progressive_resizing', '--epochs', 1, '--latent', 12, '-q', home=home)
    assert code == 0 and 'Pixel Shuffle' not in table and table.count('Original Image') == 1 and not err, err
    assert 'Progressive Resizing trained at full size alone' in ' '.join(table.split())
    assert len(pd.read_csv(out/'results.csv')) == 6 and 'Pixel Shuffle' in quickly('report', out, home=home)[1]

def test_what_is_needed_is_foretold(home, tmp_path, monkeypatch):
    "Downloads with their size and place, classifiers that are trained first; as many components stand beside what is compared by default."
    monkeypatch.setenv('TORCH_HOME', str(tmp_path/'torch'))
    words = ['run', make_folder(tmp_path/'pictures'), '--size', 16, '--latent', 8, '--dry-run']
    code, plan, err = quickly(*words, home=tmp_path/'home')
    assert (code == 0 and len(re.findall('(?:about [0-9.]+|less than a) (?:second|minute)s?$', plan, re.M)) == 7
            and 'Modern' in plan and 'PCA-8 ' in plan), err
    assert (f'weights of resnet34 (83 MB) and vgg16_bn (528 MB), into {tmp_path}/torch/hub/checkpoints' in plan
            and 'once: the resnet34 classifier (for judging)' in plan)
    code, found, err = quickly('check', tmp_path/'pictures', '--size', 16, '--steps', 1, home=tmp_path/'home')
    assert code == 0 and 'vgg16_bn (528 MB)' in found and ' min ' not in found and re.search(r'Modern +[0-9.]+s ', found), found

def test_sigterm_stops_with_a_sentence(home, tmp_path):
    began = time.monotonic()
    p = start(*QUICK, '--epochs', 40, 40, '--methods', 'baseline', '--out', tmp_path, home=home)
    for line in p.stderr:
        if 'epoch 1/' in line: break
    told = time.monotonic()
    p.terminate()
    err = p.communicate(timeout=300)[1]
    assert p.returncode == 143 and 'the same command goes on' in err and 'Traceback' not in err
    assert time.monotonic() - told < told - began  # it stops sooner than it started, whatever else the machine does

@pytest.mark.parametrize('words, code, sentence', [
    (['run', '--data', 'NOWHERE'], 2, 'no folder'),
    (['run', '--data', 'EMPTY'], 2, 'holds no images'),
    (['run', '--data', 'BROKEN'], 2, 'broken.png'),
    (['run', '--methods', 'pixelshuffle'], 2, 'Did you mean pixel_shuffle?'),
    (['run', '--latent', '0'], 2, '--latent must be 1 to'),
    (['run', '--size', '18'], 2, 'give --size 16 or 20'),
    (['run', '--epochs', '0', '0'], 2, 'at least one epoch'),
    (['run', '--device', 'tpu'], 2, 'no tpu device'),
    (['run', '--data', 'FLAT', '--weights', 'random', '--out', 'FLAT'], 2, 'lies within the images'),
    (['compress', 'FLAT', '--run', 'EMPTY'], 2, 'holds no trained model'),
    (['diff', 'EMPTY', 'FLAT'], 2, 'holds no finished run'),
    (['sizes', 'EMPTY'], 2, 'holds no model'),
    (['run', '--device', 'cuda:99'], 2, 'no cuda:99 device'),
    (['rnu'], 2, 'Did you mean run?'),
    (['run', 'FLAT', '--data', 'digits'], 2, 'name two sets of images'),
    (['run', 'minst'], 2, 'Did you mean mnist?'),
    (['run', '--limit', '1'], 2, '--limit must be 8 or more'),
    (['run', '--device', 'gpu:77'], 2, 'device here'),
    (['run', '--config', 'NOWHERE'], 2, 'cannot be read'),
    (['report', 'EMPTY', '--sort', 'msw'], 2, 'Did you mean mse?'),
    (['train', 'digits', '--epochs', '0'], 2, '--epochs takes 1 or more'),
    (['run', '--dta', 'mnist'], 2, 'Did you mean --data?'),
    (['train', 'digits', '--method', 'all'], 2, "There is no method called 'all'"),
    (['run', 'https://example.org/photos'], 2, 'is an address'),
    (['run', '--track', 'tensorbord'], 2, 'Did you mean tensorboard?'),
    (['run', '--seeds', 'two'], 2, "--seeds takes a whole number, not 'two'"),
    (['compress', 'FLAT'], 2, 'Usage: aebench compress FOLDER --run DIR [options]'),
    (['run', '--schedule', '1:16', '--epochs', '1', '1'], 2, 'leave out --epochs'),
    (['run', '--precision', 'fp8'], 2, "--precision takes no 'fp8'."),
    (['run', '--feature-input', 'grey'], 2, "--feature-input takes no 'grey'."),
    (['run', '--augmentation', 'cutout'], 2, "--augmentation takes no 'cutout'."),
    (['data', 'digits', '--size', '-1'], 2, 'give --size 1 or more'),
    (['run', '--weights', 'NOWHERE', '--methods', 'pretraining'], 2, 'source of weights'),
    (['run', '--data', 'FLAT', '--weights', 'in-domain', '--methods', 'pretraining'], 2, 'has no classes'),
    (['run', '--out', 'FILE'], 1, 'could not be written'),
    (['report', 'EMPTY'], 2, 'holds no finished run'),
    (['check', 'EMPTY'], 2, 'Layouts understood'),
    (['check', 'FILE'], 2, 'give the folder that holds the images'),
    (['check', 'digits'], 2, 'check looks at folders'),
    (['run', 'NOWHERE/'], 2, 'give one that holds images.'),
    (['check', 'BROKEN', '--steps', '0'], 1, 'broken.png'),
])
def test_bad_input(words, code, sentence, home, tmp_path):
    "One clear sentence, the right exit code, never a traceback."
    (tmp_path/'EMPTY').mkdir()
    (tmp_path/'FILE').write_text('')
    make_folder(tmp_path/'FLAT', classes='')
    (make_folder(tmp_path/'BROKEN')/'a'/'broken.png').write_bytes(b'no image')
    words = [str(tmp_path/w) if w.isupper() else w for w in words]
    if words[0] == 'run' and '--out' not in words: words += ['--out', str(tmp_path/'out')]
    got, out, err = quickly(*words, home=home)
    assert got == code, err
    assert sentence in out + err and 'Traceback' not in err

@pytest.mark.parametrize('shell', ['bash', 'zsh', 'fish'])
def test_shells_complete_it(shell, home):
    code, script, err = aebench('--print-completion', shell, home=home)
    assert code == 0 and all(o in script for o in ('reconstruct', 'batch-size', 'tuned', 'dry-run',
                                                   'overwrite', 'quick', 'config', 'columns')), err
    if shutil.which(shell): assert subprocess.run([shell, '-n'], input=script, text=True).returncode == 0

def test_skip_unreadable(home, tmp_path):
    folder = make_folder(tmp_path/'some')
    (folder/'a'/'broken.png').write_bytes(b'no image')
    code, _, err = quickly('data', folder, '--size', 16, '--skip-unreadable', home=home)
    assert code == 0, err

@pytest.mark.skipif(os.name != 'posix', reason='no such limit on this system')
def test_full_disk_is_named(tmp_path):
    "A file that can't be written whole is an error with its folder, not a traceback and no damaged file."
    import resource
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    p = start(*QUICK, '--methods', 'baseline', '--out', tmp_path/'out', home=tmp_path/'home', preexec_fn=limit)
    err = p.communicate(timeout=300)[1]
    assert p.returncode == 1 and 'could not be written' in err and 'Traceback' not in err
    assert not [o for o in tmp_path.rglob('*') if o.is_file() and 0 < o.stat().st_size >= 100_000]

@pytest.mark.parametrize('words', [['methods'], ['report']])
def test_nobody_reads_what_is_printed(words, undisturbed, home, tmp_path):
    "As with `| true` and `| head -1`: the work is done, and nothing is said of it."
    if words == ['report']: words = [*words, shutil.copytree(undisturbed[0], tmp_path/'runs')]
    p = start(*words, home=home)
    p.stdout.close()
    err = p.stderr.read()
    assert p.wait(600) == 0 and not re.search('Error|Broken|Exception', err), err
    assert words == ['methods'] or (tmp_path/'runs'/'report.html').is_file()

def test_a_launchers_word_alone_starts_no_team(home, tmp_path):
    "WORLD_SIZE may be anybody's variable."
    make_images(tmp_path/'images', [f'{i:02}.png' for i in range(12)])
    words = '--methods baseline --epochs 1 1 --size 16 --weights random -q --data'.split()
    done = subprocess.run([sys.executable, '-m', 'aebench.cli', 'run', *words, tmp_path/'images', '--out', tmp_path/'runs'],
                          env={**os.environ, 'AEBENCH_HOME': str(home), 'WORLD_SIZE': '2'}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

def test_fault_of_ours_is_one_sentence(home, tmp_path):
    "An error that nobody foresaw: a sentence, and the whole story in a file."
    code = "import sys, aebench.bench.loop as b, aebench.cli as c\nb.load_images = lambda *a, **k: 1/0\nsys.exit(c.main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, '-c', code, *QUICK, '--out', str(tmp_path)],
                          env={**os.environ, 'AEBENCH_HOME': str(home), 'TMPDIR': str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1 and 'ZeroDivisionError' in done.stderr and 'Traceback' not in done.stderr
    assert 'load_images' in next(tmp_path.glob('aebench-*.txt')).read_text()

def test_non_finite_loss_fails_alone(home, tmp_path):
    "A run that fails is marked with its reason; the others go on, and the command exits with 1."
    code = ("import sys, torch, aebench.bench.run as b, aebench.cli as c\n"
            "make = b.make_loss\n"
            "b.make_loss = lambda run, *a: (lambda p, y: (p - y).mean()*float('nan')) if run.method == 'baseline' else make(run, *a)\n"
            "sys.exit(c.main(sys.argv[1:]))")
    words = [*QUICK, '--methods', 'baseline,pixel_shuffle', '--out', str(tmp_path)]
    done = subprocess.run([sys.executable, '-c', code, *words], env={**os.environ, 'AEBENCH_HOME': str(home)},
                          capture_output=True, text=True)
    rows = pd.read_csv(tmp_path/'results.csv').set_index('method')
    assert done.returncode == 1 and 'The loss became nan' in done.stdout + done.stderr and 'Traceback' not in done.stderr
    assert (rows.status['baseline'] == 'failed' and rows.reason['baseline'].startswith('The loss became nan')
            and rows.status['pixel_shuffle'] == 'done')

def test_the_command_draws_without_a_window_and_the_library_leaves_the_backend_alone(home):
    "A notebook that starts the command hands on its own backend, whose module need not be there."
    code = ("import os, sys; from aebench.cli import main; before = os.environ['MPLBACKEND']; main({}); "
            "import aebench.training, matplotlib; print(before, matplotlib.get_backend(), file=sys.stderr)")
    for argv, backend in (('', 'agg'), ("['data']", 'svg')):
        done = subprocess.run([sys.executable, '-c', code.format(argv), 'data'], env=os.environ | dict(MPLBACKEND='svg'),
                              capture_output=True, text=True)
        assert done.stderr.lower().split()[-2:] == ['svg', backend], done.stderr

# ---- What is written of the command line

ROOT = Path(__file__).parents[1]
SPAN = re.compile(r'(?<!`)`([^`\n]+)`(?!`)')

def written() -> dict[str, str]: # Place → text
    "All markdown that is shipped: pages, and the prose of notebooks."
    found = {str(o.relative_to(ROOT)): o.read_text()
             for o in [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('results/**/*.md')]}
    for path in [*ROOT.glob('nbs/**/*.ipynb'), ROOT/'index.ipynb']:
        cells = json.loads(path.read_text())['cells']
        text = [''.join(o['source']) for o in cells if o['cell_type'] == 'markdown']
        text += [f'```\n{line[1:]}\n```' for o in cells if o['cell_type'] == 'code'
                 for line in ''.join(o['source']).split('\n') if line.startswith('!aebench ')]
        found[str(path.relative_to(ROOT))] = '\n'.join(text)
    return found

def in_blocks(text:str) -> list[list[str]]:
    "The words of the commands in blocks of code."
    lines = [line.strip() for block in re.findall(r'```[^\n]*\n(.*?)```', text, re.S) for line in block.replace('\\\n', ' ').split('\n')]
    lines = [re.sub(r'^(\$ )?(torchrun .*-m aebench\.cli|python -m aebench\.cli)', 'aebench', o) for o in lines]
    return [shlex.split(o, comments=True)[1:] for o in lines if o.startswith('aebench ')]

def in_prose(text:str, names:str) -> list[list[str]]: # `names` of commands, as a regular expression has them
    "The words of commands in a line of prose, with or without the program's name, and of flags with a value."
    spans = SPAN.findall(re.sub(r'```.*?```', '', text, flags=re.S))
    return [words for o in spans if re.match(rf'(aebench )?({names}) --?\w|aebench \w|--[a-z]', o)
            if (words := o.replace('\\', '').removeprefix('aebench ').split())]

def fault_of(words:list[str], actions:dict, parser) -> str: # '' where it can be meant
    "What the parser finds wrong with a command, or with a flag and its value, of which something may be left out."
    if words[0].startswith('--') and words[0] not in ('--help', '--version', '--print-completion'):
        known = [o for a in actions.values() if (o := a.get(words[0].partition('=')[0]))]
        if not known: return f'there is no flag {words[0]}'
        words = [next(c for c, a in actions.items() if words[0] in a), *words] if '=' not in words[0] else words
        values = [o.partition('|')[0] for o in words[2:] if not o.isupper() and '…' not in o]
        choices = [o.choices for o in known]
        return '' if not values or None in choices or any(values[0] in o for o in choices) else f'{values[0]} is no value of it'
    words = ['4' if o in ('N', 'K', 'S') else o.partition('|')[0] for o in words]  # what stands for a number, and several choices
    try: parser.parse_args(words)
    except SystemExit: return ''  # --help
    except UsageError as e: return '' if re.search('required|cannot be read|expected (one|at least one|2) argument', str(e)) else str(e)
    return ''

def test_commands_that_are_written_can_be_given():
    "Each command line in README, guide, notes and notebooks, in a block or within a sentence, is one that the parser takes."
    from aebench.cli import make_parser
    parser, faults, n = make_parser(), [], 0
    actions = {c: p._option_string_actions for c, p in commands().items()}
    for place, text in written().items():
        for words in [*in_blocks(text), *in_prose(text, '|'.join(actions))]:
            n += 1
            if fault := fault_of(words, actions, parser): faults.append(f'{place}: {" ".join(words)}: {fault}')
    assert not faults and n > 60, '\n'.join(faults)

def test_messages_name_flags_that_there_are():
    "What the package, the site and the benchmarks say of a command."
    parsers, faults = commands(), []
    for path in [*(ROOT/'aebench').rglob('*.py'), *(ROOT/'docs').glob('*.py'), *(ROOT/'benchmarks').glob('*.py')]:
        for command, rest in re.findall(rf"aebench ({'|'.join(parsers)})\b([^'\"`\n.:;]*)", path.read_text()):
            faults += [f'{path.name}: {command} {o}' for o in re.findall(r'(?<!\S)--[a-z][a-z-]+', rest)
                       if o not in parsers[command]._option_string_actions]
    assert not faults, faults
