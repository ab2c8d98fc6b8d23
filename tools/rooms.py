"The rooms of the package: what each is for, which imports which; their picture (docs/rooms.svg) and their table in CONTRIBUTING.md."
import argparse
import ast
import html
import sys
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, NOTEBOOKS = ROOT/'aebench', ROOT/'nbs'
PICTURE, GUIDE = ROOT/'docs'/'rooms.svg', ROOT/'CONTRIBUTING.md'
BEGIN, END = '<!-- The table is made by `make rooms`. -->\n', '<!-- Here it ends. -->' # Around the table in CONTRIBUTING.md

@dataclass(frozen=True)
class Room:
    "A folder of modules, or some modules at the top of the package that belong together."
    name:str
    purpose:str
    modules:tuple = () # At the top of the package; empty for a folder called `name`

    @property
    def parts(self) -> tuple: return self.modules or (self.name,) # First parts of its modules' names

ROOMS = ( # From the ground up: each imports only from those before it, and so does each of `modules`
    Room('core', 'what every program needs: errors, words, signals, safe files, locks, tensors on disk, downloads'),
    Room('registry', 'what there is to compare, what one run is, what its folder holds', ('run_folder', 'registry', 'settings')),
    Room('data', 'from a path to batches: images, folders, known data sets'),
    Room('techniques', 'the techniques that are compared, and what makes their steps fast',
         ('speed', 'layers', 'models', 'losses', 'resizing', 'training')),
    Room('modern', 'techniques that start from principal components, and the recipe made of them'),
    Room('callback', 'what watches a training: checkpoints, trackers, progress'),
    Room('judges', 'trained networks, and what is measured of a copy', ('weights', 'metrics')),
    Room('codec', 'whatever copies an image: references, latents in real bytes, archives'),
    Room('report', 'from saved rows to what people read: statistics, tables, sentences, pictures, the page'),
    Room('bench', 'carries out a plan, here or elsewhere: one run, many, estimates, a store, Ray, several processes'),
    Room('apply', 'a trained model in use: load, whole folders, anomalies, sharing'),
    Room('python', 'one call in Python, and one import for a lesson', ('comparison', 'all')),
    Room('cli', 'words on a command line to calls', ('cli',)))
ORDER = [part for room in ROOMS for part in room.parts]
SUBJECT = ('techniques', 'judges') # Listed first

# ---- the import graph

def modules() -> dict[str, Path]: # 'core.files' → its file
    files = (o for o in sorted(PACKAGE.rglob('*.py')) if o.stem not in ('__init__', '_modidx'))
    return {'.'.join(o.relative_to(PACKAGE).with_suffix('').parts): o for o in files}

def imports(module:str, known:dict[str, Path]) -> set[str]:
    "The modules of the package that `module` imports, anywhere in it."
    found, folder = set(), module.split('.')[:-1]
    for node in ast.walk(ast.parse(known[module].read_text(encoding='utf-8'))):
        if not isinstance(node, ast.ImportFrom): continue
        parts = (node.module or '').split('.')
        if node.level: above = folder[:len(folder) - node.level + 1]
        elif parts[0] == 'aebench': above, parts = [], parts[1:]
        else: continue
        name = '.'.join(filter(None, [*above, *parts]))
        found |= known.keys() & {name, *('.'.join(filter(None, (name, o.name))) for o in node.names)}
    return found

@cache
def graph() -> dict[str, set[str]]:
    "What each module of the package imports from it."
    known = modules()
    return {o: imports(o, known) for o in known}

def part_of(module:str) -> str: return module.partition('.')[0]

def room_of(module:str) -> Room: return next(o for o in ROOMS if part_of(module) in o.parts)

def inside(room:Room) -> list[str]:
    "Its modules without the folder's name, in the order of their notebooks."
    def module(notebook): return notebook.relative_to(NOTEBOOKS).with_name(notebook.stem.partition('_')[2]).as_posix().replace('/', '.')
    numbers = {module(o): o.name for o in NOTEBOOKS.rglob('[0-9]*.ipynb')}
    own = [o for o in graph() if part_of(o) in room.parts]
    return [o.rpartition('.')[2] for o in sorted(own, key=lambda o: numbers.get(o, ''))]

