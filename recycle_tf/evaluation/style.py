"""Colors and style that plots and the page of an audit share."""

BLUE = "#1f6f8b"
"""Color of the main quantity in plots and bars."""

STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
img { max-width: 100%; vertical-align: top }
pre { background: #f4f6f7; padding: 1rem; overflow-x: auto }"""
"""Style sheet of the audit's page."""
