"""Downloads or builds model files."""
