"""Conformance suites: what every stage of a kind promises, to be run by those who write one.

Each is a class of tests for pytest. Subclass it, say what to test, and let pytest collect the subclass:

    class TestMine(FamilyConformance):
        family = MyFamily
"""
