"What stands in several places says the same, and the generated files are up to date."
import configparser
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

try: import tomllib
except ModuleNotFoundError: import tomli as tomllib  # Python 3.10; nbdev brings it

import aebench

ROOT = Path(__file__).resolve().parent.parent

@pytest.fixture
def settings():
    parser = configparser.ConfigParser(delimiters=['='], comment_prefixes=['#'])
    parser.read(ROOT/'settings.ini', encoding='utf-8')
    return parser['DEFAULT']

def test_version_and_names_agree(settings):
    project = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']
    assert aebench.__version__ == settings['version']
    assert project['name'] == settings['name'] == settings['lib_name'] == 'aebench'
    assert project['urls']['Repository'].endswith(f'{settings["user"]}/{settings["repo"]}')

def test_changelog_dates_what_was_released(settings):
    "What has no date is unreleased, and stands under that heading alone."
    first, *others = re.findall(r'^## (.*)$', (ROOT/'CHANGELOG.md').read_text(), re.M)
    assert first == '[Unreleased]' and all(re.fullmatch(r'\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d', o) for o in others), others
    assert settings['version'] in (ROOT/'CHANGELOG.md').read_text()

def test_dependencies_have_a_reason(settings):
    contributing = (ROOT/'CONTRIBUTING.md').read_text()
    names = [re.split(r'[<>=[]', line)[0].strip()
             for key in ('requirements', 'dev_requirements', *settings['extras'].split())
             for line in settings[key].split('\n') if line.strip()]
    assert len(names) > 10
    assert not [n for n in names if not re.search(rf'^\| {n}[ |]', contributing, re.M)]

def test_readme_is_what_index_makes():
    done = subprocess.run([sys.executable, ROOT/'tools'/'readme.py', '--check'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

def test_rooms_are_drawn_as_they_are():
    done = subprocess.run([sys.executable, ROOT/'tools'/'rooms.py', '--check'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

def test_guide_leads_to_files():
    "Each path that CONTRIBUTING names is there."
    paths = re.findall(r'`((?:aebench|nbs|docs|tools|tests|benchmarks)/[^`\s]*)`', (ROOT/'CONTRIBUTING.md').read_text(encoding='utf-8'))
    assert len(paths) > 15
    assert not [o for o in paths if not list(ROOT.glob(o))]

def test_links_of_notebooks_lead_to_files():
    "Relative ones, which GitHub follows as well as the site."
    lost = []
    for path in [*(ROOT/'nbs').rglob('*.ipynb'), ROOT/'index.ipynb']:
        if path.is_symlink(): continue
        prose = '\n'.join(''.join(c['source']) for c in json.loads(path.read_text(encoding='utf-8'))['cells']
                          if c['cell_type'] == 'markdown')
        links = [unquote(o) for o in re.findall(r'\]\(([^)\s#]+)[^)]*\)', prose) if not re.match(r'[a-z]+:', o)]
        lost += [f'{path.name}: {o}' for o in links if not (path.parent/o).exists()]
    assert not lost

def test_no_star_imports_and_no_stored_errors():
    for path in (ROOT/'aebench').rglob('*.py'): assert 'import *' not in path.read_text(), path
    for path in [*(ROOT/'nbs').rglob('*.ipynb'), ROOT/'index.ipynb']:
        outputs = [o for c in json.loads(path.read_text())['cells'] for o in c.get('outputs', [])]
        assert not [o for o in outputs if o['output_type'] == 'error'], path

def test_every_described_picture_is_stored():
    "The site shows what the notebooks keep: a cell that describes its picture has one."
    pages = [o for o in (ROOT/'nbs').rglob('*.ipynb') if not o.name.startswith('_')]  # which nbdev leaves out
    cells = [(path.name, c) for path in pages for c in json.loads(path.read_text())['cells']
             if c['cell_type'] == 'code' and '#| fig-alt:' in ''.join(c['source'])]
    assert len(cells) > 40
    assert not [(name, c['id']) for name, c in cells if not any('image/png' in o.get('data', {}) for o in c['outputs'])]

def test_description_has_no_relative_link(tmp_path):
    "They would lead nowhere from a package's page."
    pytest.importorskip('setuptools')
    subprocess.run([sys.executable, '-W', 'ignore', 'setup.py', '-q', 'egg_info', '-e', tmp_path], cwd=ROOT, check=True)
    description = (tmp_path/'aebench.egg-info'/'PKG-INFO').read_text(encoding='utf-8')
    assert 'make run' in description and not re.findall(r'\]\((?!https?:|#)[^)]+\)', description)
