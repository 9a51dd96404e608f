"""Sphinx configuration; build: ``python -m sphinx -W --keep-going -b html docs docs/_build``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # generated_pages
sys.path.insert(0, str(HERE.parent))  # the library of this checkout

import generated_pages  # noqa: E402 - needs the path above

import resilience  # noqa: E402 - needs the path above

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

project = "resilience"
author = "the resilience developers"
copyright = "the resilience developers, BSD 3-Clause licence"
version = release = resilience.__version__
language = "en"
highlight_language = "text"  # a block without a language is a command line

extensions = [
    "myst_nb",  # Markdown pages and notebooks
    "numpydoc",  # sections of docstrings
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
exclude_patterns = [
    "_build",
    "_templates",
    "jupyter_execute",
    "generated/columns_*.md",
    "**/.ipynb_checkpoints",
]

# --- pages -----------------------------------------------------------------------------------
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
nb_execution_mode = "off"  # the stored output is shown; tests compare it with a fresh run
nb_merge_streams = True

# --- API -------------------------------------------------------------------------------------
autosummary_generate = True
templates_path = ["_templates"]
autodoc_typehints = "none"  # the docstring gives types in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the template lists them, with their text
numpydoc_attributes_as_param_list = True

# --- look ------------------------------------------------------------------------------------
html_theme = "furo"
html_title = "resilience"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_show_sphinx = False
html_last_updated_fmt = None  # no clock in the output


def _write_pages(app: Sphinx, config: Config) -> None:
    generated_pages.write_all(HERE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the generated pages before Sphinx looks for sources; add the citation role."""
    app.connect("config-inited", _write_pages)
    app.connect("autodoc-process-docstring", generated_pages.link_references, priority=900)
    app.add_role("cite", generated_pages.cite_role)
    return {"parallel_read_safe": True}
