"""Whole commands beside what people would pick; ``make bench`` prints the ratios."""
