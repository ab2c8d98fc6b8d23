"Packaging: everything that can change stands in settings.ini; this file only hands it to setuptools."
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=['='], comment_prefixes=['#'])
parser.read(here/'settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']
lines = lambda key: [o.strip() for o in cfg[key].splitlines() if o.strip()]
extras = {name: lines(name) for name in cfg['extras'].split()}
repo = f"{cfg['user']}/{cfg['repo']}"
def absolute(link):  # a relative one leads nowhere from a package's page
    raw = link[1].endswith('.png')
    return f"](https://{'raw.githubusercontent.com' if raw else 'github.com'}/{repo}{'' if raw else '/blob'}/{cfg['branch']}/{link[1]})"
readme = re.sub(r'\]\((?!https?:|#)([^)]+)\)', absolute, (here/'README.md').read_text(encoding='utf-8'))
pythons = [f'3.{minor}' for minor in range(int(cfg['min_python'].split('.')[1]), 14)]

setup(
    name=cfg['name'], version=cfg['version'], description=cfg['description'],
    long_description=readme, long_description_content_type='text/markdown',
    author=cfg['author'], author_email=cfg['author_email'], license=cfg['license'], keywords=cfg['keywords'].split(),
    python_requires=f">={cfg['min_python']}", packages=find_packages(include=['aebench', 'aebench.*']),
    package_data={'aebench.report': ['page.jinja', 'page.css']},
    install_requires=lines('requirements'),
    extras_require={**extras, 'dev': lines('dev_requirements') + [o for found in extras.values() for o in found]},
    entry_points={'console_scripts': lines('console_scripts'), 'nbdev': [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"]},
    classifiers=['Development Status :: 4 - Beta', 'Intended Audience :: Developers', 'Intended Audience :: Science/Research',
                 'Topic :: Scientific/Engineering :: Artificial Intelligence']
                + [f'Programming Language :: Python :: {version}' for version in pythons],
)
