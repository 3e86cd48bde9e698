"""Sphinx configuration of the documentation: `make docs` runs each page and shows its output."""

from __future__ import annotations

import sys
from pathlib import Path

from jupyter_client.manager import KernelManager

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "_extensions")]

import cofactor  # noqa: E402

KernelManager.transport_encryption.default_value = "auto"  # avoids a warning of each kernel about an open port

project = "cofactor"
author = "The cofactor authors"
copyright = "The cofactor authors, Apache-2.0"  # noqa: A001
version = release = cofactor.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "mathml",
    "offline_figures",
    "generated_pages",
    "recorded_numbers",
]
exclude_patterns = ["_build", "_extensions"]
default_role = "code"
nitpicky = True
nitpick_ignore_regex = [  # classes in signatures that no page documents
    (r"py:.*", r"(?!cofactor\.).*"),
    (r"py:.*", r"cofactor\.models\.(losses|similarity|baseline|layers|session_bias)\..*"),
    (r"py:.*", r"cofactor\.datasets\.(movielens|download)\..*"),
    (r"py:.*", r"cofactor\.data\.(features\.Column|id_columns\.CodedIds|readers\.frame_table\.ArrowFrame)"),
    (r"py:.*", r"cofactor\.estimators\.training_table\.CSRMatrix"),
    (r"py:.*", r"cofactor\.kernels\.ridge\.RidgeInputs"),
    (r"py:.*", r"cofactor\.store\.(connect\.Database|writer\.Writer)"),
]
linkcheck_timeout = 20

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

nb_execution_mode = "inline"
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_eval_name_regex = ".*"
nb_merge_streams = True
nb_code_prompt_show = nb_code_prompt_hide = "the code"
nb_output_stderr = "remove"  # notes about compiled kernels; a warning in a page is an error (see pages.py)
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # the site must not need the network
nb_mime_priority_overrides = [("*", "text/html", 0)]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "imported-members": True}
autosummary_generate = False  # the tables link to entries of the same pages
napoleon_google_docstring = False
napoleon_use_param = napoleon_use_rtype = False  # types are text ("ndarray of shape (n_users,)"), not references
napoleon_custom_sections = [("Attributes", "params_style")]
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "furo"
html_title = "cofactor"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "github-dark"

copybutton_prompt_text = r">>> |\.\.\. |\$ |In \[\d*\]: "
copybutton_prompt_is_regexp = True
