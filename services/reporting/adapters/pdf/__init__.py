"""The PDF of a result: words, styles, pages, pictures and sections over reportlab. It computes no number of its own."""
