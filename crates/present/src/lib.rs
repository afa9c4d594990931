//! Views of the model: terminal, HTML, web.
