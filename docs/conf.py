"""How Sphinx builds these pages: Markdown, the API from docstrings, equations as MathML. Nothing is fetched, here or by a reader.

python -m sphinx -W --keep-going docs build/docs
"""

from typing import TYPE_CHECKING

import dualflux

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

project = "dualflux"
author = "The dualflux developers"
version = release = dualflux.__version__
project_copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["make_picture.py"]

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "exclude-members": "cKDTree"}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
numpydoc_show_class_members = False  # autodoc lists them
default_role = "code"  # `name` in docstrings

html_theme = "furo"
html_title = f"dualflux {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["dualflux.css"]
html_copy_source = False
html_show_sphinx = False


def _mathml(latex: str, display: str) -> str:
    from latex2mathml.converter import convert

    return convert(latex, display=display)


def inline_math(translator: "HTML5Translator", node: "nodes.math") -> None:
    """Write an equation of a line as MathML, which browsers draw themselves."""
    from docutils import nodes

    translator.body.append(_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def display_math(translator: "HTML5Translator", node: "nodes.math_block") -> None:
    """Write an equation of its own as MathML."""
    from docutils import nodes

    translator.body.append(f'<div class="equation">{_mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def says_nothing(app: "Sphinx", what: str, name: str, member: object, skip: bool, options: object) -> bool | None:
    """Leave out what Python and pydantic put into every class: settings of the class, `Alias for field number 0`."""
    generated = name == "model_config" or str(getattr(member, "__doc__", "")).startswith("Alias for field number")
    return True if generated else None


def setup(app: "Sphinx") -> None:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", says_nothing)
    app.add_html_math_renderer("mathml", (inline_math, None), (display_math, None))
