"""What every maker of pages shares: a page, a table in Markdown, and the error that names what would be wrong on the site."""
from dataclasses import dataclass, field

class SiteError(Exception):
    "Something on the site would be wrong: a picture without a description, a link that leads nowhere."

@dataclass
class Page:
    "One page of the site, before the generator lays it out."
    path:str # Below the site's root, 'tutorials/first_autoencoder.md'
    title:str
    text:str # Markdown
    pictures:dict = field(default_factory=dict) # Path below the site's root → bytes
    source:str = '' # The notebook it was made from, below the project's root
    description:str = ''

    @property
    def folder(self) -> str: return self.path.rpartition('/')[0]

    @property
    def file(self) -> str: return self.path.rpartition('/')[2]

def markdown_table(heads:tuple, rows:list[tuple]) -> str:
    return '\n'.join(f'| {" | ".join(o)} |' for o in [heads, ['---']*len(heads), *rows])

def index_page(path:str, title:str, lead:str, *parts:str) -> Page:
    "A page that leads to others: `parts` of Markdown below a heading and a sentence."
    return Page(path, title, '\n\n'.join([f'# {title}', f'<p class="lead">{lead}</p>', *parts]) + '\n')

def table_of_pages(heads:tuple, pages:list[Page]) -> str:
    "A line a page of the same folder: its title as a link, and its description."
    return markdown_table(heads, [(f'[{o.title}]({o.file})', o.description) for o in pages])
