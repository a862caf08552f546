"""Hostile inputs for every reader of strangers' files, and the judge that reads them in a process
of its own.

    with Judge() as judge:
        outcome = judge("zip", TARGETS["zip"].generate(random.Random(0)))

Generators draw every decision from a `random.Random`, so that one of them serves a seeded run
(`fuzz/fuzz.py`), hypothesis (`st.randoms()`, which shrinks what it finds) and atheris (whose bytes
become the decisions).
"""
