"""The guide: pages of docs/guide, the command line as its parser has it, and the table's columns as their entries explain them."""
import argparse
import html
import re

from aebench.cli import make_parser
from aebench.report import columns
from links import ROOT, Links
from pages import Page, SiteError, html_table, inline, lead

FOLDER = ROOT/'docs'/'guide'
ORDER = ('own_images', 'trained_model', 'reading', 'seeds', 'weights', 'big_jobs', 'sharing', 'own_code', 'paper') # After the command line
COMMANDS, READING = 'guide/commands.md', 'guide/reading.md'

def sources() -> dict[str, str]:
    "Files of the guide → their pages."
    return {f'docs/guide/{o}.md': f'guide/{o}.md' for o in ORDER}

def pages(links:Links) -> list[Page]:
    return [commands(), *(written(source, page, links) for source, page in sources().items())]

def written(source:str, path:str, links:Links) -> Page:
    "A page of docs/guide; what follows its title is its description. Raises `SiteError` where nothing does."
    text = links.of(source, path)((ROOT/source).read_text(encoding='utf-8'))
    found = re.fullmatch(r'# (.+?)\n\n([^#`|<].+?)\n\n(.*)', text, re.S)
    if not found: raise SiteError(f'{source} has to begin with a title and a paragraph that says what the page is for.')
    title, first, rest = found.groups()
    about = inline(re.sub(r'\[([^\]]+)\]\([^)]+\)|\*([^*]+)\*', lambda m: m[1] or m[2], first))  # without links and emphasis
    page = Page(path, title, f'# {title}\n\n{first}\n{{: .lead }}\n\n{rest}', source=source, description=about)
    if path == READING: page.text = with_columns(page.text)
    return page

# ---- how to read the figures

def anchor(name:str) -> str: return name.replace('_', '-') # Of a column on the page of words

def explained(o:columns.Column) -> str:
    "The sentence that explains a column."
    return columns.TOOLTIPS.get(o.title) or o.help

def heading(title:str) -> str:
    "A table's heading as HTML: what it means on a touch or under the pointer, and where more is said."
    known = next((o for o in columns.ENTRIES.values() if title and title in (o.title, o.published)), None)
    about = columns.TOOLTIPS.get(title)
    if not known: return f'<abbr title="{html.escape(about)}">{html.escape(title)}</abbr>' if about else html.escape(title)
    return f'<a href="../guide/reading.html#{anchor(known.name)}" title="{html.escape(about or known.help)}">{html.escape(title)}</a>'

def with_columns(text:str) -> str:
    better = {1: 'Higher is better.', -1: 'Lower is better.', 0: ''}
    def entry(o): return f'### {o.title} {{ #{anchor(o.name)} }}\n\n{inline(explained(o))} {better[o.better]} In `results.csv`: `{o.name}`.'
    for mark, found in dict(measures=columns.MEASURES, **{'latent measures': columns.LATENT_MEASURES}).items():
        text = text.replace(f'<!-- {mark} -->', '\n\n'.join(map(entry, found.values())))
    return text

# ---- the command line

def example(epilog:str|None) -> str: # '' where there is none
    "The command that a help ends with; the package's own tests parse it."
    own = re.match(r'Example: (.+)', epilog or '')
    return own[1].replace('%%', '%') if own else ''

def value(action:argparse.Action) -> str:
    "What is written behind a flag, '' for a switch."
    if action.nargs == 0: return ''
    names = action.metavar or action.dest.upper()
    if isinstance(names, tuple): return ' '.join(names)
    return {'+': f'{names} …', '*': f'[{names} …]', '?': f'[{names}]'}.get(action.nargs, names)

def line(action:argparse.Action) -> tuple[str, str]: # Name of the flag and its explanation, as HTML
    first = ', '.join(action.option_strings) or action.dest
    words = action.option_strings and value(action)
    broken = html.escape(words or '').replace('|', '|<wbr>')
    named = f'<code>{html.escape(first)}</code>' + (f' <span class="value">{broken}</span>' if words else '')
    about = (action.help or '').replace('%%', '%')
    return named, f'<td>{html.escape(about)}</td>'

def flags(parser:argparse.ArgumentParser, name:str) -> list[str]:
    "A table for each group of flags."
    found = []
    for group in parser._action_groups:
        apart = argparse._HelpAction, argparse._SubParsersAction
        actions = [o for o in group._group_actions if o.help != argparse.SUPPRESS and not isinstance(o, apart)]
        if not actions: continue
        title = group.title or 'options'
        if title == 'positional arguments': title = 'words'
        heads = 'Flag' if actions[0].option_strings else 'Word', 'What it does'
        found.append(f'**{title[0].upper()}{title[1:]}**\n\n' + html_table(f'{name}: {title}', heads, [line(o) for o in actions], 'flags'))
    return found

def commands() -> Page:
    "Every command with an example and its flags in groups."
    parser = make_parser()
    of = next(o for o in parser._actions if isinstance(o, argparse._SubParsersAction)).choices
    about = 'Every command, with an example and its flags. aebench COMMAND --help says the same in a terminal.'
    rows = [(f'<a href="#{o}"><code>{o}</code></a>', f'<td>{inline(p.description or "")}</td>') for o, p in of.items()]
    parts = ['# Command line',
             lead('Every command, with an example and its flags. <code>aebench COMMAND --help</code> says the same in a terminal.'),
             html_table('Commands', ('Command', 'What it does'), rows, 'flags'), *flags(parser, 'aebench')]
    for name, p in of.items():
        usage = re.sub(r'^usage: ', '', re.sub(r'\s+', ' ', p.format_usage()).strip(), flags=re.I)
        parts += [f'## aebench {name} {{ #{name} data-toc-label="{name}" }}', inline(p.description or ''), f'`{usage}`']
        if shown := example(p.epilog): parts.append(f'```bash\n{shown}\n```')
        parts += flags(p, name)
        if p.epilog and not p.epilog.startswith('Example: '): parts.append(inline(p.epilog))
    return Page(COMMANDS, 'Command line', '\n\n'.join(parts) + '\n', description=html.escape(about), source='nbs/11_cli.ipynb')
