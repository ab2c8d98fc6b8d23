"""README.md from index.ipynb: Markdown as it stands, code as fenced blocks, text outputs below them.

nbdev's own command needs Quarto, which is no Python package.
"""
import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

def text_of(output:dict) -> str:
    "A cell's output as Markdown; pictures are the Markdown cells' business."
    data = output.get('data', {})
    if 'text/markdown' in data: return ''.join(data['text/markdown'])
    plain = ''.join(data.get('text/plain', output.get('text', '')))
    return f'```\n{plain.rstrip()}\n```' if plain.strip() else ''

def convert(notebook:dict) -> str:
    "The notebook as Markdown; cells marked `#| hide` are left out, of `#| echo: false` only the output is kept."
    parts = []
    for cell in notebook['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'markdown': parts.append(source)
        elif cell['cell_type'] == 'code':
            marks = [line for line in source.splitlines() if line.startswith('#|')]
            if any('hide' in m or 'include: false' in m for m in marks): continue
            if not any('echo: false' in m for m in marks):
                parts.append('```python\n' + '\n'.join(line for line in source.splitlines() if not line.startswith('#|')).strip() + '\n```')
            parts += [text for o in cell['outputs'] if (text := text_of(o))]
    return '<!-- Made from index.ipynb by `make readme`; edit that. -->\n\n' + '\n\n'.join(p.strip() for p in parts if p.strip()) + '\n'

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='only say whether README.md is what it would be')
    check = parser.parse_args().check
    wanted, path = convert(json.loads((ROOT/'index.ipynb').read_text(encoding='utf-8'))), ROOT/'README.md'
    if check:
        if path.read_text(encoding='utf-8') != wanted: sys.exit('README.md is not what index.ipynb makes: run `make readme`.')
    else: path.write_text(wanted, encoding='utf-8')
