"""Figures as plain records, and what draws them: plotly for the page, matplotlib for papers."""
