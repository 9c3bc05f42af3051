"""Reviewing labels by hand: a local web page that writes a corrected manifest."""