def imported_rooms(room:Room) -> list[Room]:
    "The rooms that it imports from."
    found = {room_of(o) for module, of in graph().items() if room_of(module) is room for o in of}
    return [o for o in ROOMS if o in found - {room}]

def below(room:Room) -> set[Room]:
    "All rooms that `room` needs, directly or not."
    direct = imported_rooms(room)
    return {*direct, *(o for d in direct for o in below(d))}

# ---- the picture: a section through the house, in which a room imports only from rooms that lie lower

ASIDE = next(o for o in ROOMS if o.name == 'report') # Stands beside those that do without it
WIDTH, WING, LINE, GAP, PAD = 860, 250, 17, 8, 9 # Pixels

def lines_of(room:Room, width:int) -> list[tuple[str, str]]:
    "What stands in a room's box: (class, text), wrapped to `width` pixels."
    names, uses = inside(room), ', '.join(o.name for o in imported_rooms(room))
    lines = [('name', room.name if room.modules else f'{room.name}/')]
    if names != [room.name]: lines += [('modules', o) for o in textwrap.wrap(' · '.join(names), width//7)]
    if uses: lines += [('uses', o) for o in textwrap.wrap(f'imports {uses}', width//7)]
    return lines

def box(room:Room, lines:list, left:int, top:int, width:int, height:int) -> list[str]:
    fill = '#fff3d6' if room.name in SUBJECT else '#eef2f7'
    rect = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="5" fill="{fill}" stroke="#8c959f"/>'
    def text(i, kind, words): return f'<text x="{left + PAD}" y="{top + PAD - 4 + i*LINE}" class="{kind}">{html.escape(words)}</text>'
    return [rect, *(text(i, *line) for i, line in enumerate(lines, 1))]

def picture() -> str:
    "The house as SVG, the last room on top."
    boxes, y, beside = [], GAP, []
    for room in reversed(ROOMS):
        if room is ASIDE: continue
        apart = room not in below(ASIDE) and ASIDE not in below(room)
        width = WIDTH - 2*GAP - (WING + GAP if apart else 0)
        lines = lines_of(room, width)
        height = len(lines)*LINE + 2*PAD
        boxes += box(room, lines, GAP, y, width, height)
        if apart: beside += [y, y + height]
        y += height + GAP
    boxes += box(ASIDE, lines_of(ASIDE, WING), WIDTH - GAP - WING, min(beside), WING, max(beside) - min(beside))
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" '
            'font-family="sans-serif" font-size="13">',
            '<style>.name{font-weight:bold;font-size:15px}.uses{fill:#57606a;font-size:12px}</style>',
            f'<rect width="{WIDTH}" height="{y}" rx="8" fill="#fff"/>']
    return '\n'.join([*head, *boxes, '</svg>']) + '\n'

# ---- the table

def notebook_of(module:str) -> str: # Below the project's root, for a module at the top of the package
    return next(NOTEBOOKS.glob(f'[0-9]*_{module}.ipynb')).relative_to(ROOT).as_posix()

def listed() -> list[Room]:
    "The rooms in the order of tables and menus: the subject first."
    return sorted(ROOMS, key=lambda o: SUBJECT.index(o.name) if o.name in SUBJECT else len(SUBJECT))

def table() -> str:
    "A line a room; links as from the project's root."
    def where(o): return ' '.join(f'[`{m}`]({notebook_of(m)})' for m in o.modules) or f'[`{o.name}/`](nbs/{o.name})'
    return '\n'.join(['| where | what |', '|---|---|', *(f'| {where(o)} | {o.purpose} |' for o in listed())])

def guide() -> str:
    "CONTRIBUTING.md with the table as it should be."
    text = GUIDE.read_text(encoding='utf-8')
    head, rest = text.split(BEGIN)
    return head + BEGIN + table() + '\n' + END + rest.split(END, 1)[1]

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='only say whether both are what they would be')
    check = parser.parse_args().check
    for path, wanted in ((PICTURE, picture()), (GUIDE, guide())):
        if not check: path.write_text(wanted, encoding='utf-8')
        elif not path.exists() or path.read_text(encoding='utf-8') != wanted:
            sys.exit(f'{path.relative_to(ROOT)} does not show the package as it is: run `make rooms`.')
