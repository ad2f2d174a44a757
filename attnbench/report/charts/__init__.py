"""Charts as Vega-Lite specifications: plain data, drawn by the page in a browser or by ``plot`` into a file."""
