"""Conformance suites of stages, exporters and object stores, for the authors of other ones.

Each is a class of tests for pytest. Subclass it, say what to test, and let pytest collect the subclass:

    class TestMine(FamilyConformance):
        family = MyFamily
"""
