"""The side towards providers: one request out, its answer back byte for byte."""
