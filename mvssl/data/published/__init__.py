"""The corpora of the field, a module for each, found by convention.

A module makes a :class:`mvssl.data.named.NamedCorpus` and registers it with :func:`mvssl.data.named.add`; all
modules here are imported when the registry is first asked for a name.
"""
